"""The one CKKS parameter set of the product and the limits that follow from it.

N = 4096 with a 109-bit modulus keeps SECURITY_BITS = 128 (HomomorphicEncryption.org standard, 2018, table 1, ternary secrets). Encryption
uses both primes; SEAL then divides by the special prime, so that ciphertexts live modulo DATA_MODULUS alone. Only sums are computed, so
one data prime is enough.
"""

from decimal import Decimal
from typing import Final

DEGREE: Final = 4096
SECURITY_BITS: Final = 128
# Coefficients at the end of each chunk that carry nothing: they vanish in an honest sum, which tells it from noise.
GUARDS: Final = 16
VALUES_PER_CHUNK: Final = DEGREE - GUARDS
COEFFICIENT_BITS: Final = (54, 55)
DATA_MODULUS: Final = 18014398509309953
SPECIAL_MODULUS: Final = 36028797018652673
SCALE_BITS: Final = 50

# A coefficient of an honest sum may reach this after normalisation. It wraps around at q / (2 * scale) = 8: what lies between is how far
# beyond the bound a sum is still recognised.
SUM_HEADROOM: Final = 2.0

ERROR_SIGMA: Final = Decimal("3.2")

MAX_MEMBERS: Final = 1024
MAX_HOLDERS: Final = 255
# 16 Mi values make a ciphertext of 227 MB; larger models are not what hospitals train together with this product.
MAX_VALUES: Final = 16 * 1024 * 1024

SEED_BYTES: Final = 32
DIGEST_BYTES: Final = 32


def chunks_for(count: int) -> int:
    """Number of ciphertext chunks that hold `count` values, VALUES_PER_CHUNK values a chunk."""
    return -(-count // VALUES_PER_CHUNK)
