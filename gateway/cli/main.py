"""The command's entry: finds the verb, runs it, prints what it found, ends with an exit code of the table."""

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from gateway.cli.lazy import LazyGroup
from gateway.cli.output import Result, print_error, print_failure, print_result, wants_json
from gateway.errors import ExitCode, kind_of

VERBS = {
    "demo": "gateway.cli.demo:demo",
    "init": "gateway.cli.init:init",
    "ledger": "gateway.cli.ledger:ledger",
    "network": "gateway.cli.network:network",
    "channel": "gateway.cli.channel:channel",
    "chaincode": "gateway.cli.chaincode:chaincode",
    "gateway": "gateway.cli.gateway:gateway",
    "register": "gateway.cli.register:register",
    "task": "gateway.cli.task:task",
    "dispute": "gateway.cli.dispute:dispute",
    "budget": "gateway.cli.budget:budget",
    "market": "gateway.cli.market:market",
    "audit": "gateway.cli.audit:audit",
    "data": "gateway.cli.data:data",
    "bench": "gateway.cli.bench:bench",
}


@click.group(cls=LazyGroup, verbs=VERBS)
@click.version_option(package_name="consortium-gateway")
def consortium() -> None:
    """Hospitals train diagnostic models together: private, encrypted, and verifiable on a ledger.

    Every verb takes `--format json` for programs; exit codes are in the README.
    """


def main() -> NoReturn:
    """Run the command line of this process."""
    # A process that is told to stop must still end its children and release its files.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output (`| head`) has had enough. Python would complain once more when it closes the stream at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.OK
    sys.exit(code)


def run(arguments: Sequence[str]) -> ExitCode:
    """Run one command line and return its exit code; prints to stdout and stderr."""
    as_json = wants_json(arguments)
    try:
        result: Any = consortium.main(list(arguments), prog_name="consortium", standalone_mode=False)
    except click.UsageError as error:
        return _usage(error, as_json=as_json)
    except (KeyboardInterrupt, click.Abort):
        print_failure("interrupted", ExitCode.INTERRUPTED, "INTERRUPTED", as_json=as_json)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        if kind_of(error).exit_code is ExitCode.UNEXPECTED:
            traceback.print_exc()
        return print_error(error, as_json=as_json)
    if isinstance(result, Result):
        print_result(result, as_json=as_json)
        return ExitCode.OK
    return ExitCode(result) if isinstance(result, int) else ExitCode.OK


def _usage(error: click.UsageError, *, as_json: bool) -> ExitCode:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        print(error.format_message())
    elif as_json:
        print_failure(error.format_message(), ExitCode.USAGE, "USAGE", as_json=True)
    else:
        error.show()
    return ExitCode.USAGE


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt
