"""Joint keys, quorums and sums, against the plain sum and plain integers."""

import hashlib
import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import ckks, dealing, threshold
from privacy.ciphertext import CiphertextError, parse
from privacy.flooding import flooding_bits
from privacy.key_shares import SHARE_SIZE, parse_holder_key
from privacy.parameters import DATA_MODULUS, DEGREE, VALUES_PER_CHUNK
from privacy.public_key import PUBLIC_SIZE, parse_public_key
from privacy.rings import data_ring, key_rings
from privacy.shamir import lagrange_at_zero
from privacy.threshold import BoundError, DecryptionError, KeyMaterialError
from tests.support.ring_oracles import negacyclic_product
from tests.support.threshold_keys import Ceremony, ceremony, decrypt, seeded_entropy

COUNT = 2 * VALUES_PER_CHUNK + 100
BOUND = 0.05
QUORUM = [1, 3, 4]


@pytest.fixture(scope="module")
def made() -> Ceremony:
    return ceremony(holders=5, threshold_size=3)


@pytest.fixture(scope="module")
def vectors() -> list[np.ndarray]:
    return list(np.random.default_rng(5).uniform(-BOUND, BOUND, (4, COUNT)))


@pytest.fixture(scope="module")
def total(made: Ceremony, vectors: list[np.ndarray]) -> bytes:
    return ckks.add(made.public_key, [encrypt(made, vector) for vector in vectors], count=COUNT)


@pytest.fixture(scope="module")
def partials(made: Ceremony, total: bytes) -> dict[int, bytes]:
    return decrypt(made, total, QUORUM, members=4)


def encrypt(made: Ceremony, vector: np.ndarray) -> bytes:
    return ckks.encrypt(made.public_key, vector, bound=BOUND, members=4)


def fuse(total: bytes, partials: dict[int, bytes], quorum: list[int] = QUORUM, *, count: int = COUNT) -> np.ndarray:
    return threshold.fuse(total, partials, quorum=quorum, count=count, bound=BOUND, members=4)


def joint_secret(made: Ceremony, quorum: list[int]) -> list[int]:
    """s in plain integers, interpolated from a quorum's keys: no code of the product has or needs it."""
    points = [(j, parse_holder_key(made.holder_keys[j - 1]).value) for j in quorum]
    values = [[int(x) * lagrange_at_zero(j, quorum, DATA_MODULUS) for x in point.tolist()] for j, point in points]
    evaluated = np.array([sum(column) % DATA_MODULUS for column in zip(*values, strict=True)], dtype=np.uint64)
    return [int(x) for x in data_ring().centre(data_ring().interpolate(evaluated))]


@pytest.mark.parametrize("quorum", list(itertools.combinations(range(1, 6), 3)))
def test_every_quorum_decrypts_the_plain_sum(made: Ceremony, total: bytes, vectors: list[np.ndarray], quorum: tuple[int, ...]) -> None:
    fused = fuse(total, decrypt(made, total, list(quorum), members=4), list(quorum))
    assert np.abs(fused - sum(vectors)).max() < 1e-4 * BOUND


