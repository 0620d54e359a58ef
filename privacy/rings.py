"""Arithmetic in Z_q[X]/(X^N + 1): polynomials are rows of uint64 residues, the last axis has N entries.

"Evaluated" polynomials are in SEAL's order: entry i is the value at psi^(2 * bitreverse(i) + 1), psi the smallest primitive 2N-th root of
unity modulo q.
"""

import functools
import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from privacy.parameters import DATA_MODULUS, DEGREE, SPECIAL_MODULUS

Residues = NDArray[np.uint64]


@functools.cache
def kernels() -> Any:
    """The compiled loops; imported late because Numba is slow to import and most processes never need it."""
    return importlib.import_module("privacy.kernels")


class Ring:
    """Z_q[X]/(X^N + 1) for a power of two N and a prime q = 1 mod 2N below 2^62. Immutable; safe to share between threads."""

    def __init__(self, degree: int, modulus: int) -> None:
        if degree < 2 or degree & (degree - 1) or modulus >= 1 << 62 or modulus % (2 * degree) != 1:
            raise ValueError(f"no ring of degree {degree} modulo {modulus}: need a power of two and a prime that is 1 modulo its double")
        self.degree = degree
        self.modulus = modulus
        self._q = np.uint64(modulus)
        psi = smallest_root(degree, modulus)
        self._roots = self._factor(_powers_bit_reversed(psi, degree, modulus))
        self._inverse_roots = self._factor(_powers_bit_reversed(pow(psi, -1, modulus), degree, modulus))
        self._inverse_degree = self._factor(np.full(degree, pow(degree, -1, modulus), dtype=np.uint64))

    def evaluate(self, coefficients: Residues) -> Residues:
        """Forward transform of each row; the input is left as it is."""
        rows = self._rows(coefficients)
        kernels().forward_ntt(rows, *self._roots, self._q)
        return rows.reshape(coefficients.shape)

    def interpolate(self, evaluated: Residues) -> Residues:
        """Inverse of `evaluate`."""
        rows = self._rows(evaluated)
        kernels().inverse_ntt_unscaled(rows, *self._inverse_roots, self._q)
        kernels().multiply_rows(rows, *self._inverse_degree, self._q)
        return rows.reshape(evaluated.shape)

    def multiply(self, rows: Residues, factor: Residues) -> Residues:
        """Each row times `factor` (N entries), entry by entry: the product of evaluated polynomials."""
        product = self._rows(rows)
        kernels().multiply_rows(product, *self._factor(factor), self._q)
        return product.reshape(rows.shape)

    def scale(self, rows: Residues, scalar: int) -> Residues:
        """Each row times an integer."""
        return self.multiply(rows, np.full(self.degree, scalar % self.modulus, dtype=np.uint64))

    def add(self, a: Residues, b: Residues) -> Residues:
        """a + b."""
        total = self._rows(a)
        kernels().add_into(total, np.ascontiguousarray(b).reshape(-1, self.degree), self._q)
        return total.reshape(a.shape)

    def add_into(self, total: Residues, term: Residues) -> None:
        """total += term, in place; both C-contiguous."""
        kernels().add_into(total.reshape(-1, self.degree), term.reshape(-1, self.degree), self._q)

    def negate(self, a: Residues) -> Residues:
        """-a."""
        return np.where(a == 0, a, self._q - a)

    def lift(self, integers: NDArray[np.int64]) -> Residues:
        """Residues of signed integers smaller in size than q."""
        return np.where(integers < 0, integers + np.int64(self.modulus), integers).astype(np.uint64)

    def centre(self, residues: Residues) -> NDArray[np.int64]:
        """Representatives in (-q/2, q/2]."""
        signed = residues.astype(np.int64)
        return np.where(signed > self.modulus // 2, signed - np.int64(self.modulus), signed)

    def _rows(self, a: Residues) -> Residues:
        return np.array(a, dtype=np.uint64, order="C").reshape(-1, self.degree)

    def _factor(self, w: Residues) -> tuple[Residues, Residues]:
        contiguous = np.ascontiguousarray(w)
        quotients = np.empty_like(contiguous)
        kernels().shoup_quotients(contiguous, self._q, quotients)
        return contiguous, quotients


@functools.cache
def data_ring() -> Ring:
    """The ring of ciphertexts, secret shares and partial decryptions."""
    return Ring(DEGREE, DATA_MODULUS)


@functools.cache
def key_rings() -> tuple[Ring, Ring]:
    """The two rings of a public key, in SEAL's order."""
    return data_ring(), Ring(DEGREE, SPECIAL_MODULUS)


def smallest_root(degree: int, modulus: int) -> int:
    """The smallest primitive 2N-th root of unity modulo the prime q, which is the one SEAL transforms with."""
    candidates = (pow(base, (modulus - 1) // (2 * degree), modulus) for base in range(2, modulus))
    root = next(candidate for candidate in candidates if pow(candidate, degree, modulus) == modulus - 1)
    square = root * root % modulus
    smallest = current = root
    for _ in range(degree - 1):
        current = current * square % modulus
        smallest = min(smallest, current)
    return smallest


def _powers_bit_reversed(root: int, degree: int, modulus: int) -> Residues:
    powers = [1] * degree
    for i in range(1, degree):
        powers[i] = powers[i - 1] * root % modulus
    bits = degree.bit_length() - 1
    return np.array([powers[int(f"{i:0{bits}b}"[::-1], 2)] for i in range(degree)], dtype=np.uint64)
