"""The bytes that TenSEAL and Microsoft SEAL 4.x write, as far as we exchange them with our own TenSEAL.

Only bytes that this process's TenSEAL wrote are read here: what comes from other hospitals is in our own formats, because SEAL's
deserialisation was hardened only after the version TenSEAL bundles. Formats: TenSEAL's `tensealcontext.proto` and `ckksvector.proto`;
SEAL's `serialization.h` (16-byte header: magic, header size, version, compression, size) and `ciphertext.cpp`.
"""

import struct
from dataclasses import dataclass

import numpy as np
import zstandard
from numpy.typing import NDArray

_HEADER = struct.Struct("<HBBBBHQ")
_MAGIC, _HEADER_SIZE, _VERSION = 0xA15E, 16, (4, 3)
_STORED, _ZSTANDARD = 0, 2
# parms_id (4 words), is NTT form, size, degree, primes, scale, correction factor, then the coefficients as a nested SEAL object.
_CIPHERTEXT = struct.Struct("<32sB3QdQ")

Field = tuple[int, int, bytes]
_VARINT, _FIXED64, _BYTES = 0, 1, 2


class SealFormatError(RuntimeError):
    """TenSEAL wrote something this module does not know: another version of TenSEAL or SEAL is installed."""


@dataclass(frozen=True, eq=False)
class SealCiphertext:
    """A ciphertext or public key; `polynomials` has shape (size, primes, degree), uint64."""

    parameters_id: bytes
    is_evaluated: bool
    scale: float
    correction_factor: int
    polynomials: NDArray[np.uint64]


def read_object(data: bytes) -> bytes:
    """The payload of one SEAL object, decompressed."""
    if len(data) < _HEADER.size:
        raise SealFormatError(f"a SEAL object has at least {_HEADER.size} bytes, got {len(data)}")
    magic, header_size, major, minor, compression, _, size = _HEADER.unpack_from(data)
    if (magic, header_size, size) != (_MAGIC, _HEADER_SIZE, len(data)) or major != _VERSION[0]:
        raise SealFormatError(f"not a SEAL {_VERSION[0]}.x object: magic {magic:#x}, version {major}.{minor}, size {size} of {len(data)}")
    if compression == _STORED:
        return data[_HEADER.size :]
    if compression == _ZSTANDARD:
        return zstandard.ZstdDecompressor().decompressobj().decompress(data[_HEADER.size :])
    raise SealFormatError(f"SEAL compression mode {compression} is not zstandard")


def write_object(payload: bytes) -> bytes:
    """An uncompressed SEAL object."""
    return _HEADER.pack(_MAGIC, _HEADER_SIZE, *_VERSION, _STORED, 0, _HEADER.size + len(payload)) + payload


def read_ciphertext(data: bytes) -> SealCiphertext:
    """Parse a SEAL ciphertext or public key."""
    payload = read_object(data)
    parameters_id, evaluated, size, degree, primes, scale, correction = _CIPHERTEXT.unpack_from(payload)
    array = read_object(payload[_CIPHERTEXT.size :])
    (length,) = struct.unpack_from("<Q", array)
    if length != size * degree * primes or len(array) != 8 + 8 * length:
        raise SealFormatError(f"a ciphertext of {size} polynomials of degree {degree} over {primes} primes holds {length} coefficients")
    polynomials = np.frombuffer(array, dtype="<u8", offset=8).reshape(size, primes, degree)
    return SealCiphertext(parameters_id, bool(evaluated), scale, correction, polynomials)


def write_ciphertext(ciphertext: SealCiphertext) -> bytes:
    """Serialise, uncompressed."""
    size, primes, degree = ciphertext.polynomials.shape
    head = _CIPHERTEXT.pack(
        ciphertext.parameters_id, ciphertext.is_evaluated, size, degree, primes, ciphertext.scale, ciphertext.correction_factor
    )
    words = ciphertext.polynomials.astype("<u8").tobytes()
    return write_object(head + write_object(struct.pack("<Q", size * primes * degree) + words))


def moduli(encryption_parameters: bytes) -> tuple[int, ...]:
    """The coefficient modulus of a serialised `seal::EncryptionParameters`: scheme, degree, count, then one object a prime."""
    payload = read_object(encryption_parameters)
    _, _, count = struct.unpack_from("<BQQ", payload)
    step = _HEADER.size + 8
    objects = [payload[17 + i * step : 17 + (i + 1) * step] for i in range(count)]
    return tuple(int.from_bytes(read_object(item), "little") for item in objects)


def read_fields(message: bytes) -> list[Field]:
    """The fields of a protobuf message in order: (number, wire type, raw value)."""
    fields, position = [], 0
    while position < len(message):
        key, position = _read_varint(message, position)
        number, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            _, end = _read_varint(message, position)
        elif wire_type == _FIXED64:
            end = position + 8
        elif wire_type == _BYTES:
            length, position = _read_varint(message, position)
            end = position + length
        else:
            raise SealFormatError(f"unexpected protobuf wire type {wire_type} in a TenSEAL message")
        fields.append((number, wire_type, message[position:end]))
        position = end
    return fields


def write_fields(fields: list[Field]) -> bytes:
    """The inverse of `read_fields`."""
    parts = []
    for number, wire_type, value in fields:
        parts.append(_varint(number << 3 | wire_type))
        if wire_type == _BYTES:
            parts.append(_varint(len(value)))
        parts.append(value)
    return b"".join(parts)


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data):
            raise SealFormatError("a TenSEAL message ends in the middle of a number")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, position


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
