"""CKKS encryption of model updates with TenSEAL, and the sum of ciphertexts.

A hospital encrypts; the aggregator and every member of the quorum check and add, and get the same bytes. Decryption is in
`privacy.threshold`: no key that decrypts exists in one place.
"""

import functools
import hashlib
from collections.abc import Iterable

import numpy as np
import tenseal as ts
from numpy.typing import NDArray

from privacy.ciphertext import Ciphertext, CiphertextError, check_count, ciphertext_size, parse
from privacy.encoding import Normalisation, encode
from privacy.gaussian import table_for
from privacy.parameters import (
    COEFFICIENT_BITS,
    DATA_MODULUS,
    DEGREE,
    ERROR_SIGMA,
    MAX_MEMBERS,
    SCALE_BITS,
    SPECIAL_MODULUS,
)
from privacy.public_key import PublicKey, key_digest, parse_public_key
from privacy.rings import Residues, data_ring, kernels, key_rings
from privacy.seal_format import Field, SealCiphertext, SealFormatError, moduli, read_ciphertext, read_fields, write_ciphertext, write_fields

__all__ = [
    "CiphertextError",
    "RunningSum",
    "add",
    "check_ciphertext",
    "ciphertext_size",
    "encrypt",
    "key_digest",
    "tenseal_context",
    "warm_up",
]

_PARAMETERS_FIELD, _PUBLIC_CONTEXT_FIELD, _PUBLIC_KEY_FIELD, _CIPHERTEXTS_FIELD = 1, 2, 1, 2


def encrypt(public_key: bytes, values: NDArray[np.float64], *, bound: float, members: int) -> bytes:
    """Encrypt a vector (1-D, float64) for the holders of `public_key`; returns the canonical ciphertext (13.6 bytes a value).

    `bound` and `members` as in `Normalisation`; every hospital of a task uses the same. Raises CiphertextError for an empty or too long
    vector, values that are not finite or lie beyond the bound, and a senseless bound; KeyMaterialError for a malformed key.
    """
    coefficients = _coefficients(values, bound=bound, members=members)
    context = _encryption_context(public_key)
    zeros = np.stack([_encrypt_zero(context) for _ in coefficients], axis=1)
    ring = data_ring()
    c0 = ring.add(zeros[0], ring.evaluate(ring.lift(coefficients)))
    return Ciphertext(key_digest(public_key), values.size, c0, zeros[1]).to_bytes()


def check_ciphertext(public_key: bytes, data: bytes, *, count: int) -> None:
    """Raise CiphertextError unless `data` is a well-formed ciphertext of `count` values under `public_key` that is not transparent.

    Whoever receives a ciphertext runs it, before anything else looks inside. It cannot tell whether the values inside are within bounds.
    """
    parse(data, count=count, key_digest=key_digest(public_key))


def add(public_key: bytes, ciphertexts: Iterable[bytes], *, count: int) -> bytes:
    """The ciphertext of the sum: the same bytes in whatever order, for whoever adds.

    Raises CiphertextError as `RunningSum` does.
    """
    total = RunningSum(public_key, count=count)
    for data in ciphertexts:
        total.add(data)
    return total.to_bytes()


class RunningSum:
    """A sum that takes its ciphertexts one at a time, so that memory holds two of them however many there are."""

    def __init__(self, public_key: bytes, *, count: int) -> None:
        self._key_digest, self._count = key_digest(public_key), count
        self._total: Ciphertext | None = None
        self._added: dict[bytes, int] = {}

    def add(self, data: bytes) -> None:
        """Add a ciphertext, checked as by `check_ciphertext`; raises CiphertextError, also for one that was added before."""
        digest = hashlib.sha256(data).digest()
        if digest in self._added:
            raise CiphertextError(f"ciphertexts {self._added[digest]} and {len(self._added)} are the same: one is a replay")
        if len(self._added) == MAX_MEMBERS:
            raise CiphertextError(f"1 to {MAX_MEMBERS} ciphertexts can be added, not {MAX_MEMBERS + 1}")
        term = parse(data, count=self._count, key_digest=self._key_digest)
        if self._total is None:
            self._total = term
        else:
            data_ring().add_into(self._total.c0, term.c0)
            data_ring().add_into(self._total.c1, term.c1)
        self._added[digest] = len(self._added)

    def to_bytes(self) -> bytes:
        """The sum's ciphertext. Raises CiphertextError for no ciphertext, and for a transparent sum (a sender cancelled the others' c1)."""
        if self._total is None:
            raise CiphertextError(f"1 to {MAX_MEMBERS} ciphertexts can be added, not 0")
        if not self._total.c1.any(axis=1).all():
            raise CiphertextError("the sum is transparent: a sender cancelled the randomness of the others")
        return self._total.to_bytes()


