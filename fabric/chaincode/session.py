"""One peer's stream: it asks for calls of the contract, the running contracts ask it for state, all interleaved."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from concurrent.futures import Future
from typing import Any

from fabric.chaincode import messages
from fabric.chaincode.errors import PeerError
from fabric.chaincode.execution import Contract, execute
from fabric.chaincode.messages import Message
from fabric.chaincode.metrics import Metrics
from fabric.chaincode.workers import Workers

_log = logging.getLogger(__name__)


class Session:
    """Lives from the peer's connecting to its leaving; everything but `_ask` runs on the event loop."""

    def __init__(self, contract: Contract, package_id: str, workers: Workers, metrics: Metrics, *, largest_message: int) -> None:
        self._contract = contract
        self._package_id = package_id
        self._workers = workers
        self._metrics = metrics
        self._largest_message = largest_message
        self._loop = asyncio.get_running_loop()
        self._outgoing: asyncio.Queue[Any | None] = asyncio.Queue()
        self._questions: dict[tuple[str, str], Future[Any]] = {}  # by channel and transaction: one open question each
        self._calls: set[asyncio.Task[None]] = set()
        self._ended = False

    async def converse(self, incoming: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
        """The messages to the peer, in the order they are due: the stream has this one writer.

        Ends when the peer does, and when that happens fails every question that is still open.
        """
        reader = asyncio.create_task(self._read(incoming))
        try:
            yield messages.register(self._package_id)
            while (message := await self._outgoing.get()) is not None:
                yield message
            if reader.done():  # or else `finish` ends the conversation, and the peer is still there
                reader.result()
        finally:
            reader.cancel()
            self._end()

    async def finish(self) -> None:
        """Once the calls that run are answered, end the conversation; no more are let in by then (Workers.refuse_more)."""
        while self._calls:
            await asyncio.wait(self._calls)
        self._outgoing.put_nowait(None)

    async def _read(self, incoming: AsyncIterator[Any]) -> None:
        try:
            async for message in incoming:
                self._take(message)
        finally:
            self._outgoing.put_nowait(None)

    def _take(self, message: Any) -> None:
        if message.type in (Message.RESPONSE, Message.ERROR):
            question = self._questions.pop((message.channel_id, message.txid), None)
            if question is not None:
                question.set_result(message)
        elif message.type == Message.TRANSACTION:
            self._start(message)
        elif message.type == Message.INIT:
            self._outgoing.put_nowait(messages.failed(message, "this contract has no init function: define it without --init-required"))
        elif message.type == Message.READY:
            _log.info("a peer is connected for %s", self._package_id)
        elif message.type not in (Message.REGISTERED, Message.KEEPALIVE):
            _log.warning("a peer sent %s, which this service does not know", message.type)

    def _start(self, request: Any) -> None:
        if not self._workers.admit():
            self._metrics.turned_away()
            self._outgoing.put_nowait(messages.failed(request, "the chaincode service is busy or stopping"))
            return
        call = asyncio.create_task(self._call(request))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    async def _call(self, request: Any) -> None:
        started = time.monotonic()
        try:
            with self._metrics.in_flight.track_inprogress():
                answer = await self._workers.run(execute, self._contract, request, self._ask)
        finally:
            self._workers.release()
        self._metrics.answered(answer.function, answer.outcome, time.monotonic() - started)
        if answer.message.ByteSize() <= self._largest_message:
            self._outgoing.put_nowait(answer.message)
        else:  # gRPC would end the stream, and every other call on it
            self._outgoing.put_nowait(messages.failed(request, f"the contract's answer is over {self._largest_message} bytes"))

    def _ask(self, message: Any) -> Any:
        """Called by a worker thread: send a question and wait for the peer's answer."""
        if message.ByteSize() > self._largest_message:
            raise PeerError(f"a question to the peer is over {self._largest_message} bytes")
        answer: Future[Any] = Future()
        self._loop.call_soon_threadsafe(self._put_question, message, answer)
        return answer.result()

    def _put_question(self, message: Any, answer: "Future[Any]") -> None:
        if self._ended:
            answer.set_exception(PeerError("the peer's stream has ended"))
            return
        self._questions[message.channel_id, message.txid] = answer
        self._outgoing.put_nowait(message)

    def _end(self) -> None:
        self._ended = True
        while self._questions:
            self._questions.popitem()[1].set_exception(PeerError("the peer's stream has ended"))
