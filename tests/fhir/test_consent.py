"""Who is in: the table of docs/consent.md, one row a test, and what must never be read as a permission."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fhir.consent import Decided, Rules, decided, left_out, patient_of
from gateway.fhir.consents import ConsentSource, read_opt_out
from gateway.fhir.errors import ConsentError, ViewError
from gateway.fhir.extract import extract
from gateway.task_file import parse
from tests.support.fhir_folders import TASK, small_hospital, write

AT = datetime(2026, 6, 15, 12, tzinfo=UTC)
RULES = Rules("permit", frozenset({"HRESCH"}))
REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"


def purpose(code: str, system: str = REASON) -> list[dict[str, str]]:
    return [{"system": system, "code": code}]


def scope(code: str, system: str = "http://terminology.hl7.org/CodeSystem/consentscope") -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


def consent(of: str, provision: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    """A Consent of R4."""
    return {
        "resourceType": "Consent",
        "id": f"consent-{of}",
        "status": "active",
        "scope": scope("research"),
        "category": [scope("59284-0", "http://loinc.org")],
        "patient": {"reference": f"Patient/{of}"},
        "dateTime": "2024-01-01",
        **({} if provision is None else {"provision": provision}),
        **more,
    }


def consent_r5(of: str, decision: str, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Consent",
        "id": f"consent-{of}",
        "status": "active",
        "category": [scope("research")],
        "subject": {"reference": f"Patient/{of}"},
        "date": "2024-01-01",
        "decision": decision,
        **more,
    }


PERMIT, DENY = {"type": "permit"}, {"type": "deny"}
PAST, NOW, FUTURE = {"end": "2026-06-14"}, {"start": "2026-06-15", "end": "2026-06-15"}, {"start": "2027"}
NOTHING = "says nothing"

TRUTH = [
    # Kind and scope
    (consent("a", PERMIT), None),
    (consent("a", DENY), "denied"),
    (consent("a", PERMIT, scope=scope("patient-privacy")), None),
    (consent("a", PERMIT, scope=scope("treatment")), NOTHING),
    (consent("a", DENY, scope=scope("treatment")), NOTHING),
    (consent("a", PERMIT, scope=scope("research", "urn:own")), "unclear"),
    (consent("a", DENY, scope=scope("research", "urn:own")), "denied"),
    (consent("a", None), "unclear"),
    (consent("a", {}), "unclear"),
    (consent("a", PERMIT, modifierExtension=[{"url": "urn:x", "valueBoolean": True}]), "unclear"),
    # Status
    (consent("a", PERMIT, status="draft"), NOTHING),
    (consent("a", DENY, status="proposed"), NOTHING),
    (consent("a", PERMIT, status="inactive"), "withdrawn"),
    (consent("a", DENY, status="inactive"), NOTHING),
    (consent("a", PERMIT, status="rejected"), "withdrawn"),
    (consent("a", DENY, status="rejected"), "withdrawn"),
    (consent("a", PERMIT, status="unheard-of"), "unclear"),
    # Period, both ends included, days of UTC
    (consent("a", PERMIT | {"period": NOW}), None),
    (consent("a", PERMIT | {"period": {"end": "2026"}}), None),
    (consent("a", PERMIT | {"period": {"end": "2026-06"}}), None),
    (consent("a", PERMIT | {"period": {"end": "2026-06-15T11:59:59+00:00"}}), "expired"),
    (consent("a", PERMIT | {"period": {"end": "2026-06-15T12:00:00Z"}}), None),
    (consent("a", PERMIT | {"period": PAST}), "expired"),
    (consent("a", PERMIT | {"period": FUTURE}), "expired"),
    (consent("a", DENY | {"period": PAST}), NOTHING),
    (consent("a", DENY | {"period": FUTURE}), NOTHING),
    (consent("a", PERMIT | {"period": {"end": "whenever"}}), "unclear"),
    (consent("a", DENY | {"period": {"end": "whenever"}}), "denied"),
    (consent("a", PERMIT | {"period": {"end": "2026-13"}}), "unclear"),
    # Purpose
    (consent("a", PERMIT | {"purpose": purpose("HRESCH")}), None),
    (consent("a", PERMIT | {"purpose": purpose("TREAT") + purpose("HRESCH")}), None),
    (consent("a", PERMIT | {"purpose": purpose("TREAT")}), NOTHING),
    (consent("a", DENY | {"purpose": purpose("HMARKT")}), NOTHING),
    (consent("a", DENY | {"purpose": purpose("HRESCH")}), "denied"),
    (consent("a", PERMIT | {"purpose": purpose("HRESCH", "urn:own")}), "unclear"),
    (consent("a", DENY | {"purpose": purpose("x", "urn:own")}), "denied"),
    # What narrows a provision is not looked at
    (consent("a", PERMIT | {"dataPeriod": {"start": "2020"}}), "unclear"),
    (consent("a", DENY | {"action": [{"text": "copy"}]}), "denied"),
    # Exceptions
    (consent("a", PERMIT | {"provision": [DENY]}), "denied"),
    (consent("a", PERMIT | {"provision": [DENY | {"purpose": purpose("TREAT")}]}), None),
    (consent("a", PERMIT | {"provision": [DENY | {"code": [{"text": "genes"}]}]}), "denied"),
    (consent("a", PERMIT | {"provision": [DENY | {"period": PAST}]}), None),
    (consent("a", PERMIT | {"provision": [{}]}), "denied"),
    (consent("a", DENY | {"provision": [PERMIT]}), None),
    (consent("a", DENY | {"provision": [PERMIT | {"purpose": purpose("HRESCH")}]}), None),
    (consent("a", DENY | {"provision": [PERMIT | {"purpose": purpose("TREAT")}]}), "denied"),
    (consent("a", DENY | {"provision": [PERMIT | {"code": [{"text": "all but genes"}]}]}), "denied"),
    (consent("a", DENY | {"provision": [PERMIT, DENY]}), "denied"),
    (consent("a", DENY | {"provision": [PERMIT | {"provision": [DENY | {"purpose": purpose("HRESCH")}]}]}), "denied"),
    # R5
    (consent_r5("a", "permit"), None),
    (consent_r5("a", "deny"), "denied"),
    (consent_r5("a", "permit", category=[{"text": "form 7"}]), "unclear"),
    (consent_r5("a", "permit", category=[scope("treatment")]), NOTHING),
    (consent_r5("a", "permit", period=PAST), "expired"),
    (consent_r5("a", "permit", provision=[{"purpose": purpose("HRESCH")}]), "denied"),
    (consent_r5("a", "deny", provision=[{"purpose": purpose("HRESCH")}]), None),
    (consent_r5("a", "deny", provision=[{"purpose": purpose("HRESCH"), "provision": [{"period": NOW}]}]), "denied"),
    (consent_r5("a", "permit", status="not-done"), "withdrawn"),
    (consent_r5("a", "permit", status="unknown"), "unclear"),
]


@pytest.mark.parametrize(("content", "expected"), TRUTH, ids=lambda value: str(value)[-60:])
def test_the_truth_table(content: dict[str, Any], expected: str | None) -> None:
    found = decided(content, RULES, at=AT)
    assert (NOTHING if found is None else found.reason) == expected


def _says(reason: Any, day: int, *, days: int = 0) -> Decided:
    first = datetime(2024, 1, day, tzinfo=UTC)
    return Decided(reason, first, first + timedelta(days=days))


@pytest.mark.parametrize(
    ("decisions", "opted_out", "default", "expected"),
    [
        ([], False, "permit", None),
        ([], False, "deny", "no-consent"),
        ([], True, "permit", "opted-out"),
        ([_says(None, 1)], True, "deny", "opted-out"),
        ([_says(None, 1)], False, "deny", None),
        ([_says("denied", 1)], False, "permit", "denied"),
        ([_says("denied", 1), _says(None, 2)], False, "deny", None),
        ([_says(None, 1), _says("withdrawn", 2)], False, "permit", "withdrawn"),
        ([_says(None, 1), _says("denied", 1)], False, "permit", "denied"),
        ([_says("denied", 1, days=5), _says(None, 3)], False, "permit", "denied"),
    ],
)
def test_the_newest_decision_wins_and_a_doubt_is_a_denial(
    decisions: list[Decided], opted_out: bool, default: Any, expected: str | None
) -> None:
    assert left_out(decisions, opted_out=opted_out, default=default) == expected
    assert left_out(decisions[::-1], opted_out=opted_out, default=default) == expected


@given(st.lists(st.sampled_from(TRUTH), max_size=4), st.sampled_from(TRUTH))
def test_a_denial_without_a_date_is_never_outvoted(others: list[Any], denial: Any) -> None:
    against = decided(consent("a", DENY), RULES, at=AT)
    assert against is not None
    undated = decided({key: value for key, value in consent("a", DENY).items() if key != "dateTime"}, RULES, at=AT)
    assert undated is not None
    assert undated.latest > against.latest
    said = [found for content, _ in [*others, denial] if (found := decided(content, RULES, at=AT)) is not None]
    assert left_out([*said, undated], opted_out=False, default="permit") is not None


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("Patient/a", "a"),
        ("https://fhir.example/r4/Patient/a/_history/3", "a"),
        ("Group/a", None),
        ("urn:uuid:7", None),
        ("Patient/", None),
    ],
)
def test_whose_a_consent_is(reference: str, expected: str | None) -> None:
    assert patient_of({"patient": {"reference": reference}}) == expected
    assert patient_of({"subject": {"reference": reference}}) == expected


def source(folder: Path, default: Any = "permit", opt_out: Path | None = None) -> ConsentSource:
    return ConsentSource(folder, opt_out, Rules(default, RULES.purposes))


def test_a_folder_of_consents_and_an_opt_out_list(tmp_path: Path) -> None:
    rows = [consent("a", PERMIT), consent("b", DENY), consent_r5("c", "permit") | {"id": "r5"}, consent("d", PERMIT | {"type": 7})]
    folder = write(tmp_path / "data", [*small_hospital(), *rows])
    (tmp_path / "out.txt").write_text("a\nelsewhere\n", encoding="utf-8")
    found = source(folder, "deny", tmp_path / "out.txt").read(AT)
    assert {key: found.left_out(key) for key in "abcde"} == {
        "a": "opted-out",
        "b": "denied",
        "c": None,
        "d": "unclear",
        "e": "no-consent",
    }


@pytest.mark.parametrize(
    "line",
    [
        '{"resourceType":"Consent","id":"x","status":"active"',
        json.dumps(consent("a", PERMIT) | {"patient": {"display": "Ada"}}),
        json.dumps(consent("a", PERMIT | {"type": 7}) | {"patient": {"reference": "urn:uuid:7"}}),
    ],
)
def test_a_consent_that_is_nobody_s_stops_everything(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConsentError, match=r"the Consent on line 10 of all\.ndjson .* nobody can tell whom it excludes"):
        source(write(tmp_path, [*small_hospital(), line])).read(AT)


def test_what_is_no_consent_stops_nothing(tmp_path: Path) -> None:
    rows: list[Any] = [
        '{"resourceType":"Device","note":"Consent',
        consent("a", DENY, status="entered-in-error", patient={"display": "Ada"}),
    ]
    assert source(write(tmp_path, [*small_hospital(), *rows])).read(AT).answers == {}


@pytest.mark.parametrize("text", ["a\n\nb\n", "a \n", "Patient/a\n", "# nobody\n", "a;b\n", "\ufeffa\n", "x" * 65])
def test_an_opt_out_list_is_read_to_the_letter(tmp_path: Path, text: str) -> None:
    path = tmp_path / "out.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConsentError, match=r"line \d of the opt-out list .* is no FHIR id"):
        read_opt_out(path)


def test_an_opt_out_list_that_is_not_there_stops_everything(tmp_path: Path) -> None:
    with pytest.raises(ConsentError, match="without it no patient's data are used"):
        source(write(tmp_path / "data", small_hospital()), "permit", tmp_path / "none.txt").read(AT)


def test_a_change_of_list_folder_or_day_is_seen(tmp_path: Path) -> None:
    folder, out = write(tmp_path / "data", small_hospital()), tmp_path / "out.txt"
    out.write_text("a\n", encoding="utf-8")
    consents = source(folder, "permit", out)
    states = [consents.state(AT), consents.state(AT + timedelta(hours=1))]
    assert states[0] == states[1]
    states.append(consents.state(AT + timedelta(days=1)))
    out.write_text("a\nb\n", encoding="utf-8")
    states.append(consents.state(AT))
    write(folder, [consent("a", DENY)], "Consent.ndjson")
    states.append(consents.state(AT))
    out.unlink()
    states.append(consents.state(AT))
    assert len(set(states)) == 5


def test_who_is_left_out_is_in_nothing_but_a_count(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", [*small_hospital(), consent("b", DENY)])
    task = parse(TASK.encode())
    everybody = extract(task, folder, quarantine=None)
    found = extract(task, folder, quarantine=None, left_out=source(folder).read(AT).left_out)
    assert found.patient_keys == ("a", "c", "d")
    kept = [place for place, key in enumerate(everybody.patient_keys) if key != "b"]
    assert (found.features == everybody.features[kept]).all()
    assert (found.report.left_out, found.report.cohort, found.report.patients) == ({"denied": 1}, 3, 3)
    assert found.report.content == everybody.report.content, "the digest is of the resources, which are as they were"
    assert everybody.report.left_out == {}


def test_a_cohort_that_consents_do_not_know_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", small_hospital())
    task = parse(
        TASK.replace('{ name = "patient", path = "getResourceKey()" }', '{ name = "patient", path = "name.family.first()" }').encode()
    )
    extract(parse(TASK.encode()), folder, quarantine=None, left_out=lambda _: None)
    with pytest.raises(ViewError, match="this hospital asks for consent, so the cohort's column patient must be"):
        extract(task, folder, quarantine=None, left_out=lambda _: None)
