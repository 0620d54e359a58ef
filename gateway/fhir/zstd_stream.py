"""zstd files as streams that notice when they were cut, which the library's own reader does not."""

import io
from typing import BinaryIO

import zstandard

_CHUNK_BYTES = 1 << 20


class _Frames(io.RawIOBase):
    """The content of one frame after another."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._begun = False
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        target = memoryview(buffer)  # type: ignore[arg-type]  # RawIOBase calls it with a buffer, but promises an object
        while not self._ready:
            if not self._fill():
                return 0
        size = min(len(target), len(self._ready))
        target[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _fill(self) -> bool:
        """Decompress one more piece; False at the end of the file. Raises EOFError inside a frame."""
        piece = self._frame.unused_data if self._frame.eof else b""
        piece = piece or self._stream.read(_CHUNK_BYTES)
        if not piece:
            if self._begun and not self._frame.eof:
                raise EOFError("Compressed file ended before the end of a frame was reached")
            return False
        if self._frame.eof:
            self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._begun = True
        self._ready = memoryview(self._frame.decompress(piece))
        return True


def reader(stream: BinaryIO) -> io.BufferedReader:
    """The decompressed content of `stream`; reading raises EOFError or zstandard.ZstdError where the file is cut or damaged."""
    return io.BufferedReader(_Frames(stream), _CHUNK_BYTES)
