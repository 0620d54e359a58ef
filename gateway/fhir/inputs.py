"""The inputs that a task's sections become, in the order of the matrix's columns: first a sequence or signal, then the features."""

from gateway.fhir import features, sequences, signals
from gateway.task_file import TaskFile


def input_names(task: TaskFile) -> tuple[str, ...]:
    """Known without any data, and the same in every hospital."""
    block: tuple[str, ...] = ()
    if task.sequence is not None:
        block = sequences.names(task.sequence)
    if task.signal is not None:
        block = signals.names(task.signal)
    return block + tuple(name for feature in task.features for name in features.names(feature))
