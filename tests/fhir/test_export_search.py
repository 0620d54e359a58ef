"""Search with paging: a page that comes again, links that lead back, totals that do not add up."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.fhir.errors import FhirServerError
from gateway.fhir.export.client import ATTEMPTS
from gateway.fhir.export.search import queries
from gateway.fhir.export.settings import DataSection
from gateway.fhir.sources import files
from tests.support.exports import FakeTime, exported, fill
from tests.support.fhir_folders import observation, patient
from tests.support.fhir_server import OUTCOME, Fault, FhirServer, fhir_server

TYPES = ["Patient", "Observation", "Condition"]


def lines(folder: Path) -> list[str]:
    return sorted(line for path in files(folder) for line in path.read_text(encoding="utf-8").splitlines())


def searched(server: FhirServer, folder: Path, **more: Any) -> Any:
    return exported(server, folder, method="search", types=TYPES, **more)


def test_every_page_is_read(tmp_path: Path) -> None:
    with fhir_server() as server:
        fill(server)
        found = searched(server, tmp_path)
        assert lines(tmp_path) == sorted(server.lines())
        assert server.routes() == ["search"] * 5
        assert found.transaction_time is None
        server.delete("Condition", "x")
        server.put(patient("e"))
        assert searched(server, tmp_path).since is None
        assert lines(tmp_path) == sorted(server.lines())


@pytest.mark.parametrize(
    "fault",
    [Fault(status=429), Fault(status=500), Fault(cut=0.5), Fault(cut=0.0), Fault(status=200, body={"resourceType": "Bundle", "total": 4})],
)
@pytest.mark.parametrize("place", range(3))
def test_a_fault_loses_nothing(tmp_path: Path, fault: Fault, place: int) -> None:
    with fhir_server() as server:
        fill(server)
        server.faults["search"] += [*[Fault()] * place, fault]
        assert searched(server, tmp_path).replaced == 0
        assert lines(tmp_path) == sorted(server.lines())


def test_a_page_that_comes_again_is_asked_for_again(tmp_path: Path) -> None:
    with fhir_server() as server:
        for number in range(7):
            server.put(patient(f"p{number}"))
        server.faults["search"] += [Fault(), Fault(repeat=True), Fault(repeat=True), Fault(), Fault(repeat=True)]
        time = FakeTime()
        assert searched(server, tmp_path, time=time).resources == {"Patient": 7}
        assert len(time.slept) == 3
        server.faults["search"] += [Fault(), *[Fault(repeat=True)] * ATTEMPTS]
        with pytest.raises(FhirServerError, match="a page that was read already came again, 8 times in a row"):
            searched(server, tmp_path)
        assert len(lines(tmp_path)) == 7


@pytest.mark.parametrize(
    ("page", "sentence"),
    [
        ({"link": [{"relation": "next", "url": "Patient?_count=500"}]}, "lead back to one that was read"),
        ({"link": [{"relation": "next", "url": "https://other.example/Patient"}]}, "another server"),
        ({"resourceType": "Patient"}, "is no Bundle"),
        (OUTCOME, "is no Bundle: told to fail"),
        ({"entry": [{"resource": OUTCOME, "search": {"mode": "outcome"}}]}, "is not complete: told to fail"),
    ],
)
def test_a_page_that_cannot_be_used(tmp_path: Path, page: dict[str, Any], sentence: str) -> None:
    with fhir_server() as server:
        fill(server)
        server.faults["search"].append(Fault(status=200, body={"resourceType": "Bundle", **page}))
        with pytest.raises(FhirServerError, match=sentence):
            searched(server, tmp_path)


def test_a_search_that_gives_less_than_its_total_is_not_taken_over(tmp_path: Path) -> None:
    with fhir_server() as server:
        server.put(patient("a"))
        entry = {"resource": patient("a")}
        few = {"resourceType": "Bundle", "total": 2, "entry": [entry]}
        server.faults["search"] += [Fault(status=200, body=few)] * ATTEMPTS
        with pytest.raises(FhirServerError, match="gives 1 of 2 resources"):
            searched(server, tmp_path)


def test_included_resources_are_kept_and_digits_too(tmp_path: Path) -> None:
    measured = json.dumps(observation("o", "a", valueQuantity={"value": "?"})).replace('"?"', "72.50")
    with fhir_server() as server:
        # As text: a test server's own JSON would write the number anew.
        body = f'{{"resourceType":"Bundle","entry":[{{"resource":{measured},"search":{{"mode":"include"}}}}]}}'
        server.raw_search = body.encode()
        assert exported(server, tmp_path, method="search", types=["Patient"]).resources == {"Observation": 1}
    assert '"value":72.50' in lines(tmp_path)[0]


def test_each_filter_is_a_search() -> None:
    asked = DataSection(
        server="https://h/fhir",
        method="search",
        types=("Patient", "Observation"),
        type_filters=("Observation?category=laboratory", "Observation?code=a,b&status=final"),
    )
    assert list(queries(asked)) == [
        "https://h/fhir/Patient?_count=500",
        "https://h/fhir/Observation?category=laboratory&_count=500",
        "https://h/fhir/Observation?code=a%2Cb&status=final&_count=500",
    ]
