"""The one CKKS parameter set of the product and the limits that follow from it.

N = 4096 with a 109-bit modulus keeps 128-bit security (HomomorphicEncryption.org standard, 2018, table 1, ternary secrets). Encryption
uses both primes; SEAL then divides by the special prime, so that ciphertexts live modulo DATA_MODULUS alone. Only sums are computed, so
one data prime is enough.
"""

from decimal import Decimal
from typing import Final

DEGREE: Final = 4096
SLOTS: Final = DEGREE // 2
COEFFICIENT_BITS: Final = (54, 55)
DATA_MODULUS: Final = 18014398509309953
SPECIAL_MODULUS: Final = 36028797018652673
SCALE_BITS: Final = 50

# A slot of a sum may reach this after normalisation. Coefficients are at most as large as the largest slot, and must stay below
# q / (2 * scale) = 8 together with all noise.
SUM_HEADROOM: Final = 7.5
# SEAL refuses to encode a coefficient of 4 * scale or more at this modulus, so one ciphertext may reach less than a sum.
SINGLE_HEADROOM: Final = 3.75

ERROR_SIGMA: Final = Decimal("3.2")
FLOODING_SIGMA: Final = Decimal(2**28)

MAX_MEMBERS: Final = 1024
MAX_HOLDERS: Final = 255
# 4 Mi values make a ciphertext of 113 MB; larger models are not what hospitals train together with this product.
MAX_VALUES: Final = 4 * 1024 * 1024

SEED_BYTES: Final = 32
DIGEST_BYTES: Final = 32


def chunks_for(count: int) -> int:
    """Number of ciphertext chunks that hold `count` values, SLOTS values a chunk."""
    return -(-count // SLOTS)
