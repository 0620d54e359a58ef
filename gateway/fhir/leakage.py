"""With an index, a feature may only use what was known before it. Rows are compared with the index by their time in SQL; what is
checked here, without data, is that there is a time to compare."""

import json

from gateway.fhir.elements import FhirVersion
from gateway.fhir.errors import ViewError
from gateway.fhir.views import compile_views
from gateway.task_file import FeatureSection, TaskFile

LIFELONG = frozenset({"id", "birthDate", "gender"})
"""Elements of a Patient that were known all along. Everything else of it may be from after the index: a death, an address, and
extensions such as the years of life lost that Synthea writes."""


def check_leakage(task: TaskFile, version: FhirVersion = "R4") -> None:
    """Raise ViewError if the task has an index, and a feature could use what was not known at it."""
    if task.index is None:
        return
    for feature in task.features:
        if task.view(feature.view).resource == "Patient":
            _check_lifelong(task, feature, version)
        elif feature.moment is None:
            raise ViewError(
                f"feature {feature.name}: the task has an index, so the feature needs time, the column of the view {feature.view} that says"
                " when a row happened: only what happened before the index was known at it"
            )


def _check_lifelong(task: TaskFile, feature: FeatureSection, version: FhirVersion) -> None:
    """Nothing in a Patient says since when it is so, so that only what never changes can be used."""
    views = compile_views([task.view(feature.view)], version)
    changing = sorted(json.loads(views.structures["Patient"]).keys() - LIFELONG)
    if changing:
        raise ViewError(
            f"feature {feature.name}: its view {feature.view} reads {', '.join(changing)} of Patient, which may be from after the index;"
            f" give the feature a view that reads {', '.join(sorted(LIFELONG - {'id'}))} only"
        )
