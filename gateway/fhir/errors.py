"""What can be wrong with a view or a hospital's data: each error is one sentence."""

from gateway.errors import InputError, Unavailable


class ViewError(InputError):
    """A ViewDefinition that this product does not evaluate: the sentence names the view, the path and the reason."""

    error_code = "BAD_VIEW"


class DataError(InputError):
    """A hospital's folder of FHIR files that a task cannot be trained on."""

    error_code = "BAD_DATA"


class CutFileError(DataError):
    """A file that cannot be read to its end: nobody knows what it held."""


class ConsentError(InputError):
    """Consents that cannot be read: nobody's data are used until they can, and no task is rejected for it."""

    error_code = "BAD_CONSENT"


class FhirServerError(Unavailable):
    """A FHIR server does not answer, refuses, or answers what FHIR does not allow: the sentence says which."""

    error_code = "FHIR_SERVER"
