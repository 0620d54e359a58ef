"""What can be wrong with a view or a hospital's data: each error is one sentence."""

from gateway.errors import InputError


class ViewError(InputError):
    """A ViewDefinition that this product does not evaluate: the sentence names the view, the path and the reason."""

    error_code = "BAD_VIEW"


class DataError(InputError):
    """A hospital's folder of FHIR files that a task cannot be trained on."""

    error_code = "BAD_DATA"
