"""What a patient decided about research: rules over Consent resources of R4 and R5 and an opt-out list. No I/O, no clock.

Whatever cannot be understood counts against the use of the data. The newest decision wins; of decisions that may be equally new, the one
against the use. The tables of docs/consent.md say the same in words.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

Default = Literal["permit", "deny"]
Reason = Literal["opted-out", "denied", "expired", "withdrawn", "unclear", "no-consent"]
"""Why a patient is left out."""

ID = re.compile(r"[A-Za-z0-9.\-]{1,64}")
"""A FHIR id."""

PURPOSE_SYSTEM = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
_SCOPE_SYSTEM = "http://terminology.hl7.org/CodeSystem/consentscope"
_SCOPES = frozenset({"research", "patient-privacy"})
_OTHER_SCOPES = frozenset({"adr", "treatment"})

_ENDED = frozenset({"inactive", "rejected", "not-done"})
_NO_DECISION = frozenset({"draft", "proposed", "entered-in-error"})
_UNDERSTOOD = frozenset({"id", "extension", "type", "period", "purpose", "provision"})
"""Elements of a provision that are evaluated; any other one narrows it to something that is not looked at here."""

_LAST = datetime.max.replace(tzinfo=UTC)
_FIRST = datetime.min.replace(tzinfo=UTC)
_MOMENT = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")
_DEEPEST = 8


@dataclass(frozen=True)
class Rules:
    """What a hospital's policy says about consent."""

    default: Default
    """For patients who decided nothing."""
    purposes: frozenset[str]
    """Codes of v3-ActReason that cover what tasks do."""


@dataclass(frozen=True)
class Decided:
    """One Consent's word on the use: `reason` is None where it permits it. It was said at a moment between the two."""

    reason: Reason | None
    earliest: datetime
    latest: datetime


def left_out(decisions: Iterable[Decided], *, opted_out: bool, default: Default) -> Reason | None:
    """Why a patient with these decisions is left out; None for one whose data may be used."""
    if opted_out:
        return "opted-out"
    # In doubt a decision against the use is the newer one.
    newest = max(decisions, key=lambda each: (each.earliest, 0) if each.reason is None else (each.latest, 1), default=None)
    if newest is not None:
        return newest.reason
    return None if default == "permit" else "no-consent"


def patient_of(consent: Mapping[str, Any]) -> str | None:
    """Id of the patient whom a Consent is of; None where it names none that can be read."""
    reference = consent.get("patient", consent.get("subject"))
    text = reference.get("reference") if isinstance(reference, dict) else None
    if not isinstance(text, str):
        return None
    kind, _, identifier = text.partition("/_history/")[0].rpartition("/")
    return identifier if kind.rpartition("/")[2] == "Patient" and ID.fullmatch(identifier) else None


def unreadable() -> Decided:
    """What a Consent decides that is no valid resource."""
    return Decided("unclear", _FIRST, _LAST)


def decided(consent: Mapping[str, Any], rules: Rules, *, at: datetime) -> Decided | None:
    """What a structurally valid Consent decides at the moment `at`; None where it says nothing about this use."""
    about = _about_research(consent)
    if about is False or consent.get("status") in _NO_DECISION:
        return None
    root = _as_r4(consent)
    kind, reason = (root.get("type"), _of_root(root, rules, at))
    if reason == "says-nothing":
        return None
    if "modifierExtension" in consent or (about is None and reason is None):
        reason = "unclear"
    status = consent.get("status")
    if status in _ENDED:
        if kind == "deny" and status != "rejected":
            return None
        reason = "withdrawn"
    elif status != "active":
        reason = "unclear"
    earliest, latest = _moment(consent.get("dateTime", consent.get("date")))
    return Decided(reason, earliest, latest)


def _about_research(consent: Mapping[str, Any]) -> bool | None:
    """Whether the Consent is about research or privacy as a whole; None where it does not say. R5 has the scope among the categories."""
    concepts = [consent["scope"]] if "scope" in consent else consent.get("category", [])
    codes = {coding.get("code") for concept in concepts for coding in concept.get("coding", ()) if coding.get("system") == _SCOPE_SYSTEM}
    if codes & _SCOPES:
        return True
    return False if codes and codes <= _OTHER_SCOPES else None


