"""A bot that never reads after its welcome, but asks on: for ground, which nobody could call unusual.

What it is sent fills the kernel's buffers, then the server's, until that has had enough of it. It does not hear of that either.
"""

from typing import Any

from protocol.messages import ChunkGet, code_of
from protocol.snapshot import CELL_TILES
from tools.bots import wire
from tools.bots.behaviour import INPUTS_PER_S
from tools.bots.fleet import Bot

ASKED_PER_S = 20  # chunks; a server lets one client have 100
REACH_CHUNKS = 3  # it asks for those around its own, round and round

_CHUNK_GET = code_of(ChunkGet)
_SIDE = 2 * REACH_CHUNKS + 1


class Deaf(Bot):
    """Comes in as any other; then its socket is not listened to any more."""

    __slots__ = ("_asked",)
    WATCHES = False
    asked_per_s = ASKED_PER_S

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._asked = 0

    def _enter(self, player_id: int, x: float, y: float) -> None:
        super()._enter(player_id, x, y)
        assert self._sock is not None
        self._fleet.modify(self, self._sock, 0)  # the kernel still tells of a line that was reset

    def readable(self) -> None:
        """While it comes in; afterwards only a reset makes anybody look, and it does not come back."""
        if self.playing:
            self._fleet.tally.lost += 1
            self.hang_up()
        else:
            super().readable()

    def writable(self) -> None:
        """As others; but nothing is listened to after."""
        super().writable()
        if self.playing and self._sock is not None and not self._unsent:
            self._fleet.modify(self, self._sock, 0)

    def wake(self, now_ns: int) -> None:
        """Half a second's questions in one message."""
        super().wake(now_ns)
        if self.playing:
            asked = (self._ask() for _ in range(self.asked_per_s // INPUTS_PER_S))
            self._send(wire.frame(b"".join(asked)))

    def _ask(self) -> bytes:
        self._asked += 1
        dy, dx = divmod(self._asked % _SIDE**2, _SIDE)
        cx, cy = (int(at // CELL_TILES) - REACH_CHUNKS for at in (self.x, self.y))
        return self._fleet.pack([_CHUNK_GET, self._asked, cx + dx, cy + dy])
