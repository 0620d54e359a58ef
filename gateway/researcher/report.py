"""report.html: one file that needs nothing else, made from an outcome."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from html import escape
from importlib.resources import files
from itertools import accumulate
from string import Template

import numpy as np

from gateway.researcher.outcome import MICRO, HospitalOutcome, Outcome, mean
from gateway.researcher.page import style, table
from gateway.researcher.plots import Axis, Series, axis_for, bar_chart, line_chart
from privacy.accounting import SpendEvent, epsilon_pld
from privacy.evaluation import Histogram, accuracy, auc, brier, calibration, calibration_error, roc
from privacy.noisy_evaluation import Measure, NoisyHistogram, interval, plausible

_RATE = {"false": Axis("false positive rate", 0, 1), "true": Axis("true positive rate", 0, 1)}
_PARTITIONS = {"train": "training", "validation": "validation", "test": "held-out"}
SIMULATION_SEED = 20
"""Of the draws behind intervals: nothing is kept secret by them, and the same report comes out the same again."""
_NONE = "<p>No hospital released what this chart needs.</p>"


def render_report(outcome: Outcome) -> str:
    """The report's HTML. Runs the second accountant, which takes a few seconds."""
    template = Template(files("gateway.researcher").joinpath("report.html").read_text(encoding="utf-8"))
    task = outcome.task
    return template.substitute(
        style=style(),
        title=escape(task.title),
        task_id=escape(task.task_id),
        purpose=escape(task.purpose),
        model=escape(task.model),
        status=escape(task.status),
        rounds=len(outcome.rounds),
        hospitals=len(outcome.hospitals),
        numbers=_numbers(outcome),
        roc=_roc([("all hospitals", outcome.pooled)] if outcome.pooled else []),
        roc_by_hospital=_roc(_by_hospital(outcome)),
        calibration=_calibration([("all hospitals", outcome.pooled)] if outcome.pooled else [], bins=10),
        calibration_by_hospital=_calibration(_by_hospital(outcome), bins=5),
        comparison=_comparison(outcome),
        quality_table=_quality_table(outcome),
        ceiling=_ceiling(outcome),
        epsilon=_epsilon(outcome),
        privacy_table=_privacy_table(outcome),
        statement=_statement(outcome),
        trust=_trust(outcome),
        rewards=_rewards(outcome),
        trust_table=_trust_table(outcome),
        ledger=_ledger(outcome),
        cost_table=_cost_table(outcome),
    )


def _by_hospital(outcome: Outcome) -> list[tuple[str, Histogram]]:
    return [(mspid, plausible(evaluation.federated)) for mspid, evaluation in outcome.evaluated]


def _numbers(outcome: Outcome) -> str:
    facts = [
        ("AUC, federated, 90 % interval", _with_interval(outcome.noisy, auc) if outcome.noisy else "–"),
        ("AUC, hospitals alone", _number(mean(list(outcome.local_auc.values())))),
        ("AUC, all data in one place", _number(outcome.pooled_plain_auc)),
        ("largest ε spent", _number(max((hospital.epsilon for hospital in outcome.hospitals), default=None), 2)),
        ("ledger", {True: "verified", False: "NOT VERIFIED", None: "not checked"}[outcome.ledger.verified]),
    ]
    return "".join(f"<div>{escape(name)}<b>{escape(value)}</b></div>" for name, value in facts)


def _roc(histograms: Sequence[tuple[str, Histogram]]) -> str:
    lines = []
    for name, histogram in histograms:
        points, area = roc(histogram), auc(histogram)
        if points is not None and area is not None:
            lines.append(Series(f"{name} (AUC {area:.3f})", points, emphasised=len(histograms) == 1))
    return line_chart(lines, x=_RATE["false"], y=_RATE["true"], diagonal=True) if lines else _NONE


def _calibration(histograms: Sequence[tuple[str, Histogram]], *, bins: int) -> str:
    """Fewer bins for single hospitals: a handful of patients in a bin would draw noise."""
    if not histograms:
        return _NONE
    lines = [
        Series(name, [(p.predicted, p.observed) for p in calibration(histogram, bins)], emphasised=len(histograms) == 1, markers=True)
        for name, histogram in histograms
    ]
    return line_chart(lines, x=Axis("predicted probability", 0, 1), y=Axis("observed share", 0, 1), diagonal=True)


def _comparison(outcome: Outcome) -> str:
    local = outcome.local_auc
    federated = {mspid: auc(histogram) for mspid, histogram in _by_hospital(outcome)}
    names = list(federated)
    shown = [value for value in (*federated.values(), *local.values()) if value is not None]
    if not shown:
        return _NONE
    y = Axis("AUC", max(0.0, round(min(shown) - 0.1, 1)), 1.0)
    return bar_chart(names, [("federated model", list(federated.values())), ("hospital alone", [local.get(name) for name in names])], y=y)


