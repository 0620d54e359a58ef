"""The golden vectors of the threshold protocol: their objects, the edits that spoil them, and the steps in which a fault must show."""

import base64
import hashlib
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from privacy import ckks, dealing, threshold
from privacy.public_key import PUBLIC_SIZE

VECTORS = Path(__file__).parents[1] / "privacy" / "vectors"

Objects = dict[str, bytes]


class StepFailedError(Exception):
    """A step refused its input; `step` names it, the cause is the refusal."""

    def __init__(self, step: str) -> None:
        super().__init__(step)
        self.step = step


def load() -> dict[str, Any]:
    vectors: dict[str, Any] = json.loads((VECTORS / "threshold.json").read_text())
    return vectors


def replay(vectors: dict[str, Any]) -> Objects:
    """Every object of the protocol, made again from the recorded seeds (ciphertexts are recorded, as TenSEAL's randomness is its own)."""
    crs_seed, holders, size = bytes.fromhex(vectors["crs_seed"]), len(vectors["seeds"]), vectors["threshold"]
    objects: Objects = {}
    for i, seed in enumerate(vectors["seeds"], start=1):
        made = threshold.generate(crs_seed, entropy=partial(_recorded, bytes.fromhex(seed)))
        objects[f"secret {i}"], objects[f"public share {i}"] = made.secret, made.public_share
        dealt = dealing.deal(made.secret, public_share=made.public_share, dealer=i, holders=holders, threshold=size)
        objects[f"part {i}"] = dealt.part
        for j, share in enumerate(dealt.shares, start=1):
            objects[f"share {i} to {j}"] = share
    everybody = range(1, holders + 1)
    for i in everybody:
        objects[f"proof {i}"] = dealing.prove(
            objects[f"secret {i}"], challenge=_challenge(crs_seed, objects, holders), dealer=i, holders=holders, threshold=size
        )
    objects["public key"] = _public_key(crs_seed, objects, holders)
    for j in everybody:
        objects[f"holder key {j}"] = _holder_key(objects, j, holders)
    for i, text in enumerate(vectors["ciphertexts"], start=1):
        objects[f"ciphertext {i}"] = base64.b64decode(text)
    objects["sum"] = ckks.add(objects["public key"], ciphertexts(objects), count=vectors["count"])
    for j in vectors["quorum"]:
        objects[f"partial {j}"] = threshold.partial_decrypt(
            objects[f"holder key {j}"], index=j, quorum=vectors["quorum"], ciphertext=objects["sum"], members=vectors["members"]
        )
    return objects


def _challenge(crs_seed: bytes, objects: Objects, holders: int) -> bytes:
    return dealing.challenge(crs_seed, [hashlib.sha256(objects[f"part {i}"]).digest() for i in range(1, holders + 1)])


def _public_key(crs_seed: bytes, objects: Objects, holders: int) -> bytes:
    shares, proofs = ([objects[f"{kind} {i}"] for i in range(1, holders + 1)] for kind in ("public share", "proof"))
    return threshold.combine_public(crs_seed, shares, proofs=proofs)


def _holder_key(objects: Objects, j: int, holders: int) -> bytes:
    received = [objects[f"share {i} to {j}"] for i in range(1, holders + 1)]
    dealt = [objects[f"share {j} to {i}"] for i in range(1, holders + 1)]
    return threshold.combine_shares(received, dealt=dealt, public_key=objects["public key"])


def _check_share(vectors: dict[str, Any], objects: Objects, i: int, j: int) -> None:
    holders = len(vectors["seeds"])
    dealing.check_share(
        objects[f"share {i} to {j}"],
        part=dealing.parse_part(objects[f"part {i}"], holders=holders),
        proof=objects[f"proof {i}"],
        # Of what stands on the ledger, whatever became of the parts since.
        challenge=bytes.fromhex(vectors["challenge"]),
        dealer=i,
        index=j,
        threshold=vectors["threshold"],
    )


def _recorded(seed: bytes, size: int) -> bytes:
    return seed[:size]


def ciphertexts(objects: Objects) -> list[bytes]:
    return [value for name, value in objects.items() if name.startswith("ciphertext ")]


def spoil(objects: Objects, case: dict[str, Any]) -> Objects:
    """The objects with one of them changed as a bad case says; `commit`: its dealer, who cheats from the beginning, committed to it."""
    data = bytearray(objects[case.get("copy_of", case["object"])])
    for edit in case.get("write", []):
        replacement = bytes.fromhex(edit["hex"]) * edit.get("times", 1)
        data[edit["at"] : edit["at"] + len(replacement)] = replacement
    data = data[: case.get("cut_to", len(data))] + bytes.fromhex(case.get("append", ""))
    spoilt = objects | {case["object"]: bytes(data)}
    if case.get("commit"):
        _, dealer, _, index = case["object"].split()
        at = PUBLIC_SIZE + 32 * (int(index) - 1)
        part = spoilt[f"part {dealer}"]
        spoilt[f"part {dealer}"] = part[:at] + hashlib.sha256(bytes(data)).digest() + part[at + 32 :]
    return spoilt


def run(vectors: dict[str, Any], objects: Objects) -> None:
    """All steps that check something, in the order of a task; raises StepFailedError at the first refusal."""
    for step, action in _steps(vectors, objects):
        try:
            action()
        except ValueError as error:
            raise StepFailedError(step) from error


def _steps(vectors: dict[str, Any], objects: Objects) -> Iterator[tuple[str, Any]]:
    crs_seed, holders, quorum, count = bytes.fromhex(vectors["crs_seed"]), len(vectors["seeds"]), vectors["quorum"], vectors["count"]
    everybody, key = range(1, holders + 1), objects["public key"]
    public_shares = [objects[f"public share {i}"] for i in everybody]
    for share in public_shares:
        yield "check_public_share", lambda share=share: threshold.check_public_share(crs_seed, share)
    for i in everybody:
        yield "parse_part", lambda i=i: dealing.parse_part(objects[f"part {i}"], holders=holders)
        for j in everybody:
            yield "check_share", lambda i=i, j=j: _check_share(vectors, objects, i, j)
    yield "combine_public", lambda: _public_key(crs_seed, objects, holders)
    for j in everybody:
        yield "combine_shares", lambda j=j: _holder_key(objects, j, holders)
    for data in ciphertexts(objects):
        yield "check_ciphertext", lambda data=data: ckks.check_ciphertext(key, data, count=count)
    yield "add", lambda: ckks.add(key, ciphertexts(objects), count=count)
    for j in quorum:
        yield (
            "partial_decrypt",
            lambda j=j: threshold.partial_decrypt(
                objects[f"holder key {j}"], index=j, quorum=quorum, ciphertext=objects["sum"], members=vectors["members"]
            ),
        )
    partials = {j: objects[f"partial {j}"] for j in quorum}
    digest = hashlib.sha256(objects["sum"]).digest()
    for j, data in partials.items():
        yield (
            "check_partial",
            lambda j=j, data=data: threshold.check_partial(data, index=j, quorum=quorum, ciphertext_digest=digest, count=count),
        )
    yield (
        "fuse",
        lambda: threshold.fuse(objects["sum"], partials, quorum=quorum, count=count, bound=vectors["bound"], members=vectors["members"]),
    )
