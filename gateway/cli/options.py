"""Options that many verbs share, so that they are named and explained alike."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_FORMAT = "gateway.cli.format"
Function = TypeVar("Function", bound=Callable[..., Any])


class PathType(click.Path):
    """A path as pathlib.Path; what it must be is checked where it is used, with a sentence of our own."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)


def format_option(function: Function) -> Function:
    """`--format`. No verb takes it as an argument: the entry prints results and errors, and `speaks_json` tells who prints progress."""
    return _format(["text", "json"], function)


def format_or_csv_option(function: Function) -> Function:
    """`--format` of a verb whose result may also go into a spreadsheet; see `speaks_csv`."""
    return _format(["text", "json", "csv"], function)


def _format(forms: list[str], function: Function) -> Function:
    choice = click.Choice(forms)
    return click.option("--format", type=choice, default="text", expose_value=False, callback=_remember, help="Output form.")(function)


def _remember(context: click.Context, _: click.Parameter, value: str) -> None:
    context.meta[_FORMAT] = value


def speaks_json() -> bool:
    """Whether standard output belongs to a program in the verb that runs now."""
    return bool(click.get_current_context().meta[_FORMAT] == "json")


def speaks_csv() -> bool:
    """Whether the verb that runs now is to print a table for a spreadsheet."""
    return bool(click.get_current_context().meta[_FORMAT] == "csv")


def config_option(function: Function) -> Function:
    return click.option("--config", type=PathType(), required=True, metavar="FILE", help="Which ledger, and who is asking.")(function)


def task_id_option(function: Function) -> Function:
    return click.option("--task", "task_id", required=True, metavar="ID", help="The task's id on the ledger.")(function)
