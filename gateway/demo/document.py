"""The task document that a demo submits."""

import re
from pathlib import Path

from gateway.errors import InputError
from gateway.task_file import TaskFile, parse

DEFAULT_TASK = Path(__file__).resolve().parents[2] / "deploy" / "samples" / "tasks" / "breast-cancer.toml"
_ROUNDS = re.compile(rb"^(rounds\s*=\s*)\d+", re.MULTILINE)


def read_document(path: Path, *, rounds: int | None) -> tuple[bytes, TaskFile]:
    """The task file's bytes, with another number of rounds where one is given, and what they say.

    Raises InputError or TaskFileError with one sentence.
    """
    try:
        document = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the task file {path}: {error.strerror}") from error
    if rounds is not None:
        document = _with_rounds(document, rounds, path)
    return document, parse(document, source=str(path))


def _with_rounds(document: bytes, rounds: int, path: Path) -> bytes:
    changed, count = _ROUNDS.subn(rb"\g<1>%d" % rounds, document)
    if count != 1:
        raise InputError(f"--rounds needs one line `rounds = …` in {path}, which has {count}; set the rounds there")
    return changed
