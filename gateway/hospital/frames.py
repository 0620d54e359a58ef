"""Several byte strings in one blob: a 4-byte big-endian length before each."""

from collections.abc import Sequence

from gateway.errors import VerificationFailed

_LENGTH_BYTES = 4


def pack(parts: Sequence[bytes]) -> bytes:
    return b"".join(len(part).to_bytes(_LENGTH_BYTES, "big") + part for part in parts)


def unpack(data: bytes, *, count: int | None = None) -> list[bytes]:
    """The parts; raise VerificationFailed if the blob is cut or does not hold `count` of them."""
    parts = []
    position = 0
    while position < len(data):
        start = position + _LENGTH_BYTES
        position = start + int.from_bytes(data[position:start], "big")
        parts.append(data[start:position])
    if position != len(data) or (count is not None and len(parts) != count):
        raise VerificationFailed("a blob of several parts is cut, or does not hold as many parts as it should")
    return parts
