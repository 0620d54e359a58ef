"""The hospital's own codes become a task's, where the hospital says that they mean the same; everything else is counted."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.fhir.concept_maps import Translator, UnmappedCode, load_concept_maps
from gateway.fhir.errors import DataError
from gateway.fhir.extract import extract
from gateway.task_file import parse
from tests.support.fhir_folders import LAB, TASK, condition, observation, patient, write

LOINC = "http://loinc.org"


def concept_map(*elements: tuple[str, str, str], **more: Any) -> dict[str, Any]:
    """A map of local codes: source, target, equivalence."""
    listed = [{"code": code, "target": [{"code": target, "equivalence": kind, **more}]} for code, target, kind in elements]
    return {"resourceType": "ConceptMap", "status": "active", "group": [{"source": LAB, "target": LOINC, "element": listed}]}


def folder(path: Path, *documents: Any) -> Path:
    path.mkdir(exist_ok=True)
    for number, document in enumerate(documents):
        (path / f"map{number}.json").write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return path


def translated(path: Path, text: str, *documents: Any) -> tuple[str, Translator]:
    translator = Translator(load_concept_maps(folder(path, *documents)))
    return translator.translated(text), translator


def test_a_translated_code_stands_beside_the_hospital_s_own(tmp_path: Path) -> None:
    text = json.dumps(observation("o", "a", component=[{"code": {"coding": [{"system": LAB, "code": "other"}]}}]))
    found, translator = translated(tmp_path, text, concept_map(("glucose", "2345-7", "equivalent"), ("other", "718-7", "equal")))
    resource = json.loads(found)
    assert resource["code"]["coding"] == [{"system": LAB, "code": "glucose"}, {"system": LOINC, "code": "2345-7"}]
    assert resource["component"][0]["code"]["coding"][1] == {"system": LOINC, "code": "718-7"}
    assert (translator.counts().mapped, translator.counts().unmapped) == (2, ())


def test_everything_else_stays_as_it_was_written(tmp_path: Path) -> None:
    text = (
        '{"resourceType":"Observation","code":{"coding":[{"system":"urn:test:lab","code":"glucose"}]},"value":[7.10,1E2,3,-0.0,"7.10","é"]}'
    )
    found, _ = translated(tmp_path, text, concept_map(("glucose", "2345-7", "equal")))
    added = ',{"system":"http://loinc.org","code":"2345-7"}]}'
    assert found == text.replace("é", "\\u00e9").replace("}]}", "}" + added, 1)
    untouched = text.replace("glucose", "unknown")
    assert translated(tmp_path, untouched, concept_map(("glucose", "2345-7", "equal")))[0] == untouched


def test_a_code_that_is_there_already_is_not_added_twice(tmp_path: Path) -> None:
    coding = [{"system": LAB, "code": "glucose"}, {"system": LOINC, "code": "2345-7"}]
    text = json.dumps({"code": {"coding": coding}})
    maps = concept_map(("glucose", "2345-7", "equal")), concept_map(("glucose", "2345-7", "equivalent"))
    assert translated(tmp_path, text, *maps)[0] == text


@pytest.mark.parametrize("kind", ["wider", "narrower", "inexact", "relatedto", "unmatched", "disjoint", "subsumes", "specializes"])
def test_a_target_that_means_something_else_is_not_taken(tmp_path: Path, kind: str) -> None:
    text = json.dumps(observation("o", "a"))
    found, translator = translated(tmp_path, text, concept_map(("glucose", "2345-7", kind)))
    assert found == text
    assert translator.counts().unmapped == (UnmappedCode(LAB, "glucose", f"its target is {kind}, not the same", 1),)


def test_a_target_with_conditions_is_not_taken(tmp_path: Path) -> None:
    document = concept_map(("glucose", "2345-7", "equal"), dependsOn=[{"property": "urn:specimen", "value": "blood"}])
    _, translator = translated(tmp_path, json.dumps(observation("o", "a")), document)
    assert [code.reason for code in translator.counts().unmapped] == ["its target depends on other elements"]


def test_a_task_s_view_finds_translated_codes_and_the_report_the_others(tmp_path: Path) -> None:
    task = parse(
        TASK.replace('"code.coding.code.first()"', f"\"code.coding.where(system = '{LOINC}').code.first()\"")
        .replace('where = { code = "glucose" }', 'where = { code = "2345-7" }')
        .encode()
    )
    odd = {"coding": [{"system": LAB, "code": "odd"}]}
    resources = [
        *(patient(key) for key in "ab"),
        condition("x", "a"),
        observation("o1", "a", valueQuantity={"value": 10}),
        observation("o2", "b", valueQuantity={"value": 10}, code=odd),
        observation("o3", "b", valueQuantity={"value": 10}, code=odd),
    ]
    source = write(tmp_path / "data", resources)
    maps = load_concept_maps(folder(tmp_path / "maps", concept_map(("glucose", "2345-7", "equivalent"))))
    found = extract(task, source, quarantine=None, maps=maps)
    assert found.features.tolist() == [[1, 0], [0, 1]]
    assert found.report.codes.mapped == 1
    assert found.report.codes.unmapped == (UnmappedCode(LAB, "odd", "no map has this code", 2),)
    assert "2 codings of the hospital's own systems, 1 different ones, have no mapping" in found.report.warnings()
    # What translated is part of what was read.
    plain = extract(task, source, quarantine=None)
    other = load_concept_maps(folder(tmp_path / "others", concept_map(("glucose", "2345-7", "equal"))))
    contents = {plain.report.content, found.report.content, extract(task, source, quarantine=None, maps=other).report.content}
    assert len(contents) == 3


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ("{", "map0.json is no ConceptMap of FHIR R4"),
        ("[1]", "is no ConceptMap of FHIR R4"),
        ("[" * 100_000, "is no ConceptMap of FHIR R4"),
        ({"resourceType": "Patient"}, "is no ConceptMap but Patient; the folder holds ConceptMaps only"),
        ({"resourceType": "ConceptMap", "group": [{"element": []}, {"element": [{"code": "x"}]}]}, "each group needs source"),
        ({"resourceType": "ConceptMap", "group": [{"source": 3, "target": "t", "element": [{"code": "x"}]}]}, "is no text"),
    ],
)
def test_what_is_no_map_gets_one_sentence(tmp_path: Path, document: Any, sentence: str) -> None:
    with pytest.raises(DataError) as error:
        load_concept_maps(folder(tmp_path / "maps", document))
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_without_maps_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no \*\.json file"):
        load_concept_maps(tmp_path)
    with pytest.raises(DataError, match="cannot read the folder of concept maps"):
        load_concept_maps(tmp_path / "none")