def _quality_table(outcome: Outcome) -> str:
    local = outcome.local_auc
    rows = [(mspid, *_quality(evaluation.federated), _number(local.get(mspid))) for mspid, evaluation in outcome.evaluated]
    if outcome.noisy:
        rows.append(("all hospitals", *_quality(outcome.noisy), _number(mean(list(local.values())))))
    notes = "".join(f"<li>{escape(each.mspid)}: {escape(each.note)}</li>" for each in outcome.hospitals if each.note)
    header = ("hospital", "held-out patients, about", "noise", "AUC", "accuracy", "Brier", "calibration error", "AUC alone")
    return table(header, rows) + (f"<ul>{notes}</ul>" if notes else "")


def _quality(noisy: NoisyHistogram) -> tuple[str, ...]:
    histogram = plausible(noisy)
    patients = sum(histogram.positives) + sum(histogram.negatives)
    figures = (_with_interval(noisy, measure) for measure in (auc, accuracy, brier, calibration_error))
    return (f"{patients:.0f}", f"± {noisy.deviation:.1f}", *figures)


def _with_interval(noisy: NoisyHistogram, measure: Measure) -> str:
    """A figure with the interval in which other patients and other noise would have put it; the same draws for the same counts."""
    bounds = interval(noisy, measure, rng=np.random.default_rng(SIMULATION_SEED))
    told = _number(measure(plausible(noisy)))
    return told if bounds is None else f"{told} ({bounds[0]:.2f} to {bounds[1]:.2f})"


def _ceiling(outcome: Outcome) -> str:
    if outcome.pooled_plain_auc is None:
        return ""
    return (
        "<p>Ceiling: the same model trained on all patients in one place and without privacy reaches"
        f" AUC {outcome.pooled_plain_auc:.3f} on the same held-out patients. Only a trial can know this figure: it read the folders of all"
        " hospitals, which no party of a real deployment can.</p>"
    )


def _epsilon(outcome: Outcome) -> str:
    spent = [hospital.epsilon for hospital in outcome.hospitals]
    y = axis_for("ε", [0.0, *spent, outcome.task.epsilon], floor=0.0)
    allowed = [outcome.task.epsilon] * len(spent)
    return bar_chart([hospital.mspid for hospital in outcome.hospitals], [("spent", spent), ("allowed by the task", allowed)], y=y)


def _privacy_table(outcome: Outcome) -> str:
    rows = [
        (
            each.mspid,
            name,
            f"{each.epsilon_of(partition):.3f}",
            _second_opinion(each, partition),
            f"{each.delta:g}",
            _noise(each.spends[partition]),
        )
        for each in outcome.hospitals
        for partition, name in _PARTITIONS.items()
        if partition in each.spends
    ]
    return table(("hospital", "patients", "ε (ledger)", "ε (second accountant)", "δ", "noise multiplier"), rows)


def _second_opinion(hospital: HospitalOutcome, partition: str) -> str:
    steps = Counter[SpendEvent]()
    for spend in hospital.spends[partition]:
        steps[replace(spend, steps=1)] += spend.steps
    merged = tuple(replace(spend, steps=count) for spend, count in steps.items())
    return f"{_epsilon_pld(merged, hospital.delta):.3f}"


@cache
def _epsilon_pld(spends: tuple[SpendEvent, ...], delta: float) -> float:
    """Kept, because it takes seconds and hospitals that train alike spend alike."""
    return epsilon_pld(spends, delta=delta)


def _noise(spends: Sequence[SpendEvent]) -> str:
    return ", ".join(f"{value:.3f}" for value in sorted({spend.noise_multiplier for spend in spends}))


