"""What a hospital can show of the use of its data, as FHIR R4: AuditEvents by the patterns of IHE BALP, and Provenance of models.

A record names organisations, the task and digests. What a gateway releases is about many patients, so no record names one: the
patterns' patient is left out, and with it the claim to be of the profile.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

Record = dict[str, Any]
Release = Literal["approval", "update", "opened update", "scores", "evaluation"]

_DICOM = "http://dicom.nema.org/resources/ontology/DCM"
_REASON = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
_ENTITY = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_ROLE = "http://terminology.hl7.org/CodeSystem/object-role"
_PARTICIPANT = "http://terminology.hl7.org/CodeSystem/provenance-participant-type"

_RELEASES: Mapping[Release, str] = {
    "approval": "approval with the number of training patients",
    "update": "encrypted update",
    "opened update": "update opened to a judge of a dispute",
    "scores": "noised scores on validation patients",
    "evaluation": "evaluation on held-out patients",
}


@dataclass(frozen=True)
class Use:
    """For what data are used: a task as it stands on the ledger."""

    task_id: str
    purpose: str
    permit: str
    permit_expires: str
    researcher: str
    """MSP id of the organisation that submitted it."""


def read_event(record_id: str, *, at: datetime, hospital: str, use: Use, views_digest: str) -> Record:
    """The gateway read the hospital's resources for a task: BALP's Query."""
    query = base64.b64encode(f"views sha-256 {views_digest}".encode()).decode()
    return {
        **_event(record_id, at, hospital, use, action="E"),
        "type": {"system": "http://terminology.hl7.org/CodeSystem/audit-event-type", "code": "rest", "display": "RESTful Operation"},
        "subtype": [{"system": "http://hl7.org/fhir/restful-interaction", "code": "search", "display": "search"}],
        "agent": [
            _agent("110153", "Source Role ID", hospital, "gateway", requestor=False),
            _agent("110152", "Destination Role ID", hospital, "FHIR resources", requestor=False),
            {"who": _organisation(use.researcher), "requestor": True},
        ],
        "entity": [
            _job(use, {}),
            {"type": _coding(_ENTITY, "2", "System Object"), "role": _coding(_ROLE, "24", "Query"), "query": query},
        ],
    }


def disclosure_event(
    record_id: str, *, at: datetime, hospital: str, use: Use, what: Release, recipient: str, details: Mapping[str, str]
) -> Record:
    """Something computed from patients' data leaves the hospital: BALP's Privacy Disclosure at the source, without a patient."""
    return {
        **_event(record_id, at, hospital, use, action="R"),
        "type": {"system": _DICOM, "code": "110106", "display": "Export"},
        "subtype": [{"system": "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle", "code": "disclose"}],
        "agent": [
            _agent("110153", "Source Role ID", hospital, "gateway", requestor=False),
            _agent("110152", "Destination Role ID", recipient, "", requestor=False),
            {"who": _organisation(use.researcher), "requestor": True},
        ],
        "entity": [
            _job(use, details),
            {"type": _coding(_ENTITY, "2", "System Object"), "role": _coding(_ROLE, "3", "Report"), "name": _RELEASES[what]},
        ],
    }


@dataclass(frozen=True)
class Cohort:
    """What one hospital approved: digests of its SQL and, salted, of its resources."""

    mspid: str
    views_digest: str | None
    cohort_digest: str | None


def model_provenance(
    record_id: str,
    *,
    at: datetime,
    use: Use,
    model_digest: str,
    round_number: int,
    rounds: int,
    contributors: Sequence[str],
    aggregator: str,
    cohorts: Sequence[Cohort],
) -> Record:
    """Where the model that a round gave comes from. Round 0 gives the normalisation of the model's inputs."""
    made = f"{'model' if round_number else 'normalisation'} of round {round_number} of {rounds}, task {use.task_id}"
    sources = [
        _source(_digest(digest), f"{what} of {cohort.mspid}")
        for cohort in cohorts
        for what, digest in (("views", cohort.views_digest), ("cohort", cohort.cohort_digest))
        if digest is not None
    ]
    permit = [_source({"type": {"text": "permit"}, "value": use.permit}, _until(use))] if use.permit else []
    return {
        "resourceType": "Provenance",
        "id": record_id,
        "target": [{"identifier": _digest(model_digest), "display": made}],
        "recorded": at.isoformat(timespec="milliseconds"),
        "reason": [_purpose(use)],
        "activity": {"text": f"federated training, round {round_number} of {rounds}"},
        "agent": [
            *_agents("performer", "Performer", contributors),
            *_agents("assembler", "Assembler", [aggregator]),
            *_agents("author", "Author", [use.researcher]),
        ],
        "entity": [_source(_task(use), "task"), *permit, *sources],
    }


def _event(record_id: str, at: datetime, hospital: str, use: Use, *, action: str) -> Record:
    return {
        "resourceType": "AuditEvent",
        "id": record_id,
        "action": action,
        "recorded": at.isoformat(timespec="milliseconds"),
        "outcome": "0",
        "purposeOfEvent": [_purpose(use)],
        "source": {
            "observer": _organisation(hospital, "gateway"),
            "type": [_coding("http://terminology.hl7.org/CodeSystem/security-source-type", "4", "Application Server")],
        },
    }


def _purpose(use: Use) -> Record:
    return {"coding": [_coding(_REASON, "HRESCH", "healthcare research")], "text": use.purpose}


def _job(use: Use, details: Mapping[str, str]) -> Record:
    told = {"permit": use.permit, "permit expires": use.permit_expires, **details}
    found: Record = {
        "what": {"identifier": _task(use)},
        "type": _coding(_ENTITY, "2", "System Object"),
        "role": _coding(_ROLE, "20", "Job"),
        "name": "task",
    }
    detail = [{"type": name, "valueString": value} for name, value in told.items() if value]
    return found | ({"detail": detail} if detail else {})


def _task(use: Use) -> Record:
    return {"type": {"text": "task"}, "value": use.task_id}


def _until(use: Use) -> str:
    return f"permit, valid until {use.permit_expires}" if use.permit_expires else "permit"


def _digest(digest: str) -> Record:
    """A SHA-256 as a URI of RFC 6920."""
    return {"system": "urn:ietf:rfc:3986", "value": f"nih:sha-256;{digest}"}


def _source(identifier: Record, display: str) -> Record:
    return {"role": "source", "what": {"identifier": identifier, "display": display}}


def _organisation(mspid: str, part: str = "") -> Record:
    return {"identifier": {"type": {"text": "MSP id"}, "value": mspid}, "display": f"{part} of {mspid}" if part else mspid}


def _agent(code: str, display: str, mspid: str, part: str, *, requestor: bool) -> Record:
    return {"type": {"coding": [_coding(_DICOM, code, display)]}, "who": _organisation(mspid, part), "requestor": requestor}


def _agents(code: str, display: str, organisations: Iterable[str]) -> list[Record]:
    return [{"type": {"coding": [_coding(_PARTICIPANT, code, display)]}, "who": _organisation(each)} for each in organisations]


def _coding(system: str, code: str, display: str) -> Record:
    return {"system": system, "code": code, "display": display}