def warm_up() -> None:
    """Load (seconds on a machine's first run: compile) the numeric kernels and build the tables, so that the first round does not wait."""
    kernels()
    key_rings()
    table_for(ERROR_SIGMA)
    _template()


def tenseal_context(public_key: bytes) -> bytes:
    """The public key as a serialised TenSEAL context without secret, relinearisation or Galois keys."""
    return _context_bytes(parse_public_key(public_key))


def _coefficients(values: NDArray[np.float64], *, bound: float, members: int) -> NDArray[np.int64]:
    """The vector as checked plaintext polynomials: (chunks, DEGREE)."""
    try:
        normalisation = Normalisation(bound=bound, members=members)
    except ValueError as error:
        raise CiphertextError(str(error)) from error
    if values.ndim != 1:
        raise CiphertextError(f"a vector is encrypted, not an array of shape {values.shape}")
    check_count(values.size)
    # One comparison refuses NaN as well.
    bad = np.flatnonzero(~(np.abs(values) <= bound))
    if bad.size:
        raise CiphertextError(f"value {bad[0]} is not a number within ±{bound}; {bad.size} such values. Clip before encryption")
    return encode(values, normalisation)


def _encrypt_zero(context: ts.Context) -> Residues:
    """A fresh encryption of zero by TenSEAL: (2, DEGREE) residues. The plaintext is added to its c0, as SEAL itself does."""
    vector = ts.ckks_vector(context, [0.0]).serialize()
    parts = [value for number, _, value in read_fields(vector) if number == _CIPHERTEXTS_FIELD]
    ciphertext = read_ciphertext(parts[0])
    if len(parts) != 1 or ciphertext.polynomials.shape != (2, 1, DEGREE) or ciphertext.scale != 2.0**SCALE_BITS:
        raise SealFormatError("TenSEAL encrypted with other parameters than it was given")
    return ciphertext.polynomials[:, 0]


@functools.lru_cache(maxsize=8)
def _encryption_context(public_key: bytes) -> ts.Context:
    context = ts.context_from(tenseal_context(public_key), n_threads=1)
    context.global_scale = 2.0**SCALE_BITS
    return context


@functools.cache
def _template() -> tuple[list[Field], SealCiphertext]:
    """A public TenSEAL context with our parameters, and its public key, whose place a joint key takes. Its secret key is dropped."""
    context = ts.context(ts.SCHEME_TYPE.CKKS, DEGREE, -1, list(COEFFICIENT_BITS), n_threads=1)
    context.global_scale = 2.0**SCALE_BITS
    fields = read_fields(context.serialize(save_public_key=True, save_secret_key=False, save_galois_keys=False, save_relin_keys=False))
    if moduli(_only(fields, _PARAMETERS_FIELD)) != (DATA_MODULUS, SPECIAL_MODULUS):
        raise SealFormatError("this TenSEAL chooses other primes than the product's parameters name")
    return fields, read_ciphertext(_only(read_fields(_only(fields, _PUBLIC_CONTEXT_FIELD)), _PUBLIC_KEY_FIELD))


def _context_bytes(key: PublicKey) -> bytes:
    fields, example = _template()
    joint = SealCiphertext(
        example.parameters_id, example.is_evaluated, example.scale, example.correction_factor, np.stack([key.b, key.expand_a()])
    )
    inner = _replace(read_fields(_only(fields, _PUBLIC_CONTEXT_FIELD)), _PUBLIC_KEY_FIELD, write_ciphertext(joint))
    return write_fields(_replace(fields, _PUBLIC_CONTEXT_FIELD, write_fields(inner)))


def _only(fields: list[Field], number: int) -> bytes:
    (value,) = (value for field, _, value in fields if field == number)
    return value


def _replace(fields: list[Field], number: int, value: bytes) -> list[Field]:
    return [(field, wire, value if field == number else old) for field, wire, old in fields]
