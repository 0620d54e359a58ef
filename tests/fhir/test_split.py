"""A patient's part depends on key and salt alone."""

import hashlib
import hmac

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gateway.fhir.split import split

keys = st.lists(st.text(max_size=8), unique=True, max_size=60)


def _parts(patients: list[str], salt: bytes) -> dict[str, str]:
    found = split(patients, salt=salt)
    return {patients[row]: name for name in ("train", "validation", "test") for row in getattr(found, name)}


@given(keys, st.binary(min_size=1, max_size=16))
def test_everybody_is_in_exactly_one_part(patients: list[str], salt: bytes) -> None:
    found = split(patients, salt=salt)
    assert sorted(np.concatenate([found.train, found.validation, found.test]).tolist()) == list(range(len(patients)))


@given(keys, keys, st.randoms(use_true_random=False))
def test_nobody_moves_when_others_come_and_go(some: list[str], others: list[str], random: object) -> None:
    together = sorted({*some, *others}, key=lambda key: hashlib.sha256(key.encode()).digest())
    alone = _parts(some, b"salt")
    assert {key: part for key, part in _parts(together, b"salt").items() if key in alone} == alone


@given(st.text(max_size=8))
def test_the_rule_is_the_documented_one(key: str) -> None:
    draw = int.from_bytes(hmac.new(b"salt", key.encode(), hashlib.sha256).digest()[:8], "big") / 2**64
    expected = "test" if draw < 0.3 else "validation" if draw < 0.44 else "train"
    assert _parts([key], b"salt") == {key: expected}


def test_shares_are_as_declared_and_salts_differ() -> None:
    patients = [f"p{number}" for number in range(20_000)]
    found = split(patients, salt=b"one")
    shares = np.array([len(found.train), len(found.validation), len(found.test)]) / len(patients)
    assert np.abs(shares - [0.56, 0.14, 0.30]).max() < 0.02  # six standard deviations
    assert set(found.test.tolist()) != set(split(patients, salt=b"two").test.tolist())
