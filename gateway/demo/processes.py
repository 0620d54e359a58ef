"""The demo's processes: the ledger and the gateways that stay up, and verbs that run and end."""

import asyncio
import json
import os
import shlex
import signal
import sys
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.errors import ExitCode, ProductError, Unavailable

READY_SECONDS = 120.0
STOP_SECONDS = 15.0
Answer = TypeVar("Answer")


class VerbFailed(ProductError):  # noqa: N818 (the name already says what happened)
    """A verb ended with an error; it keeps the verb's own exit code and error code."""

    def __init__(self, message: str, exit_code: ExitCode, error_code: str) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.error_code = error_code


class Mortal(Protocol):
    """Something that everything else needs, and that may end."""

    @property
    def ended(self) -> "asyncio.Task[Any]": ...

    def obituary(self) -> str: ...


@dataclass(frozen=True)
class Child:
    """A process that stays up; `what` names it in sentences."""

    what: str
    log: Path
    process: asyncio.subprocess.Process
    ended: asyncio.Task[int]

    def obituary(self) -> str:
        """How it ended, in one sentence with the last thing it said."""
        return f"{self.what} ended with exit code {self.process.returncode}{_last_words(self.log)}; its log is {self.log}"


class Processes:
    """Starts and ends processes. Use as an async context manager: whatever happens inside, they are ended."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._children: list[Child] = []
        self._guardian: asyncio.subprocess.Process

    async def __aenter__(self) -> Self:
        self._logs.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "gateway.demo.guardian"]
        self._guardian = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE, start_new_session=True)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # The ledger was started first and is ended last: the gateways speak to it to their end.
        for children in (self._children[1:], self._children[:1]):
            await asyncio.gather(*(_stop(child) for child in children))
        self._guardian.stdin.close()  # type: ignore[union-attr]  # it was started with a pipe
        await self._guardian.wait()

    async def start(self, name: str, what: str, *arguments: str | Path) -> Child:
        """Start `consortium ARGUMENTS` to stay up, its output going to logs/NAME.log."""
        log = self._logs / f"{name}.log"
        self._note(arguments)
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *_command(arguments), stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        self.adopt(process.pid)
        child = Child(what, log, process, asyncio.create_task(process.wait()))
        self._children.append(child)
        return child

    def adopt(self, group: int) -> None:
        """Have a process group ended with the demo, however it ends."""
        self._guardian.stdin.write(f"{group}\n".encode())  # type: ignore[union-attr]  # it was started with a pipe

    async def verb(self, *arguments: str | Path) -> Any:
        """Run `consortium ARGUMENTS` to its end and return its data; raise VerbFailed with its sentence."""
        self._note(arguments)
        return await run_verb(*arguments)

    def _note(self, arguments: Sequence[str | Path]) -> None:
        with (self._logs / "commands.log").open("a", encoding="utf-8") as log:
            log.write(f"consortium {shlex.join(str(argument) for argument in arguments)}\n")


async def run_verb(*arguments: str | Path) -> Any:
    """Run `consortium ARGUMENTS` to its end and return its data; raise VerbFailed with its sentence."""
    process = await asyncio.create_subprocess_exec(
        *_command([*arguments, "--format", "json"]),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await process.communicate()
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        raise
    return _data_of(output, errors, " ".join(takewhile(lambda word: not word.startswith("-"), map(str, arguments))))


async def unless_ended(work: Awaitable[Answer], child: Mortal) -> Answer:
    """The result of `work`; raise Unavailable as soon as `child` ends before it."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task, child.ended}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Unavailable(child.obituary())
        return task.result()
    finally:
        task.cancel()


async def until_serving(child: Child, channel: grpc.aio.Channel) -> None:
    """Wait until the gRPC health service behind `channel` says SERVING; closes the channel."""
    async with channel:
        await unless_ended(_serving(child, channel), child)


async def _serving(child: Child, channel: grpc.aio.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=READY_SECONDS)  # type: ignore[attr-defined]  # its types lack it
    try:
        async for answer in watch:
            if answer.status == health_pb2.HealthCheckResponse.SERVING:
                return
    except grpc.aio.AioRpcError as error:
        raise Unavailable(f"{child.what} does not answer: {error.details()}; its log is {child.log}") from error


async def _stop(child: Child) -> None:
    if child.process.returncode is None:
        os.killpg(child.process.pid, signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(child.ended), STOP_SECONDS)
    if child.process.returncode is None:
        os.killpg(child.process.pid, signal.SIGKILL)
    await child.ended


def _command(arguments: Sequence[str | Path]) -> list[str]:
    # A crash inside a native library leaves its stack in the log.
    return [sys.executable, "-X", "faulthandler", "-m", "gateway.cli", *(str(argument) for argument in arguments)]


def _data_of(output: bytes, errors: bytes, verb: str) -> Any:
    try:
        answer = json.loads(output.splitlines()[-1])
    except (ValueError, IndexError) as error:
        said = errors.decode(errors="replace").strip().splitlines()
        raise Unavailable(f"consortium {verb} ended without an answer{': ' + said[-1] if said else ''}") from error
    if answer["status"] != "ok":
        raise VerbFailed(f"consortium {verb}: {answer['message']}", ExitCode(answer["exit_code"]), answer["error_code"])
    return answer["data"]


def _last_words(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return f" ({lines[-1].removeprefix('consortium: ')})" if lines else ""
