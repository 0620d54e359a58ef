"""Trust recomputed: what validators revealed gives verdicts and signals, and these give every hospital's trust, round by round."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fabric.contract import judgement, normalisation, trust
from fabric.contract.keys import key
from fabric.contract.records import Scores
from fabric.contract.standing import trust_record
from fabric.contract.trust import S, Signals, TrustState
from fabric.decoding import decode
from fabric.worldstate import WorldState
from gateway.auditor.calls import FIRST_RULES, ContractCall
from gateway.auditor.records import differences, records


class TrustBook:
    """Follows approvals, revealed scores and settlements. `states` holds each hospital's trust after the last settlement."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.states: dict[str, TrustState] = {}
        self._qualities: dict[tuple[str, str], int] = {}
        self._clips: dict[str, int] = {}
        self._scores: dict[tuple[str, int], dict[str, Scores]] = {}

    def observe(self, call: ContractCall) -> None:
        """Take note of one valid call."""
        argument = call.argument
        if call.function == "submit_task":
            self._clips[argument["task_id"]] = argument["score_clip_micro"]
        elif call.function == "approve_task":
            self._qualities[argument["task_id"], call.mspid] = argument["quality_ppm"]
        elif call.function == "reveal_scores":
            self._scores.setdefault((argument["task_id"], argument["round"]), {})[call.mspid] = argument["scores"]
        if call.event == "settled":
            self._settle(call)

    @property
    def saved(self) -> dict[str, Any]:
        """What the book remembers, as JSON values, for `restore`."""
        return {
            "problems": self.problems,
            "states": {mspid: asdict(state) for mspid, state in self.states.items()},
            "qualities": [[*place, quality] for place, quality in self._qualities.items()],
            "clips": self._clips,
            "scores": [[*place, scores] for place, scores in self._scores.items()],
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Remember again what was `saved`."""
        self.problems = saved["problems"]
        self.states = {mspid: decode(TrustState, state, strict=True) for mspid, state in saved["states"].items()}
        self._qualities = {(task_id, mspid): quality for task_id, mspid, quality in saved["qualities"]}
        self._clips = saved["clips"]
        self._scores = {(task_id, number): scores for task_id, number, scores in saved["scores"]}

    def differences(self, state: WorldState, contract: str) -> list[str]:
        """What is wrong with the trust records in the state; empty if nothing is."""
        expected = {key("trust", mspid): dict(trust_record(mspid, after)) for mspid, after in self.states.items()}
        # Contract 1.0 had no quarantine, and what it wrote stays as it is until a settlement writes it anew.
        found = {name: {"quarantined": False, **record} for name, record in records(state, contract, "trust").items()}
        return [*self.problems, *differences("trust", expected, found)]

    def _settle(self, call: ContractCall) -> None:
        settlement = call.payload
        # Taken out of the book: a round is settled once, and memory should not grow with the number of rounds.
        scores = self._scores.pop((settlement["task_id"], settlement["round"]), {})
        clip_micro = self._clips[settlement["task_id"]]
        wrong = _judgement_differences(settlement, scores, clip_micro)
        before = dict(self.states)  # credits rest on what was known of a hospital's company before the round
        for entry in settlement["hospitals"]:
            wrong += self._hospital_differences(call, entry, scores, before)
        where = f"block {call.block}, settlement of round {settlement['round']} of {settlement['task_id']}"
        self.problems += [f"{where}: {one}" for one in wrong]

    def _hospital_differences(
        self, call: ContractCall, entry: dict[str, Any], scores: Mapping[str, Scores], before: Mapping[str, TrustState]
    ) -> list[str]:
        settlement, mspid, first = call.payload, entry["mspid"], call.rules == FIRST_RULES
        quality_ppm = self._qualities.get((settlement["task_id"], mspid), 0)
        utility_ppm = _rank(settlement, entry) if first else _credit(settlement, entry, before)
        clip_micro = self._clips[settlement["task_id"]]
        expected = _signals(settlement, entry, scores, utility_ppm=utility_ppm, quality_ppm=quality_ppm, clip_micro=clip_micro)
        recorded = recorded_signals(entry)
        state = before.get(mspid, TrustState())
        after = trust.update(state, expected, trust.FIRST if first else trust.CONSTANTS)
        self.states[mspid] = after
        wrong = [] if recorded == expected else [f"{mspid}'s signals are recorded as {recorded}, recomputed {expected}"]
        if {"quarantined": False, **entry["trust"]} != dict(trust_record(mspid, after)):
            wrong.append(f"{mspid}'s trust is recorded as {entry['trust']['trust_ppm']} ppm, recomputed {after.trust_ppm}")
        if state.quarantined and entry["contributed"]:
            wrong.append(f"{mspid} was quarantined and is recorded as one to be paid")
        return wrong


def recorded_signals(entry: dict[str, Any]) -> Signals:
    """A hospital's signals as a settlement records them."""
    return Signals(entry["attendance_ppm"], entry["integrity"], entry["utility_ppm"], None, entry["quality_ppm"], entry["validator_ppm"])


def _group(settlement: dict[str, Any], mspid: str) -> dict[str, Any]:
    nowhere: dict[str, Any] = {"utility_ppm": None, "members": []}
    return next((group for group in settlement["groups"] if mspid in group["members"]), nowhere)


def _rank(settlement: dict[str, Any], entry: dict[str, Any]) -> int | None:
    """What contract 1.0 took for a hospital's utility in a round: the rank of its group."""
    rank: int | None = _group(settlement, entry["mspid"])["utility_ppm"]
    return rank if entry["attendance_ppm"] == S else None


def _credit(settlement: dict[str, Any], entry: dict[str, Any], before: Mapping[str, TrustState]) -> int | None:
    rank = _rank(settlement, entry)
    if rank is None:
        return None
    others = [mspid for mspid in _group(settlement, entry["mspid"])["members"] if mspid != entry["mspid"]]
    return trust.credit_ppm(rank, [before.get(mspid, TrustState()).effect_ppm for mspid in others])


def _signals(
    settlement: dict[str, Any],
    entry: dict[str, Any],
    scores: Mapping[str, Scores],
    *,
    utility_ppm: int | None,
    quality_ppm: int,
    clip_micro: int,
) -> Signals:
    """The signals as they follow from scores and approvals; attendance and integrity are taken as the contract recorded them."""
    mspid, candidate = entry["mspid"], settlement["candidate"]
    judged = candidate and mspid in scores and settlement["round"] != normalisation.ROUND
    return Signals(
        attendance_ppm=entry["attendance_ppm"],
        integrity=entry["integrity"],
        utility_ppm=utility_ppm,
        norm_ppm=None,
        quality_ppm=quality_ppm,
        validator_ppm=judgement.agreement_ppm(mspid, candidate["digest"], scores, clip_micro=clip_micro) if judged else None,
    )


def _judgement_differences(settlement: dict[str, Any], scores: Mapping[str, Scores], clip_micro: int) -> list[str]:
    candidate = settlement["candidate"]
    if candidate is None:
        judged = any(group["utility_ppm"] is not None for group in settlement["groups"])
        return ["it accepts or judges without a candidate"] if settlement["accepted"] or judged else []
    verdict = judgement.verdict(candidate["digest"], scores, clip_micro=clip_micro)
    wrong = []
    if (settlement["accepted"], settlement["candidate_micro"]) != (verdict.accepted, verdict.candidate_micro):
        wrong.append(f"accepted is {settlement['accepted']}, recomputed {verdict.accepted}")
    rejected = set(candidate["rejected_groups"]) if verdict.confirmed else set()
    utilities = {} if settlement["round"] == normalisation.ROUND else judgement.utilities_ppm(scores, rejected)
    wrong += [
        f"group {group['group']} is recorded with a utility of {group['utility_ppm']} ppm, recomputed {utilities.get(group['group'])}"
        for group in settlement["groups"]
        if group["utility_ppm"] != utilities.get(group["group"])
    ]
    return wrong
