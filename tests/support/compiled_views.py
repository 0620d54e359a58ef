"""The rows that the product's compiler gives for a view over parsed resources."""

import json
from collections.abc import Sequence
from typing import Any

from gateway.fhir.database import Database
from gateway.fhir.views import Views


def compiled_rows(views: Views, resources: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the only view of `views`, which is named "tested"; columns stand in the view's order."""
    (compiled,) = views.views
    database = Database(views)
    wanted = [json.dumps(resource) for resource in resources if resource["resourceType"] == compiled.resource]
    if wanted:
        database.insert(compiled.resource, wanted)
    names = [column.name for column in compiled.columns]
    return [dict(zip(names, row, strict=True)) for row in database.rows("SELECT * FROM rows.tested", [])]
