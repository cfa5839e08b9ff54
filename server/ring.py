"""Ticks' frames in memory that processes share: written once, read by every gateway, and nobody waits for anybody.

The writer goes round. It says how far it will have written before it writes; a reader copies a frame out and looks afterwards how far
the writer has come, so a frame that was overwritten meanwhile is found out and never used. The writer stays `frame_bytes_max` ahead of
itself: what it overwrites counted as lost one whole frame earlier, so that the order in which another processor sees the writes does
not matter.

    u64   where the writer is: bytes written since the start, those of the frame just being written included
    ...   padding to HEAD_BYTES, then the ring
"""

import mmap
import os

HEAD_BYTES = 64  # a cache line of its own
FRAMES_MIN = 4  # so many frames of the greatest size fit


class Overwritten(Exception):  # noqa: N818 (it tells what happened)
    """The writer has come round before the frame was read."""


class Ring:
    """One end. The writer makes the memory (`Ring.made`), a reader opens it by its descriptor."""

    def __init__(self, fd: int, access: int = mmap.ACCESS_READ) -> None:
        self.fd = fd
        self._map = mmap.mmap(fd, 0, access=access)
        self._end = memoryview(self._map)[:8].cast("Q")
        self._body = memoryview(self._map)[HEAD_BYTES:]
        self._size = len(self._body)
        self.frame_bytes_max = self._size // FRAMES_MIN

    @classmethod
    def made(cls, size: int) -> "Ring":
        """A new ring that holds so many bytes."""
        fd = os.memfd_create("landworld-frames")
        os.ftruncate(fd, HEAD_BYTES + size)
        return cls(fd, mmap.ACCESS_WRITE)

    @property
    def written(self) -> int:
        """Bytes since the start."""
        return self._end[0]

    def write(self, data: bytes) -> int:
        """Writes a frame and returns its position. Raises ValueError for one over `frame_bytes_max`."""
        size = len(data)
        if size > self.frame_bytes_max:
            raise ValueError("the frame is too large for the ring")
        position = self._end[0]
        self._end[0] = position + size  # said before it is done
        start = position % self._size
        first = min(size, self._size - start)
        view = memoryview(data)
        self._body[start : start + first] = view[:first]
        self._body[: size - first] = view[first:]
        return position

    def read(self, position: int, size: int) -> bytes:
        """A frame. Raises Overwritten."""
        data = self._copied(position, size)
        if self._end[0] - position > self._size - self.frame_bytes_max:
            raise Overwritten
        return data

    def _copied(self, position: int, size: int) -> bytes:
        start = position % self._size
        first = min(size, self._size - start)
        return bytes(self._body[start : start + first]) + bytes(self._body[: size - first])

    def close(self) -> None:
        """Lets go of the memory; it is gone when the last has."""
        self._end.release()
        self._body.release()
        self._map.close()
        os.close(self.fd)
