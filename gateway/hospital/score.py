"""Step 9 of a round: the validation committee judges groups and candidate on held-out patients, with noise, committing first."""

import asyncio
import math
import secrets

from fabric import canonical
from fabric.contract.commitments import score_commitment
from fabric.ledger_views import GroupScore, RoundView, Scores, TaskTerms
from gateway.fhir.split import expected_validation
from gateway.hospital.cohort import Patients
from gateway.hospital.context import GatewayContext
from gateway.hospital.contribute import NONCE_BYTES
from gateway.hospital.open_sums import Opened, SumOpener
from gateway.hospital.plan import Plan
from gateway.hospital.recorder import LEDGER
from gateway.hospital.timing import Stopwatch
from gateway.task_file import MICRO
from privacy.models import Vector
from privacy.noise import NoiseSource
from privacy.scoring import patient_losses, private_utility


async def commit_scores(
    context: GatewayContext,
    opener: SumOpener,
    view: RoundView,
    opened: Opened,
    parameters: Vector,
    patients: Patients,
    *,
    stopwatch: Stopwatch,
) -> None:
    """Phase score_commit, committee members: score, keep, and commit to the scores."""
    mspid = context.mspid
    if mspid not in view.committee or any(commit.mspid == mspid for commit in view.score_commits):
        return
    kept = context.state.scores(view.task_id, view.round)
    if kept is None:
        scores = await asyncio.to_thread(_score, mspid, opener, view, opened, parameters, patients)
        kept = canonical.dumps({"nonce": secrets.token_hex(NONCE_BYTES), "scores": scores.to_json()})
        # Kept before the commitment: scoring again would draw new noise, which the validation patients did not pay for.
        context.state.keep_scores(view.task_id, view.round, kept)
    content = canonical.loads(kept)
    with stopwatch.measure("ledger"):
        await context.ledger.commit_scores(
            task_id=view.task_id,
            round_number=view.round,
            digest=score_commitment(view.task_id, view.round, mspid, content["nonce"], content["scores"]),
        )


async def reveal_scores(context: GatewayContext, terms: TaskTerms, view: RoundView, *, stopwatch: Stopwatch) -> None:
    """Phase score_reveal: open the commitment."""
    mspid = context.mspid
    kept = context.state.scores(view.task_id, view.round)
    if mspid not in view.scorers or kept is None or any(reveal.mspid == mspid for reveal in view.score_reveals):
        return
    content = canonical.loads(kept)
    scores = content["scores"]
    groups = tuple(GroupScore(**group) for group in scores["groups"])
    context.records.disclosed(terms, "scores", recipient=LEDGER, round_number=view.round)
    with stopwatch.measure("ledger"):
        await context.ledger.reveal_scores(
            task_id=view.task_id,
            round_number=view.round,
            nonce=content["nonce"],
            scores=Scores(scores["candidate_digest"], scores["candidate_micro"], groups),
        )


def _score(mspid: str, opener: SumOpener, view: RoundView, opened: Opened, parameters: Vector, patients: Patients) -> Scores:
    """Utilities in micro-nats: loss saved per patient by the candidate, and by a step along each group's mean alone.

    Round 0 has nothing to score, and validation patients spend nothing: the committee says which candidate it computed.
    """
    if view.normalises:
        return Scores(opened.digest, 0, ())
    plan: Plan = opener.plan
    patients = patients.normalised(opener.normalisation)
    noise = NoiseSource.from_system()
    multiplier = plan.score_event().noise_multiplier
    expected = expected_validation(plan.sizes[mspid].patients)
    before = patient_losses(plan.spec, parameters, patients.features, patients.labels)

    def utility_micro(model: Vector) -> int:
        after = patient_losses(plan.spec, model, patients.features, patients.labels)
        clip = plan.task.privacy.score_clip
        return math.floor(private_utility(before, after, expected=expected, clip=clip, noise_multiplier=multiplier, noise=noise) * MICRO)

    own = view.group_of(mspid)
    groups = tuple(
        GroupScore(group, utility_micro(opener.candidate(view, {group: vector}, parameters)))
        for group, vector in sorted(opened.sums.items())
        if group != own
    )
    return Scores(opened.digest, utility_micro(opened.candidate), groups)
