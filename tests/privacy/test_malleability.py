"""Why hospitals commit before anybody sees a ciphertext: ciphertexts can be scaled by whoever has them.

That the contract takes no such copy is held by tests/contract/test_rounds.py: what is revealed must open what was committed before.
"""

import numpy as np

from privacy import ckks, threshold
from privacy.ciphertext import parse
from privacy.rings import data_ring
from tests.support.threshold_keys import ceremony, decrypt

COUNT, BOUND, MEMBERS, FACTOR = 50, 40.0, 3, 10


def test_a_scaled_copy_in_the_sum_gives_the_victims_update_away() -> None:
    """The attack itself: it works wherever a hospital may choose its ciphertext after it has seen another's."""
    made = ceremony(holders=3, threshold_size=2, name="malleable")
    victim, other = np.random.default_rng(2).uniform(-1, 1, (2, COUNT))
    ciphertexts = [ckks.encrypt(made.public_key, vector, bound=BOUND, members=MEMBERS) for vector in (victim, other)]
    copy = parse(ciphertexts[0])
    copy.c0[:], copy.c1[:] = data_ring().scale(copy.c0, FACTOR), data_ring().scale(copy.c1, FACTOR)
    total = ckks.add(made.public_key, [*ciphertexts, copy.to_bytes()], count=COUNT)
    opened = threshold.fuse(total, decrypt(made, total, [1, 2], members=MEMBERS), quorum=[1, 2], count=COUNT, bound=BOUND, members=MEMBERS)
    guess = opened / (FACTOR + 1)
    assert np.abs(guess - victim).max() < 0.1  # within a tenth of the other's values, the only ones that hide it
    assert np.corrcoef(guess, victim)[0, 1] > 0.99
    assert np.corrcoef(opened - FACTOR * victim, victim)[0, 1] < 0.95
