"""How much the flooding hides: the error it must hide measured, its numbers beside the contract's, and what two quorums tell together."""

import hashlib
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.contract import key_wear
from privacy import ckks, threshold
from privacy.ciphertext import parse
from privacy.encoding import Normalisation
from privacy.flooding import STATISTICAL_BITS, TOLERANCE_INVERSE, KeyWornError, choose, decryption_limit, flooding_bits, noise_bound
from privacy.key_shares import parse_holder_key, parse_secret
from privacy.parameters import DATA_MODULUS, DEGREE, VALUES_PER_CHUNK
from privacy.partial import parse_partial, quorum_mask
from privacy.randomness import KeyStream
from privacy.rings import Residues, data_ring
from privacy.shamir import lagrange_at_zero
from tests.support.threshold_keys import Ceremony, ceremony, decrypt

HOLDERS, THRESHOLD, MEMBERS = 6, 4, 5


@pytest.fixture(scope="module")
def made() -> Ceremony:
    return ceremony(holders=HOLDERS, threshold_size=THRESHOLD, name="flooding")


@pytest.fixture(scope="module")
def nothing(made: Ceremony) -> bytes:
    """The sum of five encrypted zero vectors: all that is in it is error."""
    zeros = np.zeros(2 * VALUES_PER_CHUNK)
    return ckks.add(made.public_key, [ckks.encrypt(made.public_key, zeros, bound=1.0, members=MEMBERS) for _ in range(5)], count=zeros.size)


def error_of(made: Ceremony, ciphertext: bytes) -> np.ndarray:
    """c0 + c1 * s of a sum of zeros, with the joint secret that nobody holds outside a test."""
    ring, parsed = data_ring(), parse(ciphertext)
    secret = sum(parse_secret(contribution.secret).key() for contribution in made.contributions)
    inner = ring.multiply(parsed.c1, ring.evaluate(ring.lift(np.asarray(secret))))
    return ring.centre(ring.interpolate(ring.add(parsed.c0, inner)))


def test_the_error_of_a_sum_is_what_the_limit_reckons_with(made: Ceremony, nothing: bytes) -> None:
    variance = MEMBERS * (DEGREE * HOLDERS + 2) / 18
    assert 0.9 < float((error_of(made, nothing).astype(float) ** 2).mean()) / variance < 1.1


