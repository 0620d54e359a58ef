"""Ways to cheat, for trials: what a gateway does when its configuration says so, to be watched and caught by the others."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gateway.config import Misbehaviour
from privacy.noise import NoiseSource

SCALE_FACTOR = 1_000.0
LAST_HONEST_ROUND = 2


def flipped_labels(kind: Misbehaviour | None, labels: NDArray[np.float32]) -> NDArray[np.float32]:
    """`label-flip` trains on the opposite of every diagnosis."""
    return 1 - labels if kind == "label-flip" else labels


def forged_update(kind: Misbehaviour | None, vector: NDArray[np.float64], *, bound: float, noise: NoiseSource) -> NDArray[np.float64]:
    """`noise` sends loud noise instead of an update, `scale` its update many times over; both keep to the encoding's `bound`."""
    if kind == "noise":
        vector = noise.gaussian(len(vector), scale=bound)
    elif kind == "scale":
        vector = vector * SCALE_FACTOR
    return np.clip(vector, -bound, bound)


def forged_shares(kind: Misbehaviour | None, shares: Sequence[bytes]) -> list[bytes]:
    """`false-key-share` deals every holder a share whose last coefficient is another one."""
    if kind != "false-key-share":
        return list(shares)
    return [share[:-8] + bytes([share[-8] ^ 1]) + share[-7:] for share in shares]


def forged_partials(kind: Misbehaviour | None, parts: Sequence[bytes]) -> list[bytes]:
    """`false-decryption` gives shares whose last residue is another one."""
    return [part[:-7] + bytes([part[-7] ^ 1]) + part[-6:] for part in parts] if kind == "false-decryption" else list(parts)


def replays(kind: Misbehaviour | None, round_number: int) -> bool:
    """`replay` sends the ciphertext of an earlier round again from the third on."""
    return kind == "replay" and round_number > LAST_HONEST_ROUND


def goes_silent(kind: Misbehaviour | None, round_number: int) -> bool:
    """`offline` takes part until the third round, then answers nothing."""
    return kind == "offline" and round_number > LAST_HONEST_ROUND
