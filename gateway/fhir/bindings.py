"""Codes that FHIR binds as required, where the generated models do not know all of them (http://hl7.org/fhir/R4/terminologies.html)."""

from typing import Any

from gateway.fhir.elements import FhirVersion

ENTERED_IN_ERROR = "entered-in-error"
"""What a resource says of itself that the hospital recorded by mistake."""

_OBSERVATION = ("registered", "preliminary", "final", "amended", "corrected", "cancelled", "entered-in-error", "unknown")

_R4_STATUS = {
    "DiagnosticReport": (*_OBSERVATION[:2], "partial", *_OBSERVATION[2:5], "appended", *_OBSERVATION[5:]),
    "Encounter": ("planned", "arrived", "triaged", "in-progress", "onleave", "finished", "cancelled", "entered-in-error", "unknown"),
    "Immunization": ("completed", "entered-in-error", "not-done"),
    "MedicationAdministration": ("in-progress", "not-done", "on-hold", "completed", "entered-in-error", "stopped", "unknown"),
    "MedicationRequest": ("active", "on-hold", "cancelled", "completed", "entered-in-error", "stopped", "draft", "unknown"),
    "MedicationStatement": ("active", "completed", "entered-in-error", "intended", "stopped", "on-hold", "unknown", "not-taken"),
    "Observation": _OBSERVATION,
    "Procedure": ("preparation", "in-progress", "not-done", "on-hold", "stopped", "completed", "entered-in-error", "unknown"),
}

STATUS: dict[FhirVersion, dict[str, tuple[str, ...]]] = {"R4": _R4_STATUS, "R5": {"Observation": _OBSERVATION}}
"""Resource type → codes of `status`."""

_CONDITION = "http://terminology.hl7.org/CodeSystem/condition-"
_CONCEPTS = {
    ("Condition", "clinicalStatus"): (
        f"{_CONDITION}clinical",
        ("active", "recurrence", "relapse", "inactive", "remission", "resolved"),
    ),
    ("Condition", "verificationStatus"): (
        f"{_CONDITION}ver-status",
        ("unconfirmed", "provisional", "differential", "confirmed", "refuted", "entered-in-error"),
    ),
}
"""Required bindings of concepts: code system and its codes."""


def has_concepts(resource_type: str) -> bool:
    """Whether `foreign_concept` looks at resources of this type."""
    return any(owner == resource_type for owner, _ in _CONCEPTS)


def foreign_concept(resource_type: str, resource: dict[str, Any]) -> str | None:
    """The first element of a valid resource whose required concept is none of its codes, or None."""
    for (owner, name), (system, codes) in _CONCEPTS.items():
        if owner == resource_type and any(code not in codes for code in _codes(resource, name, system)):
            return name
    return None


def entered_in_error(resource: dict[str, Any]) -> bool:
    """Whether the hospital itself marked a valid resource as wrong."""
    return resource.get("status") == ENTERED_IN_ERROR or ENTERED_IN_ERROR in _codes(
        resource, "verificationStatus", f"{_CONDITION}ver-status"
    )


def _codes(resource: dict[str, Any], name: str, system: str) -> list[Any]:
    return [coding.get("code") for coding in resource.get(name, {}).get("coding", ()) if coding.get("system") == system]
