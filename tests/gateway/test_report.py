"""Summary and report of a task, made from an outcome alone."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gateway.researcher.outcome import (
    Evaluation,
    HospitalOutcome,
    LedgerOutcome,
    Outcome,
    RoundOutcome,
    TaskFacts,
    summary,
)
from gateway.researcher.plots import Axis, Series, bar_chart, line_chart
from gateway.researcher.report import render_report
from gateway.researcher.results import write_results
from privacy.accounting import SpendEvent, epsilon_at_orders, epsilon_pld
from privacy.evaluation import Histogram, auc
from privacy.noisy_evaluation import BINS, NoisyHistogram

SPENDS = (SpendEvent("gaussian", 12.0, 1.0, 1),) * 3
VALIDATION, HELD_OUT = (SpendEvent("gaussian", 9.0, 1.0, 2),), (SpendEvent("gaussian", 7.0, 1.0, 1), SpendEvent("gaussian", 3.0, 1.0, 1))
SQL, COHORT = "5" * 64, "c" * 64
TITLE = "Sepsis <script>alert(1)</script> & more"


def noisy(positives: dict[int, float], negatives: dict[int, float]) -> NoisyHistogram:
    def counts(bins: dict[int, float]) -> tuple[float, ...]:
        return tuple(bins.get(index, 0.0) for index in range(BINS))

    return NoisyHistogram(counts(positives), counts(negatives), 0.5)


def hospital(mspid: str, evaluation: Evaluation | None, *, trust_ppm: int = 820_000) -> HospitalOutcome:
    return HospitalOutcome(
        mspid=mspid,
        patients=120,
        delta=1e-3,
        spends={"train": SPENDS, "validation": VALIDATION, "test": HELD_OUT} if evaluation else {"train": SPENDS},
        trust_ppm=trust_ppm,
        tokens_micro=1_012_500_000,
        evaluation=evaluation,
        note="" if evaluation else "it releases no evaluations",
        views_digest=SQL,
        cohort_digest=COHORT,
    )


@pytest.fixture
def outcome() -> Outcome:
    seconds = {"training": 1.5, "encryption": 0.5}
    north = Evaluation(noisy({9: 10.5, 6: 10}, {0: 10, 5: 9.5}), seconds)
    south = Evaluation(noisy({7: 10, 2: 10}, {3: 20}), seconds)
    names = ("north", "south", "west")
    return Outcome(
        task=TaskFacts(
            task_id="sepsis-1",
            title=TITLE,
            purpose="research",
            permit="",
            digest="ab" * 32,
            status="finished",
            model="mlp 16-8",
            parameters=500,
            mode="local",
            clip=1.5,
            epsilon=3.0,
            score_epsilon=4.0,
            delta=1e-3,
        ),
        hospitals=(hospital("north", north), hospital("south", south), hospital("west", None, trust_ppm=180_000)),
        rounds=tuple(
            RoundOutcome(number, number != 2, dict.fromkeys(names, 300_000 * number), dict.fromkeys(names, 2_000_000))
            for number in (1, 2, 3)
        ),
        ledger=LedgerOutcome("embedded", 321, "cd" * 32, verified=True),
        ciphertext_bytes=15_100,
        seconds={"total": 61.234, "setup": 20.0, **seconds},
        pooled_plain_auc=0.991,
        local_auc={"north": 1.0, "south": 0.0},
    )


def test_the_summary_has_the_documented_fields(outcome: Outcome) -> None:
    found = summary(outcome)
    pooled = Histogram((0, 0, 10, 0, 0, 0, 10, 10, 0, 10.5), (10, 0, 0, 20, 0, 9.5, 0, 0, 0, 0))
    spent = epsilon_at_orders(SPENDS, delta=1e-3)
    assert found == {
        "schema_version": 1,
        "task": "sepsis-1",
        "status": "finished",
        "hospitals": [
            {"mspid": mspid, "patients": 120, "epsilon": round(spent, 6), "delta": 1e-3, "trust_ppm": trust, "tokens": 1012.5}
            | {"views_digest": SQL, "cohort_digest": COHORT}
            for mspid, trust in (("north", 820_000), ("south", 820_000), ("west", 180_000))
        ],
        "rounds": 3,
        "auc": {
            "federated": pytest.approx(auc(pooled)),
            "local_mean": 0.5,
            "local": {"north": 1.0, "south": 0.0},
            "pooled_plain": 0.991,
        },
        "ledger": {"kind": "embedded", "height": 321, "verified": True},
        "upload_bytes_per_parameter": 30.2,
        "seconds": {"total": 61.23, "setup": 20.0, "training": 1.5, "encryption": 0.5},
    }


def test_the_report_needs_nothing_else_and_no_script(outcome: Outcome) -> None:
    html = render_report(outcome)
    assert "<script" not in html
    assert "&lt;script&gt;" in html, "names come from other organisations"
    assert not re.search(r"(?:src|href)\s*=|url\(|@import|https?://", html)
    assert "$" not in html, "a placeholder was not filled"
    balanced = Balanced()
    balanced.feed(html)
    assert balanced.open == []


def test_the_report_says_what_it_must(outcome: Outcome) -> None:
    html = render_report(outcome)
    assert html.count(SQL) == html.count(COHORT) == 3
    second_opinion = f"{epsilon_pld(SPENDS, delta=1e-3):.3f}"
    for words in (
        "ROC",
        "Calibration",
        "Federated against each hospital alone",
        "ε spent",
        "Trust by round",
        "Rewards",
        "Verified",
        "one patient added or removed",
        "Only a trial can know this figure",
        second_opinion,
        "it releases no evaluations",
        "The figures on held-out patients are noisy",
        "held-out",
        f"{epsilon_at_orders(HELD_OUT, delta=1e-3):.3f}",
        "Trust model",
        "Accountants",
        "development and trials",
        "rejected: 2",
        "30.2 bytes",
        "cd" * 32,
    ):
        assert words in html, words
    assert "Verification failed" in render_report(replace(outcome, ledger=replace(outcome.ledger, verified=False)))
    assert "Not verified" in render_report(replace(outcome, ledger=replace(outcome.ledger, verified=None)))
    assert "Only a trial" not in render_report(replace(outcome, pooled_plain_auc=None))


def test_a_report_without_any_evaluation(outcome: Outcome) -> None:
    bare = replace(outcome, hospitals=tuple(replace(each, evaluation=None) for each in outcome.hospitals))
    assert "No hospital released" in render_report(bare)
    assert summary(bare)["auc"] == {"federated": None, "local_mean": 0.5, "local": {"north": 1.0, "south": 0.0}, "pooled_plain": 0.991}


def test_result_files(outcome: Outcome, tmp_path: Path) -> None:
    report, summary_file = write_results(outcome, tmp_path / "new" / "folder")
    assert json.loads(summary_file.read_text()) == json.loads(json.dumps(summary(outcome)))
    assert report.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_lines_are_drawn_where_their_points_are() -> None:
    svg = ElementTree.fromstring(
        line_chart([Series("a", [(0, 0), (5, 1), (10, 2)])], x=Axis("x", 0, 10), y=Axis("y", 0, 2)).split("<ul")[0]
    )
    drawn = [tuple(map(float, pair.split(","))) for pair in svg.findall(".//polyline")[-1].attrib["points"].split()]
    (left, bottom), middle, (right, top) = drawn
    assert (left, right) == (56, 448)
    assert (bottom, top) == (276, 14)
    assert middle == ((left + right) / 2, (bottom + top) / 2)


def test_bars_leave_out_what_is_not_known() -> None:
    svg = bar_chart(["a<b", "c"], [("one", [0.5, None]), ("two", [1.0, 0.25])], y=Axis("AUC", 0, 1))
    root = ElementTree.fromstring(svg.split("<ul")[0])
    heights = sorted(float(bar.attrib["height"]) for bar in root.findall("rect"))
    assert heights == [pytest.approx(262 * share, abs=0.1) for share in (0.25, 0.5, 1.0)]
    assert "a&lt;b" in svg


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 24), (0.5, 1.02), (0, 0.004), (0, 123_456), (-3, 7), (2, 2)])
def test_ticks_are_few_and_inside(low: float, high: float) -> None:
    labels = re.findall(r'text-anchor="end">([^<]+)<', line_chart([], x=Axis("x", 0, 1), y=Axis("y", low, high)))
    values = [float(label) for label in labels]
    assert 1 <= len(values) <= 7
    assert all(low <= value <= high for value in values)


class Balanced(HTMLParser):
    """Checks that every element is closed in order."""

    VOID = frozenset({"meta", "path", "br", "rect", "circle", "polyline"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_statement_tells_of_a_normalisation_only_where_there_was_one(outcome: Outcome) -> None:
    normalised = replace(outcome, task=replace(outcome.task, normalised=True))
    assert "mean and deviation of the inputs" not in render_report(outcome)
    assert "mean and deviation of the inputs" in render_report(normalised)
