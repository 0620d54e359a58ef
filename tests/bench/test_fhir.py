"""`bench fhir`: its tools do the same work, every result has what the issue of speed asks for, and the plot shows them all."""

import json
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.bench import fhir_tools
from gateway.bench.fhir import LARGER, FhirBench, run
from gateway.bench.fhir_plot import plot
from gateway.bench.fhir_tools import KINDS, TOOLS, task
from gateway.bench.results import Measurement
from gateway.fhir.extract import check
from gateway.fhir.view_rows import view_rows
from gateway.fhir.views import compile_views
from tests.support.fhir_folders import condition, observation, patient

GLUCOSE = {"coding": [{"system": "http://loinc.org", "code": "2339-0"}]}
PATIENTS = 6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    people = [patient(f"p{n}", gender="female" if n % 2 else "male") for n in range(PATIENTS)]
    measured = {"value": 90.5, "code": "mg/dL", "unit": "mg/dL"}
    resources = [
        *people,
        *(observation(f"o{n}", f"p{n}", code=GLUCOSE, valueQuantity=measured) for n in range(PATIENTS)),
        observation("text", "p0", valueString="x"),
        condition("c", "p0"),
    ]
    (tmp_path / "all.ndjson").write_text("".join(json.dumps(each) + "\n" for each in resources))
    return tmp_path


def test_the_task_has_a_patient_by_twenty_measurements() -> None:
    check(task())
    assert len(task().features) == 20


@pytest.mark.parametrize("what", KINDS)
def test_tools_do_the_same_work(folder: Path, what: str) -> None:
    counts = {tool.name: tool.run(folder) for tool in TOOLS if tool.what == what}
    assert next(iter(counts.values())) == (PATIENTS + 1 if what == "view" else 2 * PATIENTS + 2)
    assert len(counts) > 1
    assert len(set(counts.values())) == 1


def test_rows_are_the_product_s(folder: Path) -> None:
    (lab,) = (view for view in task().views if view.name == "lab")
    ours = [json.loads(row) for batch in view_rows(compile_views([lab]), folder) for row in batch]
    theirs = [row for each in fhir_tools._json(folder) if (row := fhir_tools._row(each)) is not None]
    assert sorted(map(str, ours)) == sorted(map(str, theirs))


@pytest.mark.slow
def test_a_run_measures_each_tool_and_a_larger_input(folder: Path) -> None:
    said: list[str] = []
    report = run(FhirBench([folder], peers=True, repeats=1), said.append)
    results = report.data["results"]
    assert [(row["what"], row["tool"]) for row in results][:2] == [("view", "consortium")] * 2
    assert len(results) == len(said) == len(TOOLS) + sum(tool.scales for tool in TOOLS)
    for smaller, larger in pairwise(results):
        if smaller["tool"] == larger["tool"]:
            assert larger["resources"] == LARGER * smaller["resources"]
    for row in results:
        assert set(row) == {"what", "tool", "resources", "seconds", "per_second", "peak_rss_bytes"}
        assert row["per_second"] == pytest.approx(row["resources"] / row["seconds"])
        assert row["peak_rss_bytes"] > 10 << 20


def test_the_plot_has_a_bar_for_each_result() -> None:
    results = [
        Measurement("view", {"tool": "a & b", "resources": 1_000_000}, {"seconds": 2.0, "per_second": 500_000.0, "peak_rss_bytes": 1}),
        Measurement("validate", {"tool": "c", "resources": 10}, {"seconds": 2.0, "per_second": 5.0, "peak_rss_bytes": 1}),
    ]
    drawn = ElementTree.fromstring(plot(results))
    widths = [float(bar.attrib["width"]) for bar in drawn.iter("{http://www.w3.org/2000/svg}rect")]
    texts = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert widths[0] > widths[1] > 0
    assert "view: a & b, 1,000,000 resources" in texts
    assert "500,000" in texts