def _statement(outcome: Outcome) -> str:
    task = outcome.task
    trust_model = (
        "each hospital adds all of the noise itself, so its update alone has the stated guarantee, whoever sees it"
        if task.mode == "local"
        else "each hospital adds a share of the noise, so the guarantee holds for decrypted sums of at least one group and rests on the"
        " decryption quorum decrypting nothing else"
    )
    before = (
        " Before that, mean and deviation of the inputs came from one release of sums of bounded values with Gaussian noise, within"
        " the same budget."
        if task.normalised
        else ""
    )
    return (
        "<p><b>Privacy statement.</b> Unit of privacy: one patient with all records. Neighbouring data sets: one patient added or"
        f" removed. Each patient's gradient is clipped to L2 norm {task.clip:g} and Gaussian noise is added to the sum"
        f" (DP-SGD).{before}"
        f" The task was allowed (ε, δ) = ({task.epsilon:g}, {task.delta:g}) for each hospital's training patients, and"
        f" ({task.score_epsilon:g}, {task.delta:g}) for its validation patients, whose clipped differences of loss are scored with Gaussian"
        " noise, and for its held-out patients. A patient is in one of these three parts only, so it loses no more than the largest of"
        f" the three. Trust model: {task.mode} for updates; {trust_model}. To scores and evaluations each hospital adds all of the noise"
        " itself. Accountants: the ledger debits everything before it leaves the hospital, by a Rényi filter"
        " at fixed integer orders, valid for adaptive composition; the second accountant recomputes ε from the same debits with privacy"
        " loss distributions (dp-accounting).</p>"
        "<p><b>The figures on held-out patients are noisy.</b> Each hospital counted its held-out patients by score and label and added"
        " Gaussian noise, of the deviation in the table, to each count before they left it. What is told here is read off the nearest"
        " counts that can be; noise draws AUC towards one half. Intervals hold 90 % of what other patients of the same kind and other"
        " noise would have given, by simulation. The quality of the data in approvals is told with noise and paid for by held-out patients,"
        " too. Not covered: the number of training patients, which is public by definition.</p>"
    )


def _trust(outcome: Outcome) -> str:
    x = _round_axis(outcome)
    lines = [
        Series(h.mspid, [(r.number, r.trust_ppm[h.mspid] / MICRO) for r in outcome.rounds if h.mspid in r.trust_ppm])
        for h in outcome.hospitals
    ]
    highest = [trust / MICRO for settled in outcome.rounds for trust in settled.trust_ppm.values()]
    return line_chart(lines, x=x, y=axis_for("trust", [0.0, *highest], floor=0.0)) if outcome.rounds else _NONE


def _rewards(outcome: Outcome) -> str:
    if not outcome.rounds:
        return _NONE
    lines = []
    for hospital in outcome.hospitals:
        earned = accumulate(settled.pay_micro.get(hospital.mspid, 0) / MICRO for settled in outcome.rounds)
        lines.append(Series(hospital.mspid, [(settled.number, total) for settled, total in zip(outcome.rounds, earned, strict=True)]))
    highest = [line.points[-1][1] for line in lines]
    return line_chart(lines, x=_round_axis(outcome), y=axis_for("tokens earned", [0.0, *highest], floor=0.0))


def _round_axis(outcome: Outcome) -> Axis:
    return Axis("round", 1, max((settled.number for settled in outcome.rounds), default=1), whole=True)


def _trust_table(outcome: Outcome) -> str:
    rows = [
        (
            hospital.mspid,
            f"{hospital.trust_ppm / MICRO:.3f}",
            f"{sum(settled.pay_micro.get(hospital.mspid, 0) for settled in outcome.rounds) / MICRO:.3f}",
            f"{hospital.tokens_micro / MICRO:.3f}",
        )
        for hospital in outcome.hospitals
    ]
    rejected = [str(settled.number) for settled in outcome.rounds if not settled.accepted]
    note = f"Rounds whose model the committee rejected: {', '.join(rejected)}." if rejected else "Every round's model was accepted."
    return table(("hospital", "trust", "earned in this task", "tokens held"), rows) + f"<p>{note}</p>"


def _ledger(outcome: Outcome) -> str:
    ledger = outcome.ledger
    verdict = {
        True: '<b class="good">Verified</b>: header chain, data hashes, every signature, the validation of every transaction, and trust,'
        " balances and budgets recomputed from the transactions.",
        False: '<b class="bad">Verification failed.</b>',
        None: "Not verified for this report; run <code>consortium audit verify</code>.",
    }[ledger.verified]
    kind = " It is the embedded ledger, which is for development and trials." if ledger.kind == "embedded" else ""
    return (
        f"<p>{verdict}{kind}</p><p>{ledger.height} blocks; last block <code>{escape(ledger.last_hash)}</code>;"
        f" task document <code>{escape(outcome.task.digest)}</code>.</p>{_approved(outcome)}"
    )


def _approved(outcome: Outcome) -> str:
    """What each hospital's approval is bound to, besides the task's document."""
    rows = [(each.mspid, each.views_digest, each.cohort_digest or "–") for each in outcome.hospitals if each.views_digest]
    return table(("hospital", "SQL that it approved", "its resources (salted)"), rows) if rows else ""


def _cost_table(outcome: Outcome) -> str:
    rows = [(name, f"{seconds:.1f} s") for name, seconds in outcome.seconds.items()]
    rows.append(("upload per parameter and round", f"{outcome.upload_bytes_per_parameter:.1f} bytes"))
    rows.append(("parameters", str(outcome.task.parameters)))
    return table(("what", "how much"), rows)


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
