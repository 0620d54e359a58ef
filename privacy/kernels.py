"""Compiled loops over residues: number-theoretic transform, products, sums, bit packing, Gaussian sampling.

Numba takes most of a second to import, so this module is imported through `rings.kernels()` on first use. Signatures are explicit:
importing compiles, or loads from Numba's cache, everything at once (`ckks.warm_up`). All residues are uint64 below a modulus of at most
62 bits. Products are Shoup's: the factor w comes with floor(w * 2^64 / q), which makes the reduction one high product
(Harvey, "Faster arithmetic for number-theoretic transforms", 2014).

Numba turns int64 mixed with uint64 into float64, hence the casts to uint64. The loops run without Python's global lock.
"""

import math
from typing import Any

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]  # it publishes no types
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

Residues = NDArray[np.uint64]
Integers = NDArray[np.int64]
Word = np.uint64

_VECTOR = types.Array(types.uint64, 1, "C")
_MATRIX = types.Array(types.uint64, 2, "C")
_INTEGERS = types.Array(types.int64, 1, "C")
_INPUT = types.Array(types.uint64, 1, "C", readonly=True, aligned=False)


def _high_product(typing_context: Any, a: Any, b: Any) -> Any:
    """Upper 64 bits of the 128-bit product of two uint64: one machine instruction, which Numba has no name for."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(argument, wide) for argument in arguments))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), build


_high: Any = intrinsic(_high_product)


@numba.njit(inline="always")
def _reduce(r: Word, q: Word) -> Word:
    """r modulo q for r below 2q: below q the subtraction wraps to a huge value. Without a branch, so that loops become SIMD code."""
    return min(r, r - q)


@numba.njit(inline="always")
def _multiply(a: Word, w: Word, quotient: Word, q: Word) -> Word:
    return _reduce(a * w - _high(a, quotient) * q, q)


@numba.njit(types.void(_MATRIX, _VECTOR, _VECTOR, types.uint64), cache=True, nogil=True)
def forward_ntt(a: Residues, roots: Residues, quotients: Residues, q: Word) -> None:
    """Cooley-Tukey, in place, row by row: natural order in, bit-reversed order out."""
    for row in range(a.shape[0]):
        half, groups = a.shape[1] >> 1, 1
        while half:
            for group in range(groups):
                w, quotient = roots[groups + group], quotients[groups + group]
                start = 2 * group * half
                upper, lower = a[row, start : start + half], a[row, start + half : start + 2 * half]
                for j in range(half):
                    u, v = upper[j], _multiply(lower[j], w, quotient, q)
                    upper[j] = _reduce(u + v, q)
                    lower[j] = _reduce(u + q - v, q)
            half >>= 1
            groups <<= 1


@numba.njit(types.void(_MATRIX, _VECTOR, _VECTOR, types.uint64), cache=True, nogil=True)
def inverse_ntt_unscaled(a: Residues, roots: Residues, quotients: Residues, q: Word) -> None:
    """Gentleman-Sande, in place: undoes `forward_ntt` up to the factor N."""
    for row in range(a.shape[0]):
        half, groups = 1, a.shape[1] >> 1
        while groups:
            for group in range(groups):
                w, quotient = roots[groups + group], quotients[groups + group]
                start = 2 * group * half
                upper, lower = a[row, start : start + half], a[row, start + half : start + 2 * half]
                for j in range(half):
                    u, v = upper[j], lower[j]
                    upper[j] = _reduce(u + v, q)
                    lower[j] = _multiply(_reduce(u + q - v, q), w, quotient, q)
            half <<= 1
            groups >>= 1


@numba.njit(types.void(_VECTOR, types.uint64, _VECTOR), cache=True, nogil=True)
def shoup_quotients(w: Residues, q: Word, out: Residues) -> None:
    """out = floor(w * 2^64 / q), by long division: no 128-bit division is at hand."""
    one = np.uint64(1)
    for i in range(w.size):
        remainder, quotient = w[i], np.uint64(0)
        for _ in range(64):
            remainder <<= one
            quotient <<= one
            if remainder >= q:
                remainder -= q
                quotient |= one
        out[i] = quotient


@numba.njit(types.void(_MATRIX, _VECTOR, _VECTOR, types.uint64), cache=True, nogil=True)
def multiply_rows(a: Residues, w: Residues, quotients: Residues, q: Word) -> None:
    """a[row] *= w, element by element, in place."""
    for row in range(a.shape[0]):
        for j in range(a.shape[1]):
            a[row, j] = _multiply(a[row, j], w[j], quotients[j], q)


@numba.njit(types.void(_MATRIX, _MATRIX, types.uint64), cache=True, nogil=True)
def add_into(a: Residues, b: Residues, q: Word) -> None:
    """a += b, in place."""
    for row in range(a.shape[0]):
        for j in range(a.shape[1]):
            a[row, j] = _reduce(a[row, j] + b[row, j], q)


@numba.njit(types.int64(_VECTOR, _INPUT, types.uint64, types.uint64, types.boolean), cache=True, nogil=True)
def add_uniform(a: Residues, words: Residues, mask: Word, q: Word, negated: bool) -> int:
    """a += u, or a -= u, in place, u being the masked words that are below q, in turn; return how many of `a` had one."""
    filled = 0
    for i in range(words.size):
        if filled == a.size:
            break
        u = words[i] & mask
        if u < q:
            a[filled] = _reduce(a[filled] + (q - u if negated else u), q)
            filled += 1
    return filled


@numba.njit(types.void(_INPUT, types.int64, _VECTOR), cache=True, nogil=True)
def pack(values: Residues, bits: int, out: Residues) -> None:
    """Write the low `bits` bits of each value one after another into zeroed little-endian words."""
    for i in range(values.size):
        word, shift = (i * bits) >> 6, (i * bits) & 63
        out[word] |= values[i] << np.uint64(shift)
        if shift + bits > 64:
            out[word + 1] |= values[i] >> np.uint64(64 - shift)


@numba.njit(types.int64(_INPUT, types.int64, types.uint64, _VECTOR), cache=True, nogil=True)
def unpack(words: Residues, bits: int, q: Word, out: Residues) -> int:
    """Undo `pack`; return the index of the first value that is not below q, or -1."""
    mask = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    first_bad = -1
    for i in range(out.size):
        word, shift = (i * bits) >> 6, (i * bits) & 63
        value = words[word] >> np.uint64(shift)
        if shift + bits > 64:
            value |= words[word + 1] << np.uint64(64 - shift)
        out[i] = value & mask
        if out[i] >= q and first_bad < 0:
            first_bad = i
    return first_bad


@numba.njit(types.int64(_VECTOR, _VECTOR, _INTEGERS, types.int64, types.float64, _INTEGERS), cache=True, nogil=True)
def gaussian(words: Residues, cumulative: Residues, guide: Integers, width_bits: int, two_variance: float, out: Integers) -> int:
    """Fill `out` from pairs of uniform words as `gaussian.Table` describes; return how many samples the words gave."""
    one = np.uint64(1)
    width = 1 << width_bits
    mask = np.uint64(width - 1)
    resolution = 2.0 ** (64 - width_bits)
    filled = 0
    for i in range(words.size // 2):
        if filled == out.size:
            break
        r = words[2 * i] >> one
        bucket = guide[r >> np.uint64(55)]
        while r >= cumulative[bucket]:
            bucket += 1
        offset = np.int64(words[2 * i + 1] & mask)
        if offset:
            exponent = -float(offset) * (float(offset) + 2.0 * float(width) * float(bucket)) / two_variance
            uniform = float(words[2 * i + 1] >> np.uint64(width_bits)) / resolution
            # exp(x) >= 1 + x settles nearly every case without the exponential.
            if uniform >= 1.0 + exponent and uniform >= math.exp(exponent):
                continue
        value = bucket * width + offset
        if words[2 * i] & one:
            if value == 0:
                continue
            value = -value
        out[filled] = value
        filled += 1
    return filled