def test_all_openings_together_diverge_less_than_stated() -> None:
    """The limit written out in floating point: limit * |e|^2 / (2 sigma^2) is just below 2^-16."""
    for hospitals, parameters in ((3, 5), (6, 10_000), (16, 1_000_000), (16, 10_000_000)):
        quorum, members = -(-2 * hospitals // 3), min(hospitals, 5)
        limit = decryption_limit(parameters=parameters, holders=hospitals, threshold=quorum, members=members)
        norm = math.ceil(parameters / VALUES_PER_CHUNK) * DEGREE * members * (DEGREE * hospitals * 2 / 3 + 1) / 12
        one = norm / (2 * 4.0 ** flooding_bits(quorum=quorum, members=members))
        assert limit * one <= 2.0**-STATISTICAL_BITS < (limit + 1) * one * 1.001


@given(
    parameters=st.integers(1, 10**9),
    holders=st.integers(3, 255),
    group_size=st.integers(3, 300),
)
def test_the_contract_counts_to_the_same_limit(parameters: int, holders: int, group_size: int) -> None:
    quorum, members = -(-2 * holders // 3), min(holders, 2 * group_size - 1)
    place = {"parameters": parameters, "holders": holders, "threshold": quorum, "members": members}
    assert key_wear.decryption_limit(**place) == decryption_limit(**place)


@given(holders=st.integers(3, 255), members=st.integers(1, 255), clip=st.floats(1e-3, 1e3))
def test_the_chosen_error_is_within_the_tolerance(holders: int, members: int, clip: float) -> None:
    quorum = -(-2 * holders // 3)
    chosen = choose(hospitals=holders, threshold=quorum, members=members, parameters=100, sums=0, clip=clip)
    assert 0 < chosen.error_bound <= 1.0000001 * clip / TOLERANCE_INVERSE
    assert chosen.error_bound == pytest.approx(
        noise_bound(quorum=quorum, members=members) / Normalisation(bound=clip, members=members).factor
    )


def test_a_key_that_would_wear_out_is_not_chosen() -> None:
    place: dict[str, Any] = {"hospitals": 6, "threshold": 4, "members": 5, "parameters": 1_000_000, "clip": 1.0}
    limit = choose(sums=0, **place).decryptions
    assert (choose(sums=limit, **place).security_bits, choose(sums=limit, **place).degree) == (128, 4096)
    with pytest.raises(KeyWornError, match=f"may open {limit} sums of 1000000 values, and {limit + 1} are planned"):
        choose(sums=limit + 1, **place)


# Holder 1 is honest; 2, 3 and 5 collude, one fewer than can open a sum. 5 falls silent, and 6, honest too, takes its place.
HONEST, COLLUDING, FIRST, SECOND = 1, (2, 3, 5), [1, 2, 3, 5], [1, 2, 3, 6]


def stripped(made: Ceremony, nothing: bytes, quorum: list[int]) -> Residues:
    """The honest holder's part as the colluders see it: without the shares of zero that it has in common with them."""
    ring, digest = data_ring(), hashlib.sha256(nothing).digest()
    part = decrypt(made, nothing, quorum, members=MEMBERS)[HONEST]
    rows = parse_partial(part, index=HONEST, quorum=quorum, ciphertext_digest=digest, count=parse(nothing).count)
    for other in sorted(set(COLLUDING) & set(quorum)):
        key = parse_holder_key(made.holder_keys[other - 1]).pair_keys[HONEST - 1]
        KeyStream(key, b"share of zero", digest, quorum_mask(quorum)).add_uniform(rows, ring.modulus, negated=True)
    return rows


def residues_found(made: Ceremony, nothing: bytes, second: Residues) -> np.ndarray:
    """The error modulo 25, as the colluders reckon it from two quorums' parts of one sum."""
    ring, parsed = data_ring(), parse(nothing)
    a, b = 24, 25  # the second Lagrange coefficient of the honest holder is 24/25 of the first
    before, after = (lagrange_at_zero(HONEST, quorum, DATA_MODULUS) for quorum in (FIRST, SECOND))
    assert after * b % DATA_MODULUS == before * a % DATA_MODULUS
    known = parsed.c0
    for other in COLLUDING:
        weight = ring.scale(parse_holder_key(made.holder_keys[other - 1]).value, lagrange_at_zero(other, FIRST, DATA_MODULUS))
        known = ring.add(known, ring.multiply(parsed.c1, weight))
    exact = ring.centre(ring.interpolate(ring.add(ring.scale(second, b), ring.scale(known, a))))
    return exact * pow(a, -1, b) % b


def test_without_shares_of_zero_a_second_quorum_gives_the_error_away(
    made: Ceremony, nothing: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why there are shares of zero: what remains of the flooding are multiples of 25, and the error is known modulo that."""
    monkeypatch.setattr(threshold, "_zero_shares", lambda *_: [])
    part = decrypt(made, nothing, SECOND, members=MEMBERS)[HONEST]
    rows = parse_partial(part, index=HONEST, quorum=SECOND, ciphertext_digest=hashlib.sha256(nothing).digest(), count=parse(nothing).count)
    assert (residues_found(made, nothing, rows) == error_of(made, nothing) % 25).all()


def test_with_shares_of_zero_a_second_quorum_tells_nothing_of_the_error(made: Ceremony, nothing: bytes) -> None:
    right = float((residues_found(made, nothing, stripped(made, nothing, SECOND)) == error_of(made, nothing) % 25).mean())
    assert abs(right - 1 / 25) < 5 * math.sqrt(1 / 25 / (2 * DEGREE))


def test_opened_sums_keep_to_the_bound_on_their_error(made: Ceremony, nothing: bytes) -> None:
    quorum = [2, 3, 4, 6]
    opened = threshold.fuse(
        nothing,
        decrypt(made, nothing, quorum, members=MEMBERS),
        quorum=quorum,
        count=parse(nothing).count,
        bound=1.0,
        members=MEMBERS,
    )
    bound = choose(hospitals=6, threshold=4, members=MEMBERS, parameters=opened.size, sums=1, clip=1.0).error_bound
    assert bound / 6 < np.abs(opened).max() < bound / 2
