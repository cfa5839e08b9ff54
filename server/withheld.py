"""What is true but not yet stored, and so must not be told yet: answers, refusals with their reasons, and news of land and money.

Each waits for its place in the journal. Once the flusher says that it is durable, it goes out with the next tick's frame; if the server
dies before, nobody ever heard of it.
"""

import heapq
import itertools
from collections.abc import Iterator

from protocol import codec
from protocol.messages import (
    LandChanged,
    LandClaim,
    LandClaimed,
    LandFreed,
    LeaseEnded,
    ServerMessage,
    UpkeepMissed,
    WalletChanged,
    name_of,
)
from server.frames import TickFrame, answered, entry_denied
from world.entries import Entry
from world.ledger import Post
from world.parcels import Freed, Parcel
from world.queries import seen
from world.settlement import LAND_FORFEITED, LEASE_ENDED, UPKEEP_MISSED, Settled
from world.state import State
from world.tick import Events

CLAIM = name_of(LandClaim)


class Withheld:
    """Held back, by place in the journal, and in order where that is one."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, TickFrame]] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, seq: int, part: TickFrame) -> None:
        """Something to be told once entry `seq` is stored: a frame of which only messages count."""
        heapq.heappush(self._waiting, (seq, next(self._order), part))

    def take(self, state: State, events: Events) -> None:
        """What a tick has to tell later."""
        for entry in events.entries:
            part = _news(state, entry)
            if part.casts or part.heard:
                self.put(entry.seq, part)
        for player_id, parcel_id in events.denied:
            self.put(state.seq, TickFrame(0, 0, heard=[(entry_denied(state, parcel_id), [player_id])]))
        for reply in events.replies:
            answer = answered(reply.request_id, reply.seq, reply.result)
            self.put(reply.seq, TickFrame(0, 0, answers=[(reply.player_id, reply.session, answer)]))

    def release(self, durable_seq: int, frame: TickFrame) -> None:
        """Adds to a tick's frame all that may be told now."""
        frame.durable_seq = durable_seq
        waiting = self._waiting
        while waiting and waiting[0][0] <= durable_seq:
            _, _, part = heapq.heappop(waiting)
            frame.answers += part.answers
            frame.heard += part.heard
            frame.casts += part.casts


def _news(state: State, entry: Entry) -> TickFrame:
    """Whom an entry concerns: those who see the land, those whose money it is."""
    part = TickFrame(0, 0)
    wallets: dict[int, int] = {}
    for change in entry.changes:
        match change:
            case Parcel():
                told = (LandClaimed if entry.kind == CLAIM else LandChanged)(seen(state, change))
                part.casts.append((change.cells(), codec.encode(told)))
            case Freed():
                part.casts.append((change.cells(), codec.encode(LandFreed(change.parcel_id))))
            case Post(account, _, balance) if account in state.players.slot_of:
                wallets[account] = balance
    if isinstance(entry.result, Settled):
        part.heard += _told(state, entry.kind, entry.result)
    for player_id, balance in wallets.items():
        held = state.ledger.held.get(player_id, 0)
        part.heard.append((codec.encode(WalletChanged(balance, held, entry.seq)), [player_id]))
    return part


def _told(state: State, kind: str, settled: Settled) -> Iterator[tuple[bytes, list[int]]]:
    """What happened by itself, for those whom it concerns and who are here."""
    owner, tenant = settled.owner_id, settled.tenant_id
    told: list[tuple[ServerMessage, list[int]]] = []
    if tenant is not None and kind in (LEASE_ENDED, LAND_FORFEITED):
        told.append((LeaseEnded(settled.parcel_id, tenant), [owner, tenant]))
    if kind == UPKEEP_MISSED:
        told.append((UpkeepMissed(settled.parcel_id, settled.owed, settled.freed_ms), [owner]))
    if kind == LAND_FORFEITED:
        told.append((LandFreed(settled.parcel_id), [owner]))
    for message, players in told:
        here = [player_id for player_id in players if player_id in state.players.slot_of]
        if here:
            yield codec.encode(message), here
