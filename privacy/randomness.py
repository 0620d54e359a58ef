"""Cryptographic randomness for keys and noise: ChaCha20 key streams and the distributions lattice cryptography needs."""

import hashlib
import hmac
import os
from collections.abc import Callable

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from numpy.typing import NDArray

from privacy.gaussian import Table
from privacy.parameters import SEED_BYTES
from privacy.rings import Residues, kernels

Entropy = Callable[[int], bytes]
system_entropy: Entropy = os.urandom


class KeyStream:
    """A ChaCha20 key stream, keyed by HMAC-SHA256 of a seed over what the stream is for: other purposes give independent streams.

    One stream gives up to 256 GiB. Not safe to share between threads.
    """

    def __init__(self, seed: bytes, *purpose: bytes) -> None:
        if len(seed) < SEED_BYTES:
            raise ValueError(f"a key stream needs a seed of at least {SEED_BYTES} bytes, got {len(seed)}")
        # Lengths go in as well, so that ("ab", "c") and ("a", "bc") differ.
        message = b"".join(len(part).to_bytes(8, "little") + part for part in purpose)
        key = hmac.digest(seed, message, hashlib.sha256)
        self._encryptor = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()

    def words(self, count: int) -> Residues:
        """`count` uniform 64-bit words."""
        found = np.empty(count, dtype="<u8")
        if count:  # into place: `update` takes three times as long
            self._encryptor.update_into(bytes(8 * count), found.data.cast("B"))
        return found.astype(np.uint64, copy=False)

    def uniform(self, count: int, modulus: int) -> Residues:
        """`count` uniform residues, by rejection: no modulo bias."""
        mask = np.uint64((1 << modulus.bit_length()) - 1)
        return self._fill(count, lambda missing: _below(self.words(missing + 16) & mask, modulus))

    def add_uniform(self, total: Residues, modulus: int, *, negated: bool) -> None:
        """Add uniform residues to `total` in place, or take them away: what one stream added, the same stream takes away again."""
        flat, filled = total.reshape(-1), 0
        mask = np.uint64((1 << modulus.bit_length()) - 1)
        while filled < flat.size:
            words = self.words(flat.size - filled)
            filled += kernels().add_uniform(flat[filled:], words, mask, np.uint64(modulus), negated)

    def ternary(self, count: int) -> NDArray[np.int64]:
        """`count` uniform values of -1, 0, 1: SEAL's secret key distribution."""
        draws = self._fill(count, lambda missing: _below(_crumbs(self.words(missing // 20 + 2)), 3))
        return draws.astype(np.int64) - 1

    def gaussian(self, count: int, table: Table) -> NDArray[np.int64]:
        """`count` samples of the centred discrete Gaussian that `table` describes."""
        samples = np.empty(count, dtype=np.int64)
        filled = 0
        while filled < count:
            missing = count - filled
            # About one sample in a hundred is rejected; a little more than enough words saves a second turn.
            words = self.words(2 * (missing + missing // 32 + 32))
            filled += kernels().gaussian(words, table.cumulative, table.guide, table.width_bits, table.two_variance, samples[filled:])
        return samples

    def _fill(self, count: int, draw: Callable[[int], Residues]) -> Residues:
        parts, missing = [np.empty(0, dtype=np.uint64)], count
        while missing > 0:
            parts.append(draw(missing)[:missing])
            missing -= parts[-1].size
        return np.concatenate(parts)


def _below(values: Residues, limit: int) -> Residues:
    return values[values < limit]


def _crumbs(words: Residues) -> Residues:
    """The 32 two-bit digits of each word."""
    shifts = np.arange(0, 64, 2, dtype=np.uint64)
    return ((words[:, None] >> shifts) & np.uint64(3)).reshape(-1)
