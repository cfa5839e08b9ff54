"""What a client knows of what is built: the rules of PROTOCOL.md for whoever keeps chunks, without the ground.

For those who check a server (tools/simulate, tools/crash). The browser client has the same in chunks.js.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from protocol.edits import CHUNK_EDIT_FIELDS
from protocol.messages import Chunk, ChunkEdits, Delivery, ServerMessage, Snapshot
from world.tiles import VERSION_BARE, Build

Place = tuple[int, int]  # cx, cy of a chunk


@dataclass(slots=True)
class Held:
    """One chunk: the version reached and the Build of each tile, with NOTHING left out."""

    version: int = VERSION_BARE
    kinds: dict[int, int] = field(default_factory=dict)


class Known:
    """The chunks of one client, which outlive its connections. `wanted` says what to ask for now."""

    def __init__(self) -> None:
        self.chunks: dict[Place, Held] = {}
        self._built_id = ""
        self._sight: set[Place] = set()
        self._checked: set[Place] = set()  # up to date on this connection, and told of ever since
        self._asking: dict[Place, bool] = {}  # whether the answer will tell all that was missed

    def enter(self, built_id: str) -> None:
        """A connection begins: `welcome.settings.built_id`."""
        if built_id != self._built_id:
            for held in self.chunks.values():
                held.version = VERSION_BARE
        self._built_id = built_id
        self._sight.clear()
        self._checked.clear()
        self._asking.clear()

    def _sees(self, cx: int, cy: int, radius: int) -> None:
        """From one's own cell."""
        reach = range(-radius, radius + 1)
        sight = {(cx + dx, cy + dy) for dx in reach for dy in reach}
        for place in self._sight - sight:
            self._doubt(place)
        self._sight = sight

    def wanted(self) -> Iterator[tuple[Place, int | None]]:
        """What to send `chunk_get` for, and the version to name."""
        for place in sorted(self._sight - self._checked - self._asking.keys()):
            self._asking[place] = True
            held = self.chunks.get(place)
            yield place, None if held is None else held.version

    def hear(self, message: ServerMessage, radius: int) -> None:
        """Whatever a server says; `radius` rings of cells are in sight."""
        match message:
            case Snapshot():
                self._sees(message.cx, message.cy, radius)
            case Chunk():
                self.chunks[message.cx, message.cy] = Held()
            case ChunkEdits():
                self._edited(message)

    def _edited(self, message: ChunkEdits) -> None:
        place = message.cx, message.cy
        held = self.chunks.get(place)
        if held is None or message.version <= held.version:
            return
        if message.from_version > held.version:
            self._doubt(place)
            return
        if message.from_version == VERSION_BARE:
            held.kinds.clear()
        held.kinds = standing({**held.kinds, **dict(CHUNK_EDIT_FIELDS.iter_unpack(message.edits))})
        held.version = message.version

    def answered(self, place: Place, result: dict[str, Any] | None) -> None:
        """The `ok` of a `chunk_get`; None if it was refused."""
        whole = self._asking.pop(place, False)
        if result is None:
            return
        if whole and place in self._sight:
            self._checked.add(place)
        if result["delivery"] == Delivery.CURRENT and result["version"] == VERSION_BARE:
            self.chunks[place].kinds.clear()

    def checked(self) -> Iterator[tuple[Place, Held]]:
        """What the client may take for what is there now."""
        for place in sorted(self._checked):
            yield place, self.chunks[place]

    def _doubt(self, place: Place) -> None:
        """There may be edits one was not told of."""
        self._checked.discard(place)
        if place in self._asking:
            self._asking[place] = False


def standing(kinds: dict[int, int]) -> dict[int, int]:
    """Tile -> Build without the tiles that are bare again."""
    return {tile: kind for tile, kind in kinds.items() if kind != Build.NOTHING}
