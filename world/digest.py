"""One number for the whole state: two worlds with the same digest went the same way.

It is taken inside a tick, so what hardly changes is not hashed anew: each chunk's ground and surface has a hash that is kept until it
changes, and the sum of them stands for all, whatever their order.
"""

import hashlib

import msgspec
import numpy as np

from world.state import State


def digest(state: State) -> str:
    """BLAKE2b over tick, players by player_id, the journal's end (which stands for land and money), the sums of the hashes of
    ground and surfaces, talk, and who does not hear whom; 32 hexadecimal digits.
    """
    summary = hashlib.blake2b(digest_size=16)
    summary.update(state.tick.to_bytes(8, "little"))
    players, chunks = state.players, state.chunks
    order = np.array([players.slot_of[player_id] for player_id in sorted(players.slot_of)], np.int64)
    for column in (
        players.player_id,
        players.look,
        players.x,
        players.y,
        players.dx,
        players.dy,
        players.leave_tick,
        players.seq,
        players.steered_tick,
        players.passes,
        players.denied,
    ):
        summary.update(column[order].tobytes())
    summary.update(
        msgspec.msgpack.encode([(players.names[slot], players.roles[slot]) for slot in order.tolist()])
    )
    sizes = len(state.parcels), len(state.sales)
    summary.update(state.seq.to_bytes(8, "little") + state.digest + f"{sizes} {state.opened} ".encode())
    for key in chunks.slot_of.keys() - chunks.ground_hashes.keys():
        chunks.ground_hashes[key] = _hash((key, chunks.walk[chunks.slot_of[key]].tobytes()))
    for key in chunks.surfaces.keys() - chunks.surface_hashes.keys():
        surface = chunks.surfaces[key]
        chunks.surface_hashes[key] = _hash((key, surface.version, surface.edited()))
    for hashes in (chunks.ground_hashes, chunks.surface_hashes):
        summary.update(f"{len(hashes)} {sum(hashes.values())} ".encode())
    summary.update(msgspec.msgpack.encode((state.talk.all(), state.deafness.all())))
    return summary.hexdigest()


def _hash(part: object) -> int:
    return int.from_bytes(hashlib.blake2b(msgspec.msgpack.encode(part), digest_size=16).digest())
