"""The journal: what happened to land, money and buildings, one entry after the other.

A rule (land.py, building.py) looks at the state and answers with an `Outcome`: the changes it wants and the result for the player, or a
Refusal. It changes nothing itself. `write` makes the entry, applies its changes, and hands it to the tick's events; whoever reads the
entries of a world from the first to the last and applies them has that world again.

An entry's `record` is JSON for people and programs, and is what gets stored. `digest` chains it to all before: BLAKE2b over the
digest of the entry before and the record, so a row that is changed or missing is found, and two worlds with the same last digest have
the same history.
"""

import hashlib
from typing import Any, Union

import msgspec

from protocol.messages import Result
from world.commands import Act
from world.grid import pack, unpack
from world.ledger import Hold, Post
from world.parcels import PLOTS_PER_CHUNK, Freed, Parcel, cell_of_plot
from world.sales import Auction, Listing, Sale
from world.state import Answer, State
from world.tiles import VERSION_BARE

DIGEST_BYTES = 32
BEGINNING = bytes(DIGEST_BYTES)  # the digest before the first entry
NOBODY = 0  # as player_id: the world itself did it


class Built(msgspec.Struct, frozen=True, tag="built", gc=False):
    """Tiles of one chunk were built on: packed CHUNK_EDIT records that make `version`."""

    cx: int
    cy: int
    version: int
    edits: bytes


Change = Union[Post, Hold, Parcel, Freed, Built, Listing, Auction]  # noqa: UP007 (also read at run time)


class Record(msgspec.Struct, frozen=True, gc=False):
    """An entry as it is stored."""

    seq: int
    tick: int
    kind: str  # the name of the request, or of what the world did
    player_id: int  # who did it
    action: str  # the action_id and the digest of what was asked, hexadecimal; empty where nobody asked
    asked: str
    changes: list[Change]
    result: Any


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An entry on its way to the disk."""

    seq: int
    kind: str
    player_id: int
    action_id: bytes | None
    content: bytes  # digest of what was asked
    changes: list[Change]
    result: Result
    record: bytes
    digest: bytes
    held: dict[int, int] = {}  # by account that it posts to: what is set aside of it after this entry
    sold: list[int] = []  # cells of the land whose sale it is about


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What a rule wants done, and what the player is told."""

    result: Result
    changes: list[Change]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


def read(record: bytes) -> Record:
    """A stored entry. Raises msgspec.ValidationError."""
    return _decoder.decode(record)


def chained(before: bytes, record: bytes) -> bytes:
    """The digest of an entry that follows the one with the digest `before`."""
    return hashlib.blake2b(before + record, digest_size=DIGEST_BYTES).digest()


def write(state: State, kind: str, outcome: Outcome, command: Act | None) -> Entry:
    """Makes the next entry and applies its changes; None as command: the world did it by itself."""
    state.seq += 1
    player_id, action_id, content = NOBODY, None, b""
    if command is not None:
        player_id, action_id, content = command.player_id, command.action_id, command.content
        state.remember(action_id, Answer(player_id, content, state.seq, outcome.result, state.tick))
    action = action_id.hex() if action_id else ""
    record = _encoder.encode(
        Record(state.seq, state.tick, kind, player_id, action, content.hex(), outcome.changes, outcome.result)
    )
    state.digest = chained(state.digest, record)
    sales = [change.parcel_id for change in outcome.changes if isinstance(change, Sale)]
    sold = [cell for parcel_id in sales for cell in state.parcels.by_id[parcel_id].cells()]
    for change in outcome.changes:
        apply(state, change)
    held = state.ledger.held
    return Entry(
        state.seq,
        kind,
        player_id,
        action_id,
        content,
        outcome.changes,
        outcome.result,
        record,
        state.digest,
        {one.account: held.get(one.account, 0) for one in outcome.changes if type(one) is Post},
        sold,
    )


def apply(state: State, change: Change) -> None:
    """Takes one change in."""
    match change:
        case Post() | Hold():
            state.ledger.apply(change)
        case Parcel():
            _set_gates(state, state.parcels.put(change))
        case Freed():
            _set_gates(state, state.parcels.free(change.parcel_id))
        case Listing() | Auction():
            state.sales.put(change, state.parcels.by_id[change.parcel_id].middle)
        case Built(cx, cy, _, edits):
            state.chunks.edit(pack(cx, cy), edits)


def version_of(state: State, key: int) -> int:
    """The version of what is built on a chunk."""
    surface = state.chunks.surfaces.get(key)
    return VERSION_BARE if surface is None else surface.version


def _set_gates(state: State, plots: list[int]) -> None:
    """Lets the walkers' kernel know who is let in where, on ground that is loaded."""
    for plot in plots:
        slot = state.chunks.slot_of.get(cell_of_plot(plot))
        if slot is not None:
            set_gate(state, slot, plot)


def set_gate(state: State, slot: int, plot: int) -> None:
    """The gate of one plot of a loaded chunk."""
    px, py = unpack(plot)
    closed = state.parcels.gates.closed[slot]
    closed[py % PLOTS_PER_CHUNK, px % PLOTS_PER_CHUNK] = state.parcels.gate_of(plot)
