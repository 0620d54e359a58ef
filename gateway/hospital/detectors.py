"""By what a judge judges an opened update: pure functions of the update and of what all hospitals know, so that judges agree.

Another detector is another function here, and its name in `gateway.config.GatewaySection`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from fabric.contract.verdicts import HARMFUL, MALFORMED, SOUND
from privacy.robust import GroupBound, Vector, within_bound

_DEVIATIONS = 6.0  # a direction that has nothing to do with the model's lies that far off once in 10^9 updates


@dataclass(frozen=True)
class OpenedUpdate:
    """One hospital's update: summed clipped gradients with noise, in units of the clip (float64, 1-D).

    `bound` is what an honest hospital with the approved patients keeps to; `progress` the sum of gradients that the model has followed
    since it was made, in any unit.
    """

    vector: Vector
    bound: GroupBound
    progress: Vector


Detector = Callable[[OpenedUpdate], str]


def bounds(update: OpenedUpdate) -> str:
    """`malformed` for an update that no honest hospital can send: clipping and noise bound its coordinates and its norm."""
    return SOUND if within_bound(update.vector, update.bound) else MALFORMED


def direction(update: OpenedUpdate) -> str:
    """As `bounds`; and `harmful` for one that points against what the model has learnt, further than noise can.

    Noise of d coordinates has a cosine with any given direction of about 1/sqrt(d). A statistic: who takes it as a reason to convict
    accepts that a hospital whose patients contradict all others' is convicted too.
    """
    found = bounds(update)
    norms = float(np.linalg.norm(update.vector)) * float(np.linalg.norm(update.progress))
    if found != SOUND or norms == 0:
        return found
    cosine = float(update.vector @ update.progress) / norms
    return HARMFUL if cosine < -_DEVIATIONS / math.sqrt(len(update.vector)) else SOUND


DETECTORS: Mapping[str, Detector] = {"bounds": bounds, "direction": direction}