@given(
    vectors=st.lists(st.lists(st.floats(-3, 3), min_size=7, max_size=7), min_size=1, max_size=5),
    spare=st.integers(0, 3),
    extremes=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_the_sum_of_any_vectors(small: Ceremony, vectors: list[list[float]], spare: int, extremes: bool) -> None:
    plain = np.sign(vectors) * 3.0 if extremes else np.array(vectors)
    members = len(vectors) + spare
    ciphertexts = [ckks.encrypt(small.public_key, row, bound=3.0, members=members) for row in plain]
    data = ckks.add(small.public_key, ciphertexts, count=7)
    fused = threshold.fuse(data, decrypt(small, data, [2, 3], members=members), quorum=[3, 2], count=7, bound=3.0, members=members)
    assert np.abs(fused - plain.sum(axis=0)).max() < 1e-4 * 3.0


@pytest.fixture(scope="module")
def small() -> Ceremony:
    return ceremony(holders=3, threshold_size=2, name="small")


@pytest.mark.parametrize("members", [1, 2, 3, 1024])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_nothing_wraps_at_the_bound(small: Ceremony, members: int, sign: float) -> None:
    one = parse(ckks.encrypt(small.public_key, np.full(VALUES_PER_CHUNK, sign), bound=1.0, members=members))
    # Adding `members` fresh encryptions is slow for 1024; scaling one gives the largest sum with more noise than it would have.
    one.c0[:], one.c1[:] = data_ring().scale(one.c0, members), data_ring().scale(one.c1, members)
    data = one.to_bytes()
    parts = decrypt(small, data, [1, 2], members=members)
    fused = threshold.fuse(data, parts, quorum=[1, 2], count=VALUES_PER_CHUNK, bound=1.0, members=members)
    assert np.abs(fused - sign * members).max() < 1e-4 * members


def test_the_public_key_is_an_encryption_of_zero_under_the_joint_secret(made: Ceremony) -> None:
    """b + a s is the sum of five small errors, modulo both primes: checked in plain integers."""
    secret = joint_secret(made, [1, 2, 3])
    assert max(map(abs, secret)) <= 5
    key = parse_public_key(made.public_key)
    for ring, b, a in zip(key_rings(), key.b, key.expand_a(), strict=True):
        product = negacyclic_product(ring.interpolate(a).tolist(), [x % ring.modulus for x in secret], ring.modulus)
        error = ring.centre(ring.add(ring.interpolate(b), np.array(product, dtype=np.uint64)))
        assert 0 < np.abs(error).max() < 10 * 3.2 * math.sqrt(5)


def test_all_quorums_hold_the_same_secret(made: Ceremony) -> None:
    assert joint_secret(made, [1, 2, 3]) == joint_secret(made, [5, 2, 4])


def test_fewer_shares_than_the_threshold_give_noise(made: Ceremony) -> None:
    """Two of three holders interpolate something uniform, not a sum of five ternary secrets."""
    wrong = np.array(joint_secret(made, [1, 2]), dtype=np.float64) / DATA_MODULUS
    assert abs(wrong.std() - 1 / math.sqrt(12)) < 0.01
    assert np.abs(np.histogram(wrong, bins=8, range=(-0.5, 0.5))[0] - DEGREE / 8).max() < 5 * math.sqrt(DEGREE / 8)


def chunk_of(partial: bytes) -> list[int]:
    """The first polynomial of a part, in plain integers."""
    packed = int.from_bytes(partial[80:], "little")
    return [packed >> (54 * i) & (2**54 - 1) for i in range(DEGREE)]


def remainder(made: Ceremony, total: bytes, parts: dict[int, bytes], quorum: list[int]) -> np.ndarray:
    """What is left of the first chunk of the summed parts after lambda * S * c1 of each, computed in plain integers."""
    c1, rest = parse(total).c1[0].tolist(), [0] * DEGREE
    for index, part in parts.items():
        point, factor = parse_holder_key(made.holder_keys[index - 1]).value.tolist(), lagrange_at_zero(index, quorum, DATA_MODULUS)
        rest = [(r + x - factor * s * c) % DATA_MODULUS for r, x, s, c in zip(rest, chunk_of(part), point, c1, strict=True)]
    return data_ring().centre(data_ring().interpolate(np.array(rest, dtype=np.uint64))).astype(np.float64)


def test_parts_add_up_to_the_formula_plus_flooding(made: Ceremony, total: bytes, partials: dict[int, bytes]) -> None:
    sigma = 2.0 ** flooding_bits(quorum=3, members=4) * math.sqrt(3)
    noise = remainder(made, total, partials, QUORUM)
    assert abs(noise.std() / sigma - 1) < 0.06
    assert np.abs(noise).max() < 6 * sigma


@pytest.mark.parametrize("holders", [(1,), (3, 4), (1, 4)])
def test_less_than_all_parts_of_a_quorum_are_uniform(
    made: Ceremony, total: bytes, partials: dict[int, bytes], holders: tuple[int, ...]
) -> None:
    rest = remainder(made, total, {j: partials[j] for j in holders}, QUORUM) / DATA_MODULUS
    assert np.abs(np.histogram(rest, bins=16, range=(-0.5, 0.5))[0] - DEGREE / 16).max() < 5 * math.sqrt(DEGREE / 16)


def test_flooding_is_independent_for_each_quorum_and_sum(
    made: Ceremony, total: bytes, partials: dict[int, bytes], vectors: list[np.ndarray]
) -> None:
    other_sum = ckks.add(made.public_key, [encrypt(made, vector) for vector in vectors], count=COUNT)
    noises = [
        remainder(made, total, partials, QUORUM),
        remainder(made, total, decrypt(made, total, [1, 2, 3], members=4), [1, 2, 3]),
        remainder(made, other_sum, decrypt(made, other_sum, QUORUM, members=4), QUORUM),
    ]
    correlations = np.corrcoef(noises) - np.eye(3)
    assert np.abs(correlations).max() < 5 / math.sqrt(DEGREE)


def test_asking_again_gives_no_second_noise_to_average(made: Ceremony, total: bytes, partials: dict[int, bytes]) -> None:
    assert decrypt(made, total, QUORUM, members=4) == partials
    assert decrypt(made, total, [4, 3, 1], members=4) == partials


def test_fusion_gives_the_same_values_everywhere(total: bytes, partials: dict[int, bytes]) -> None:
    backwards = {j: partials[j] for j in reversed(QUORUM)}
    assert fuse(total, backwards, QUORUM[::-1]).tobytes() == fuse(total, partials).tobytes()


def test_contributions_are_never_the_same(made: Ceremony) -> None:
    first, second = (threshold.generate(made.crs_seed) for _ in range(2))
    assert first.secret != second.secret and first.public_share != second.public_share


def test_the_public_key_does_not_depend_on_the_order_of_shares(made: Ceremony) -> None:
    shares = [contribution.public_share for contribution in made.contributions]
    assert threshold.combine_public(made.crs_seed, shares[::-1], proofs=made.proofs) == made.public_key


def test_malformed_public_shares_are_refused(made: Ceremony) -> None:
    good = made.contributions[0].public_share
    cases = {
        "has 65624 bytes": [b"", good[:-8], good + bytes(8)],
        "not a public share": [made.public_key, b"XXXX" + good[4:], good[:4] + b"\1" + good[5:], good[:5] + b"\1" + good[6:]],
        "not below it": [good[:88] + b"\xff" * 8 + good[96:], good[:-8] + (36028797018652673).to_bytes(8, "little")],
        "is zero modulo": [good[: -8 * DEGREE] + bytes(8 * DEGREE)],
        "names proofs": [good[:56] + b"\1" + good[57:]],
        "another common reference string": [threshold.generate(bytes(32)).public_share],
    }
    assert len(good) == PUBLIC_SIZE == 65624
    for says, shares in cases.items():
        for share in shares:
            with pytest.raises(KeyMaterialError, match=says):
                threshold.check_public_share(made.crs_seed, share)
            with pytest.raises(KeyMaterialError, match=says):
                threshold.combine_public(made.crs_seed, [made.contributions[1].public_share, share], proofs=[])


def test_copied_and_cancelling_public_shares_are_refused(made: Ceremony) -> None:
    good = made.contributions[0].public_share
    words = np.frombuffer(good[88:], dtype="<u8").reshape(2, DEGREE)
    moduli = np.array([[ring.modulus] for ring in key_rings()], dtype=np.uint64)
    cancelling = good[:88] + (moduli - words).astype("<u8").tobytes()
    with pytest.raises(KeyMaterialError, match="sent twice"):
        threshold.combine_public(made.crs_seed, [good, good], proofs=[])
    with pytest.raises(KeyMaterialError, match="cancel out"):
        threshold.combine_public(made.crs_seed, [good, cancelling], proofs=[])
    with pytest.raises(KeyMaterialError, match="two hospitals or more, got 1"):
        threshold.combine_public(made.crs_seed, [good], proofs=[])


def test_seeds_of_other_lengths_are_refused() -> None:
    for seed in (b"", bytes(31), bytes(33)):
        with pytest.raises(KeyMaterialError, match="32 bytes"):
            threshold.generate(seed)


def test_who_was_shown_another_proof_gets_another_key(made: Ceremony) -> None:
    shares = [contribution.public_share for contribution in made.contributions]
    other = [*made.proofs[:-1], made.proofs[0]]
    assert threshold.combine_public(made.crs_seed, shares, proofs=other) != made.public_key


def test_bad_collections_of_shares_are_refused(made: Ceremony) -> None:
    mine, own = [dealt[0] for dealt in made.shares], made.shares[0]
    elsewhere = dealing.deal(
        made.contributions[4].secret, public_share=made.contributions[4].public_share, dealer=5, holders=5, threshold=4
    ).shares[0]
    cases: list[tuple[list[bytes], str]] = [
        ([], "of several"),
        (mine[:-1], "one share of each of 5 hospitals, in their order, got 4"),
        ([*mine, mine[0]], "got 6"),
        ([*mine[:-1], mine[0]], "in their order"),
        (mine[::-1], "in their order"),
        ([*mine[:-1], made.shares[4][1]], "of several"),
        ([*mine[:-1], elsewhere], "of several"),
        ([*mine[:-1], b""], f"has {SHARE_SIZE} bytes"),
        ([*mine[:-1], mine[4][:-8] + b"\xff" * 8], "coefficient 4095 is"),
        ([*mine[:-1], mine[4][: -8 * DEGREE] + bytes(8 * DEGREE)], "is zero"),
        ([*mine[:-1], mine[4][:44] + b"\xff" * 8 + mine[4][52:]], "a mask of the secret share"),
        ([*mine[:-1], mine[4][:5] + b"\6" + mine[4][6:]], "is dealt by holder 6, there are 5"),
        ([*mine[:-1], mine[4][:6] + b"\6" + mine[4][7:]], "is for holder 6, there are 5"),
        ([*mine[:-1], mine[4][:7] + b"\1" + mine[4][8:]], "threshold of 1"),
        ([*mine[:-1], b"XXXX" + mine[4][4:]], "not a secret share"),
    ]
    for shares, says in cases:
        with pytest.raises(KeyMaterialError, match=says):
            threshold.combine_shares(shares, dealt=own, public_key=made.public_key)
    with pytest.raises(KeyMaterialError, match="share 1 that holder 1 dealt is not its own to holder 1"):
        threshold.combine_shares(mine, dealt=made.shares[1], public_key=made.public_key)


def test_damaged_holder_keys_are_refused(made: Ceremony, total: bytes) -> None:
    good = made.holder_keys[0]
    for damaged, says in (
        (b"", "has more than"),
        (good[:-8], "has 32968 bytes"),
        (good[:4] + b"\1" + good[5:], "another kind or version"),
        (good[:-8] + b"\xff" * 8, "coefficient 4095"),
    ):
        with pytest.raises(KeyMaterialError, match=says):
            threshold.partial_decrypt(damaged, index=1, quorum=QUORUM, ciphertext=total, members=4)


@pytest.mark.parametrize(
    ("index", "quorum", "says"),
    [
        (1, [2, 3, 4], "holder 1 is not in the quorum"),
        (2, [1, 2, 3], "the key of holder 1, not of holder 2"),
        (1, [1, 2], "a quorum of this key is 3"),
        (1, [1, 2, 3, 4], "a quorum of this key is 3"),
        (1, [1, 2, 6], "of holders 1 to 5"),
        (1, [1, 1, 2], "distinct"),
        (1, [1, 0, 2], "distinct"),
        (1, [1, 2, 256], "distinct"),
        (1, [1], "distinct"),
    ],
)
def test_bad_quorums_are_refused(made: Ceremony, total: bytes, index: int, quorum: list[int], says: str) -> None:
    with pytest.raises(DecryptionError, match=says):
        threshold.partial_decrypt(made.holder_keys[0], index=index, quorum=quorum, ciphertext=total, members=4)


def test_a_holder_key_serves_its_own_joint_key_only(made: Ceremony, total: bytes) -> None:
    foreign = ceremony(holders=5, threshold_size=3, name="foreign")
    with pytest.raises(CiphertextError, match="is for key"):
        threshold.partial_decrypt(foreign.holder_keys[0], index=1, quorum=QUORUM, ciphertext=total, members=4)
    with pytest.raises(KeyMaterialError, match="not a holder key"):
        threshold.partial_decrypt(made.shares[0][0], index=1, quorum=QUORUM, ciphertext=total, members=4)


def test_transparent_sums_are_not_decrypted(made: Ceremony, total: bytes) -> None:
    transparent = total[: 56 + 3 * 27648] + bytes(3 * 27648)
    with pytest.raises(CiphertextError, match="chunk 0 is transparent"):
        threshold.partial_decrypt(made.holder_keys[0], index=1, quorum=QUORUM, ciphertext=transparent, members=4)


PARTIAL_CHANGES: list[tuple[Callable[[bytes], bytes], str]] = [
    (lambda data: b"", "bytes, got 0"),
    (lambda data: data[:-1], "bytes, got"),
    (lambda data: data + b"\0", "bytes, got"),
    (lambda data: b"CKCT" + data[4:], "not a partial decryption"),
    (lambda data: data[:5] + b"\1" + data[6:], "not a partial decryption"),
    (lambda data: data[:6] + b"\4" + data[7:], "sent the partial decryption of holder 4"),
    (lambda data: data[:8] + (COUNT - 1).to_bytes(8, "little") + data[16:], f"names {COUNT - 1} values"),
    (lambda data: data[:16] + b"\x3a" + data[17:], "for another quorum"),
    (lambda data: data[:48] + bytes(32) + data[80:], "of another ciphertext"),
    (lambda data: data[:80] + b"\xff" * 7 + data[87:], "coefficient 0 is"),
    (lambda data: data[:-7] + b"\xff" * 7, "coefficient 12287 is"),
]


@pytest.mark.parametrize(("change", "says"), PARTIAL_CHANGES)
def test_malformed_partials_are_refused(total: bytes, partials: dict[int, bytes], change: Callable[[bytes], bytes], says: str) -> None:
    bad, digest = change(partials[3]), hashlib.sha256(total).digest()
    with pytest.raises(DecryptionError, match=says):
        threshold.check_partial(bad, index=3, quorum=QUORUM, ciphertext_digest=digest, count=COUNT)
    with pytest.raises(DecryptionError, match=says):
        fuse(total, {**partials, 3: bad})


def test_good_partials_have_the_size_known_beforehand(total: bytes, partials: dict[int, bytes]) -> None:
    for j, partial in partials.items():
        threshold.check_partial(partial, index=j, quorum=QUORUM, ciphertext_digest=hashlib.sha256(total).digest(), count=COUNT)
        assert len(partial) == threshold.partial_size(COUNT)


def test_missing_and_uninvited_partials_are_refused(made: Ceremony, total: bytes, partials: dict[int, bytes]) -> None:
    two = {j: partials[j] for j in (1, 3)}
    with pytest.raises(DecryptionError, match=r"\[1, 3, 4\] are needed, those of \[4\] are missing"):
        fuse(total, two)
    with pytest.raises(DecryptionError, match="holder 2's part is not missing"):
        fuse(total, {**partials, 2: partials[1]})


def test_parts_are_added_in_any_order_and_once(total: bytes, partials: dict[int, bytes]) -> None:
    fusion = threshold.Fusion(total, quorum=QUORUM, count=COUNT)
    fusion.add(4, partials[4])
    with pytest.raises(DecryptionError, match="holder 4's part is not missing"):
        fusion.add(4, partials[4])
    with pytest.raises(DecryptionError, match="sent the partial decryption of holder 1"):
        fusion.add(3, partials[1])
    fusion.add(3, partials[3])
    fusion.add(1, partials[1])
    assert fusion.values(bound=BOUND, members=4).tobytes() == fuse(total, partials).tobytes()


def test_a_false_polynomial_is_found_even_for_one_value(small: Ceremony) -> None:
    """Noise of one value alone would often look plausible; the guards and the padding give it away."""
    for attempt in range(20):
        data = ckks.encrypt(small.public_key, np.zeros(1), bound=1.0, members=2)
        partials = decrypt(small, data, [1, 2], members=2)
        body = bytearray(partials[2])
        body[80 + attempt] ^= 1
        with pytest.raises(DecryptionError, match="do not fit the sum"):
            threshold.fuse(data, {**partials, 2: bytes(body)}, quorum=[1, 2], count=1, bound=1.0, members=2)


def test_values_beyond_the_bound_are_found(small: Ceremony) -> None:
    """Hospitals that encrypt for fewer members send updates scaled by a half: the sum says so."""
    honest = ckks.encrypt(small.public_key, np.full(3, 1.0), bound=1.0, members=3)
    scaled = [ckks.encrypt(small.public_key, np.full(3, 1.0), bound=1.0, members=1) for _ in range(2)]
    data = ckks.add(small.public_key, [honest, *scaled], count=3)
    with pytest.raises(BoundError, match=r"value 0 of the sum is (7|7\.0000\d*|6\.9999\d*), beyond the 3\.?\d* that 3 hospitals can reach"):
        threshold.fuse(data, decrypt(small, data, [1, 2], members=3), quorum=[1, 2], count=3, bound=1.0, members=3)


def test_values_behind_the_models_end_are_found(small: Ceremony) -> None:
    whole = ckks.encrypt(small.public_key, np.full(4, 0.5), bound=1.0, members=3)
    shortened = whole[:48] + (3).to_bytes(8, "little") + whole[56:]
    with pytest.raises(DecryptionError, match="beyond the model's end"):
        threshold.fuse(shortened, decrypt(small, shortened, [1, 2], members=3), quorum=[1, 2], count=3, bound=1.0, members=3)


def test_an_altered_sum_does_not_take_the_old_partials(total: bytes, partials: dict[int, bytes]) -> None:
    altered = total[:60] + bytes([total[60] ^ 1]) + total[61:]
    with pytest.raises(DecryptionError, match="of another ciphertext"):
        fuse(altered, partials)


def test_entropy_is_asked_for_a_whole_seed() -> None:
    asked: list[int] = []

    def entropy(size: int) -> bytes:
        asked.append(size)
        return seeded_entropy("asked")(size)

    threshold.generate(bytes(32), entropy=entropy)
    assert asked == [32]
