"""Verifiable dealing: good shares pass, any other share is found by who gets it, and the proof shows nothing of the secret."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import dealing
from privacy.dealing import FalseShareError
from privacy.key_shares import REPETITIONS, Share, parse_share
from privacy.parameters import DATA_MODULUS, DEGREE
from privacy.public_key import PUBLIC_SIZE, KeyMaterialError
from privacy.rings import data_ring
from privacy.shamir import lagrange_at_zero
from tests.support.threshold_keys import Ceremony, ceremony

HOLDERS, THRESHOLD = 4, 3


@pytest.fixture(scope="module")
def made() -> Ceremony:
    return ceremony(holders=HOLDERS, threshold_size=THRESHOLD, name="dealing")


def check(made: Ceremony, dealer: int, index: int, *, share: bytes | None = None, proof: bytes | None = None, part: bytes = b"") -> None:
    """What holder `index` does with what `dealer` dealt, or with what stands in its place."""
    dealt = made.dealings[dealer - 1]
    dealing.check_share(
        dealt.shares[index - 1] if share is None else share,
        part=dealing.parse_part(part or dealt.part, holders=HOLDERS),
        proof=made.proofs[dealer - 1] if proof is None else proof,
        challenge=made.challenge,
        dealer=dealer,
        index=index,
        threshold=THRESHOLD,
    )


def committed(made: Ceremony, dealer: int, index: int, share: bytes) -> bytes:
    """The part of a dealer that committed to this share of `index`: it cheats from the beginning."""
    part, at = made.dealings[dealer - 1].part, PUBLIC_SIZE + 32 * (index - 1)
    return part[:at] + hashlib.sha256(share).digest() + part[at + 32 :]


def test_every_honest_share_passes(made: Ceremony) -> None:
    for dealer in range(1, HOLDERS + 1):
        for index in range(1, HOLDERS + 1):
            check(made, dealer, index)


def test_a_share_that_was_not_committed_to_is_found(made: Ceremony) -> None:
    share = made.shares[1][0]
    for false in (share[:-1] + bytes([share[-1] ^ 1]), share[:-8], b"", made.shares[1][2], made.shares[0][0]):
        with pytest.raises(FalseShareError, match="not the one it committed to"):
            check(made, 2, 1, share=false)


@given(place=st.integers(0, DEGREE - 1), shift=st.integers(1, DATA_MODULUS - 1))
@settings(max_examples=20, deadline=None)
def test_a_dealer_that_committed_to_a_point_beside_the_polynomial_is_found(made: Ceremony, place: int, shift: int) -> None:
    """One residue of one share is another one: the proof, which the dealer makes honestly, no longer fits."""
    share = parse_share(made.shares[1][0])
    share.value[place] = (int(share.value[place]) + shift) % DATA_MODULUS
    false = share.to_bytes()
    with pytest.raises(FalseShareError, match="does not lie on the polynomial"):
        check(made, 2, 1, share=false, part=committed(made, 2, 1, false))


def test_a_dealer_that_knew_the_challenge_could_cheat(made: Ceremony) -> None:
    """Why the challenge comes after the commitment: masks chosen for it make any share fit."""
    share = parse_share(made.shares[1][0])
    good = [dealing._inner(weights, share.value) for weights in dealing._weights(made.challenge, 2)]
    share.value[0] = (int(share.value[0]) + 1) % DATA_MODULUS
    now = [dealing._inner(weights, share.value) for weights in dealing._weights(made.challenge, 2)]
    masks = tuple((mask + before - after) % DATA_MODULUS for mask, before, after in zip(share.masks, good, now, strict=True))
    false = Share(2, 1, THRESHOLD, HOLDERS, share.pair_seed, masks, share.value).to_bytes()
    check(made, 2, 1, share=false, part=committed(made, 2, 1, false))


def test_another_challenge_dealer_or_proof_does_not_fit(made: Ceremony) -> None:
    share, part = made.shares[1][0], dealing.parse_part(made.dealings[1].part, holders=HOLDERS)
    with pytest.raises(FalseShareError, match="does not lie"):
        dealing.check_share(share, part=part, proof=made.proofs[1], challenge=bytes(32), dealer=2, index=1, threshold=THRESHOLD)
    with pytest.raises(FalseShareError, match="does not lie"):
        check(made, 2, 1, proof=made.proofs[2])
    for proof, says in ((b"", "has 72 bytes"), (b"\xff" * 72, "not below")):
        with pytest.raises(FalseShareError, match=says):
            check(made, 2, 1, proof=proof)
    with pytest.raises(FalseShareError, match="names another dealer, holder or threshold"):
        false = made.shares[1][2]
        check(made, 2, 1, share=false, part=committed(made, 2, 1, false))


def test_parts_of_other_sizes_are_refused(made: Ceremony) -> None:
    part = made.dealings[0].part
    for bad in (b"", part[:-1], part + b"\0", part[:PUBLIC_SIZE]):
        with pytest.raises(KeyMaterialError, match="part for 4 holders"):
            dealing.parse_part(bad, holders=HOLDERS)


@pytest.mark.parametrize(("holders", "size"), [(1, 1), (3, 1), (3, 0), (3, 4), (256, 2), (0, 0)])
def test_senseless_sharings_are_refused(made: Ceremony, holders: int, size: int) -> None:
    first = made.contributions[0]
    with pytest.raises(KeyMaterialError, match="need 2 <= threshold <= holders <= 255"):
        dealing.deal(first.secret, public_share=first.public_share, dealer=1, holders=holders, threshold=size)


def test_a_dealer_beyond_the_holders_is_refused(made: Ceremony) -> None:
    first = made.contributions[0]
    with pytest.raises(KeyMaterialError, match="holder 4 deals, there are 3"):
        dealing.deal(first.secret, public_share=first.public_share, dealer=4, holders=3, threshold=2)


def test_damaged_secrets_are_refused(made: Ceremony) -> None:
    secret = made.contributions[0].secret
    for damaged in (b"", secret[:-1], secret + b"\0", b"XXXX" + secret[4:], secret[:5] + b"\1" + secret[6:]):
        with pytest.raises(KeyMaterialError, match="secret contribution"):
            dealing.prove(damaged, challenge=made.challenge, dealer=1, holders=HOLDERS, threshold=THRESHOLD)


def test_dealing_again_after_a_crash_gives_the_same_bytes(made: Ceremony) -> None:
    first = made.contributions[0]
    again = dealing.deal(first.secret, public_share=first.public_share, dealer=1, holders=HOLDERS, threshold=THRESHOLD)
    assert again == made.dealings[0]
    other = dealing.deal(first.secret, public_share=first.public_share, dealer=1, holders=HOLDERS, threshold=2)
    assert set(other.shares).isdisjoint(again.shares)


def test_any_threshold_of_shares_gives_the_secret_and_the_proof_is_masked(made: Ceremony) -> None:
    """In plain integers: f(0) interpolated from three shares is the ternary secret, and z(0) differs from its weighted sum by r(0)."""
    shares = [parse_share(share) for share in made.shares[0]]
    secret = np.zeros(DEGREE, dtype=object)
    masks = [0] * REPETITIONS
    for index in (1, 2, 4):
        factor = lagrange_at_zero(index, [1, 2, 4], DATA_MODULUS)
        secret = (secret + factor * shares[index - 1].value.astype(object)) % DATA_MODULUS
        masks = [(mask + factor * share) % DATA_MODULUS for mask, share in zip(masks, shares[index - 1].masks, strict=True)]
    small = data_ring().centre(data_ring().interpolate(secret.astype(np.uint64)))
    assert set(small.tolist()) == {-1, 0, 1}
    at_zero = np.frombuffer(made.proofs[0], dtype="<u8").reshape(REPETITIONS, THRESHOLD)[:, 0].tolist()
    for z, mask, weights in zip(at_zero, masks, dealing._weights(made.challenge, 1), strict=True):
        plain = sum(int(weight) * int(value) for weight, value in zip(weights, secret, strict=True))
        assert mask != 0 and z == (mask + plain) % DATA_MODULUS


def test_challenges_follow_from_everything_committed() -> None:
    digests = [bytes([i]) * 32 for i in range(3)]
    first = dealing.challenge(bytes(32), digests)
    assert first not in (dealing.challenge(b"\1" * 32, digests), dealing.challenge(bytes(32), digests[::-1]))
