"""What the fields of an argument may hold. Bounds keep every sum inside 64 bits and every record small."""

import re
from typing import Annotated, Any

from fabric import canonical
from fabric.contract.errors import ContractError
from fabric.decoding import Check, DecodeError, T, decode

MAX_ARGUMENT_BYTES = 64 * 1024
MICRO = 1_000_000
MAX_AMOUNT = 10**15


def parse(kind: type[T], data: bytes) -> T:
    """Decode one call's argument; refuse with BAD_ARGUMENT."""
    if len(data) > MAX_ARGUMENT_BYTES:
        raise ContractError("BAD_ARGUMENT", f"the argument has {len(data)} bytes; send at most {MAX_ARGUMENT_BYTES}")
    try:
        return decode(kind, canonical.loads(data), strict=True)
    except (canonical.CanonicalError, DecodeError, UnicodeDecodeError) as error:
        raise ContractError("BAD_ARGUMENT", f"{error}; send one JSON object with the documented keys") from error


def _integer(low: int, high: int) -> Check:
    def check(value: Any, where: str) -> None:
        if not low <= value <= high:
            raise DecodeError(f"{where} must lie between {low} and {high}")

    return check


def _matching(pattern: str, meaning: str) -> Check:
    compiled = re.compile(pattern, re.ASCII)

    def check(value: Any, where: str) -> None:
        if not compiled.fullmatch(value):
            raise DecodeError(f"{where} must be {meaning}")

    return check


def _text(shortest: int, longest: int) -> Check:
    def check(value: Any, where: str) -> None:
        # Code points, not str.isprintable(): Unicode tables differ between Python versions and endorsers must agree.
        if any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 or 0xD800 <= ord(character) < 0xE000 for character in value):
            raise DecodeError(f"{where} must not hold control characters or lone surrogates")
        if not shortest <= len(value) <= longest:
            raise DecodeError(f"{where} must have {shortest} to {longest} characters")

    return check


def _items(fewest: int, most: int) -> Check:
    def check(value: Any, where: str) -> None:
        if not fewest <= len(value) <= most:
            raise DecodeError(f"{where} must have {fewest} to {most} entries")

    return check


def _endpoint(value: Any, where: str) -> None:
    if value and not 1 <= int(value.rpartition(":")[2]) <= 65535:
        raise DecodeError(f"{where} must name a port between 1 and 65535")


MSPID_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"

TaskId = Annotated[str, _matching(r"[a-z0-9][a-z0-9-]{2,62}", "a task id: 3 to 63 of a-z, 0-9 and -, not starting with -")]
Mspid = Annotated[str, _matching(MSPID_PATTERN, "an MSP id: letters, digits, '.', '_' and '-', at most 64")]
Name = Annotated[str, _matching(r"[a-z0-9][a-z0-9._-]{0,62}", "a name: at most 63 of a-z, 0-9, '.', '_' and '-'")]
Digest = Annotated[str, _matching(r"[0-9a-f]{64}", "64 lower-case hex digits (SHA-256)")]
Hex32 = Annotated[str, _matching(r"[0-9a-f]{64}", "64 lower-case hex digits (32 bytes)")]
Title = Annotated[str, _text(1, 200)]
Statement = Annotated[str, _text(1, 1000)]
Description = Annotated[str, _text(2, 32_000)]  # JSON-LD in one line
Permit = Annotated[str, _text(0, 1000)]  # empty where none is needed
Day = Annotated[str, _matching(r"|[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])", "a day, YYYY-MM-DD, or empty")]
Endpoint = Annotated[
    str,
    _matching(r"|(\[[0-9a-fA-F:]{2,39}\]|[A-Za-z0-9._-]{1,253}):[0-9]{1,5}", "host:port, or empty where no connections are accepted"),
    _endpoint,
]
OrganisationKind = Annotated[str, _matching("hospital|research|audit", "hospital, research or audit")]
IdentityRole = Annotated[str, _matching("gateway|researcher|auditor", "gateway, researcher or auditor")]
FindingKind = Annotated[str, _matching("sound|malformed|harmful|unreadable", "sound, malformed, harmful or unreadable")]
Partition = Annotated[str, _matching("train|validation|test", "train, validation or test")]
ReleaseKind = Annotated[str, _matching("quality|evaluation", "quality or evaluation")]
Mode = Annotated[str, _matching("local|distributed|unstated", "local, distributed or unstated")]
Mechanism = Annotated[str, _matching("gaussian|sampled_gaussian", "gaussian or sampled_gaussian")]

Rounds = Annotated[int, _integer(1, 100_000)]
Round = Annotated[int, _integer(0, 100_000)]  # 0: of the inputs' normalisation
Attempt = Annotated[int, _integer(1, 100_000)]
GroupNumber = Annotated[int, _integer(0, 1_000)]
Members = Annotated[int, _integer(3, 1_000)]
Count = Annotated[int, _integer(1, 10**9)]
Clip = Annotated[int, _integer(1, 10**12)]
Size = Annotated[int, _integer(1, 10**12)]
Amount = Annotated[int, _integer(0, MAX_AMOUNT)]
Epsilon = Annotated[int, _integer(1, 1_000 * MICRO)]
DeltaInverse = Annotated[int, _integer(2, 10**15)]
NoiseMultiplier = Annotated[int, _integer(1_000, 10**6 * MICRO)]
Share = Annotated[int, _integer(1, MICRO)]
Fairness = Annotated[int, _integer(MICRO // 2, MICRO)]  # half at least: an attestation weighs a reward and takes none
Quality = Annotated[int, _integer(0, MICRO)]
Utility = Annotated[int, _integer(-(10**12), 10**12)]
SpendSteps = Annotated[int, _integer(1, 1_000_000)]

FewEntries = _items(1, 16)
SomeEntries = _items(1, 1_000)
AnyEntries = _items(0, 1_000)
