"""What the validators' scores say: medians, ranks of groups, acceptance of the candidate, honesty of validators. Pure."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from fabric.contract.records import Scores
from fabric.contract.trust import S

# Scores are noisy in proportion to their clip (the most one patient counts), so what is close is measured by it. A candidate may look
# worse than the old model by three fifths of it: less would turn honest candidates down, more could turn none down.
CANDIDATE_TOLERANCE_FIFTHS = 3
FEWEST_TO_COMPARE = 3  # the median of two is between them, whoever is right


@dataclass(frozen=True)
class Verdict:
    """candidate_micro: median utility given by the validators that computed the posted candidate, None if none did.

    confirmed: most validators computed it. disputed: most computed another.
    """

    accepted: bool
    reason: str
    candidate_micro: int | None
    confirmed: bool
    disputed: bool


def median(values: Sequence[int]) -> int:
    """Middle value; of an even number, the floor of the mean of the two in the middle."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) // 2


def group_medians(scores: Mapping[str, Scores]) -> dict[int, int]:
    """Median utility of each group that at least one validator scored."""
    by_group: dict[int, list[int]] = {}
    for entry in scores.values():
        for score in entry["groups"]:
            by_group.setdefault(score["group"], []).append(score["utility_micro"])
    return {group: median(values) for group, values in sorted(by_group.items())}


def ranks_ppm(medians: Mapping[int, int]) -> dict[int, int | None]:
    """S·(2·lower + ties)/(2·(K - 1)) among K judged groups: best S, worst 0; None where there is nothing to compare with."""
    others = len(medians) - 1
    if others < 1:
        return dict.fromkeys(medians)
    return {group: _rank(value, list(medians.values()), others) for group, value in medians.items()}


def _rank(value: int, values: list[int], others: int) -> int:
    lower = sum(1 for other in values if other < value)
    ties = sum(1 for other in values if other == value) - 1
    return S * (2 * lower + ties) // (2 * others)


def utilities_ppm(scores: Mapping[str, Scores], rejected: Set[int]) -> dict[int, int | None]:
    """Utility of each group: its rank by what validators scored, 0 for one in `rejected`, which broke its bounds."""
    medians = {group: value for group, value in group_medians(scores).items() if group not in rejected}
    return {**ranks_ppm(medians), **dict.fromkeys(rejected, 0)}


def verdict(candidate_digest: str, scores: Mapping[str, Scores], *, clip_micro: int) -> Verdict:
    """Accept iff most validators computed the posted candidate and it looks no worse than the old model, within tolerance."""
    agreeing = [entry["candidate_micro"] for entry in scores.values() if entry["candidate_digest"] == candidate_digest]
    utility = median(agreeing) if agreeing else None
    confirmed, disputed = 2 * len(agreeing) > len(scores), 2 * len(agreeing) < len(scores)
    if not scores:
        reason = "no validator revealed its scores"
    elif not confirmed:
        reason = "most validators computed another candidate" if disputed else "half of the validators computed another candidate"
    elif utility is not None and utility < -(clip_micro * CANDIDATE_TOLERANCE_FIFTHS // 5):
        reason = "the candidate is worse than the model before it"
    else:
        reason = ""
    return Verdict(reason == "", reason, utility, confirmed, disputed)


def agreement_ppm(mspid: str, candidate_digest: str, scores: Mapping[str, Scores], *, clip_micro: int) -> int | None:
    """V of a validator: the share of its scores within one clip of the median of all; None where too few judged to compare.

    A validator whose candidate is not the one that most computed did not recompute: 0.
    """
    if len(scores) < FEWEST_TO_COMPARE:
        return None
    own = scores[mspid]
    if own["candidate_digest"] != candidate_digest and verdict(candidate_digest, scores, clip_micro=clip_micro).confirmed:
        return 0
    compared = _comparisons(own, candidate_digest, scores, clip_micro)
    return S * sum(compared) // len(compared) if compared else None


def _comparisons(own: Scores, candidate_digest: str, scores: Mapping[str, Scores], clip_micro: int) -> list[bool]:
    """For each score the validator gave that at least FEWEST_TO_COMPARE gave: is it near their median?"""
    pairs: list[tuple[int, list[int]]] = []
    if own["candidate_digest"] == candidate_digest:
        pairs.append((own["candidate_micro"], [s["candidate_micro"] for s in scores.values() if s["candidate_digest"] == candidate_digest]))
    for score in own["groups"]:
        given = [other["utility_micro"] for s in scores.values() for other in s["groups"] if other["group"] == score["group"]]
        pairs.append((score["utility_micro"], given))
    return [abs(value - median(given)) <= clip_micro for value, given in pairs if len(given) >= FEWEST_TO_COMPARE]
