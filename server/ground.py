"""Ground on the connection side: what is sent to whoever asks for a chunk.

The packed `chunk` messages are kept up to a limit of bytes; what is not here is wanted from the simulation side, once for all who ask.
What is built comes on top of it: the surfaces here follow the tick's frames, as a client's do, and answer what changed since a version.
"""

from collections import OrderedDict
from collections.abc import Callable

from protocol import codec
from protocol.messages import ChunkEdits, Delivery
from server.seam import Surfaces
from world.grid import unpack
from world.tiles import VERSION_BARE, Surface

Ready = Callable[[bytes], None]  # the framed message; empty when too much waits to be made


class Ground:
    """`want(key)` asks the simulation side, which answers with `made`, perhaps at once."""

    def __init__(self, cache_bytes_max: int, asked_max: int, want: Callable[[int], None]) -> None:
        self.cache_bytes = 0
        self._cache_bytes_max = cache_bytes_max
        self._asked_max = asked_max
        self._want = want
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        self._asked: dict[int, list[Ready]] = {}
        self._surfaces: dict[int, Surface] = {}  # of chunks somebody built on

    def get(self, key: int, ready: Ready) -> None:
        """Calls `ready` with the framed `chunk` message, at once or when it is made."""
        framed = self._cache.get(key)
        if framed is not None:
            self._cache.move_to_end(key)
            ready(framed)
        elif key in self._asked:
            self._asked[key].append(ready)
        elif len(self._asked) >= self._asked_max:
            ready(b"")
        else:
            self._asked[key] = [ready]
            self._want(key)

    def made(self, key: int, framed: bytes) -> None:
        """What was wanted, or nothing if too much waits."""
        if framed:
            self.cache_bytes += len(framed) - len(self._cache.get(key, b""))
            self._cache[key] = framed
        while self.cache_bytes > self._cache_bytes_max:
            self.cache_bytes -= len(self._cache.popitem(last=False)[1])
        for ready in self._asked.pop(key, ()):
            ready(framed)

    def build(self, key: int, edits: bytes) -> None:
        """Somebody built on a chunk: packed CHUNK_EDIT records."""
        self._surfaces.setdefault(key, Surface()).apply(edits)

    def recall(self, surfaces: Surfaces) -> None:
        """What was built before this side began, some or all of it."""
        self._surfaces.update((key, Surface.recalled(version, edits)) for key, version, edits in surfaces)

    def version(self, key: int) -> int:
        """The newest version of a chunk."""
        surface = self._surfaces.get(key)
        return VERSION_BARE if surface is None else surface.version

    def needs_whole(self, key: int, held: int | None) -> bool:
        """Whether whoever holds a version, or none, must have the bare ground, too.

        A version is one of this start of the server: what is held from another one is held as VERSION_BARE (PROTOCOL.md).
        """
        return held is None or not VERSION_BARE <= held <= self.version(key)

    def update(self, key: int, held: int | None) -> tuple[Delivery, int, bytes]:
        """How that is brought up to date; the newest version; the `chunk_edits` for it, if one is needed."""
        if self.needs_whole(key, held):
            held = None
        edits = self._edits_since(key, VERSION_BARE if held is None else held)
        delivery = Delivery.WHOLE if held is None else Delivery.EDITS if edits else Delivery.CURRENT
        return delivery, self.version(key), edits

    def _edits_since(self, key: int, version: int) -> bytes:
        """A `chunk_edits` message; nothing where nothing came since."""
        newest = self.version(key)
        if version == newest:
            return b""
        edits = self._surfaces[key].since(version)
        return codec.encode(ChunkEdits(*unpack(key), version, newest, edits))