def _as_r4(consent: Mapping[str, Any]) -> dict[str, Any]:
    """The root provision. R5 tells `decision` and `period` at the root, and what follows are exceptions of the opposite kind."""
    if "decision" not in consent:
        provision = consent.get("provision")
        return provision if isinstance(provision, dict) else {}
    root = {"type": consent["decision"], "provision": _exceptions(consent.get("provision", []), consent["decision"])}
    return root | ({"period": consent["period"]} if "period" in consent else {})


def _exceptions(provisions: list[dict[str, Any]], of: str) -> list[dict[str, Any]]:
    opposite = "deny" if of == "permit" else "permit"
    return [each | {"type": opposite, "provision": _exceptions(each.get("provision", []), opposite)} for each in provisions]


def _of_root(root: Mapping[str, Any], rules: Rules, at: datetime) -> Reason | Literal["says-nothing"] | None:
    kind = root.get("type")
    if kind not in ("permit", "deny"):
        return "unclear"
    purpose, period = _covers(root, rules), _in_period(root, at)
    if purpose is False:
        return "says-nothing"
    if period is False:
        return "expired" if kind == "permit" else "says-nothing"
    if purpose is None or period is None or set(root) - _UNDERSTOOD:
        return "unclear" if kind == "permit" else "denied"
    permitted = _with_exceptions(root, rules, at, permitted=kind == "permit", depth=0)
    return None if permitted else "denied"


def _with_exceptions(provision: Mapping[str, Any], rules: Rules, at: datetime, *, permitted: bool, depth: int) -> bool:
    """What is left of a provision's answer: an exception that permits must apply for certain, one that denies may."""
    if depth > _DEEPEST:
        return False
    answers = []
    for each in provision.get("provision", ()):
        applies = [_covers(each, rules), _in_period(each, at), None if set(each) - _UNDERSTOOD else True]
        if False in applies:
            continue
        certain = None not in applies
        if each.get("type") == "permit":
            if certain:
                answers.append(_with_exceptions(each, rules, at, permitted=True, depth=depth + 1))
        elif certain and each.get("type") == "deny":
            answers.append(_with_exceptions(each, rules, at, permitted=False, depth=depth + 1))
        else:
            answers.append(False)
    return all(answers) if answers else permitted


def _covers(provision: Mapping[str, Any], rules: Rules) -> bool | None:
    """Whether a provision is about the hospital's purposes; None where it names some of another system."""
    purposes = provision.get("purpose", ())
    if not purposes or any(each.get("system") == PURPOSE_SYSTEM and each.get("code") in rules.purposes for each in purposes):
        return True
    return False if all(each.get("system") == PURPOSE_SYSTEM and each.get("code") for each in purposes) else None


def _in_period(provision: Mapping[str, Any], at: datetime) -> bool | None:
    """Whether `at` lies in the provision's period, both ends included; None where that cannot be told."""
    period = provision.get("period", {})
    start = _moment(period["start"]) if "start" in period else (_FIRST, _FIRST)
    end = _moment(period["end"]) if "end" in period else (_LAST, _LAST)
    if start == _ANY or end == _ANY:
        return None
    return start[0] <= at <= end[1]


_ANY = (_FIRST, _LAST)


def _moment(text: object) -> tuple[datetime, datetime]:
    """First and last moment that a FHIR dateTime may mean; days are those of UTC. All of time for what is none."""
    if not isinstance(text, str):
        return _ANY
    try:
        if (found := _MOMENT.fullmatch(text)) is None:
            exact = datetime.fromisoformat(text)
            return _ANY if exact.tzinfo is None else (exact, exact)
        year, month, day = int(found[1]), int(found[2] or 1), int(found[3] or 1)
        first = datetime(year, month, day, tzinfo=UTC)
        if found[3]:
            after = first + timedelta(days=1)
        else:
            after = datetime(year + (not found[2] or month == 12), month % 12 + 1 if found[2] else 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        return _ANY
    return first, after - timedelta(microseconds=1)
