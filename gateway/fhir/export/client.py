"""Requests to one FHIR server over HTTP: TLS, tokens, redirects, retries. What is answered is read up to a limit.

The token goes to the server's own origin and nowhere else; nothing is asked over a network without TLS.
"""

import json
import ssl
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar
from urllib.parse import urljoin, urlsplit

import aiohttp
import yarl

from gateway.errors import ConfigError
from gateway.fhir.errors import FhirServerError
from gateway.fhir.export.outcome import outcome_sentence
from gateway.fhir.export.settings import DataSection, is_protected
from gateway.fhir.export.smart import Signer, Token, load_key, parse_token, token_endpoint
from gateway.fhir.export.waiting import Clock, Patience, asked_seconds, backoff_seconds

ATTEMPTS = 8
"""Times a request is made before the server is given up; one that brought something new does not count."""

MAX_ANSWER_BYTES = 64 << 20
"""Longest answer that is held in memory: a manifest, a page of a search."""

_REDIRECTS = 5
_REDIRECTED = frozenset({301, 302, 303, 307, 308})
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=120)
_JSON = {"Accept": "application/fhir+json, application/json", "Accept-Encoding": "identity"}

Found = TypeVar("Found")


class TryAgain(Exception):  # noqa: N818 (no failure yet)
    """An attempt failed in a way that may pass."""

    def __init__(self, reason: str, *, after: float | None = None, answered: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after = after
        """Seconds that the server asks to wait."""
        self.answered = answered
        """Whether the server said so itself."""
        self.moved_on = False
        """Whether the attempt brought something that need not be fetched again."""


class FailingServerError(FhirServerError):
    """The server itself said as often as it was asked that it cannot."""


@dataclass(frozen=True)
class Answer:
    """An answer that was read whole."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON; None if it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def refused(self, what: str) -> FhirServerError:
        """The answer as an error, with what its OperationOutcome says."""
        return FhirServerError(f"{what}: the server answers {self.status}{outcome_sentence(self.json())}")


@dataclass
class FhirClient:
    """One server; made by `connect`."""

    base: str
    session: aiohttp.ClientSession
    patience: Patience
    scope: str = ""
    signer: Signer | None = None
    token_url: str | None = None
    _token: Token | None = field(default=None, repr=False)

    @property
    def clock(self) -> Clock:
        return self.patience.clock

    def within(self, url: str, what: str) -> str:
        """`url`, relative to the base, if it is of the server's own origin; raise FhirServerError otherwise."""
        absolute = urljoin(f"{self.base}/", url)
        if _origin(absolute) != _origin(self.base):
            raise FhirServerError(f"{what} leads to another server than {self.base}; set its own address as [data] server")
        return absolute

    async def get(self, url: str, what: str, *, headers: Mapping[str, str] | None = None) -> Answer:
        """Ask for JSON until there is an answer; one that may pass is asked for again. Raises FhirServerError."""
        return await self.persist(what, lambda: self._answer("GET", url, what, headers={**_JSON, **(headers or {})}))

    async def delete(self, url: str, what: str) -> Answer:
        """Ask once to delete; raises FhirServerError where there is no answer."""
        try:
            return await self._answer("DELETE", url, what, headers=_JSON)
        except TryAgain as again:
            raise FhirServerError(f"{what}: {again.reason}") from None

    async def persist(self, what: str, attempt: Callable[[], Awaitable[Found]]) -> Found:
        """Call `attempt` until it does not raise TryAgain; raise FhirServerError once it did too often or too long."""
        failed = 0
        while True:
            try:
                return await attempt()
            except TryAgain as again:
                failed = 0 if again.moved_on else failed + 1
                if failed >= ATTEMPTS:
                    kind = FailingServerError if again.answered else FhirServerError
                    raise kind(f"{what}: {again.reason}, {failed} times in a row; look at the server and try again") from None
                seconds = backoff_seconds(max(failed - 1, 0)) if again.after is None else again.after
                await self.patience.wait(seconds, f"{what}: {again.reason}")

    async def _answer(self, method: str, url: str, what: str, *, headers: Mapping[str, str]) -> Answer:
        async with self.open(method, url, what, headers=headers) as response:
            return Answer(str(response.url), response.status, response.headers, await _body(response, what))

    @asynccontextmanager
    async def open(
        self, method: str, url: str, what: str, *, headers: Mapping[str, str], with_token: bool = True
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Make one request and follow redirects; the body is the caller's to read.

        Raises TryAgain where another attempt may help, also while the caller reads, and FhirServerError where none will.
        """
        try:
            for _ in range(_REDIRECTS + 1):
                if not is_protected(url):
                    raise FhirServerError(f"{what}: {_origin(url)} is not https; nothing is asked of it")
                sent = dict(headers)
                if with_token and _origin(url) == _origin(self.base):
                    sent |= await self._authorization()
                async with self.session.request(method, _target(url, what), headers=sent, allow_redirects=False) as response:
                    if response.status in _REDIRECTED and "Location" in response.headers:
                        url = urljoin(url, response.headers["Location"])
                        continue
                    self._check_passing(response, "Authorization" in sent)
                    yield response
                    return
            raise FhirServerError(f"{what}: the server redirects more than {_REDIRECTS} times")
        except aiohttp.ClientSSLError as error:
            raise FhirServerError(f"{what}: no TLS connection: {_reason(error)}; check [data] server and ca") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise TryAgain(f"no answer ({_reason(error)})", answered=False) from None

    def _check_passing(self, response: aiohttp.ClientResponse, showed_token: bool) -> None:
        if response.status == 401 and showed_token and self._token is not None:
            self._token = None
            raise TryAgain("the server does not accept the token", after=0.0)
        if response.status in _PASSING:
            after = asked_seconds(response.headers.get("Retry-After"), self.clock.now())
            raise TryAgain(f"the server answers {response.status}", after=after)

    async def _authorization(self) -> dict[str, str]:
        if self.signer is None:
            return {}
        if self._token is None or not self._token.good(self.clock.now()):
            self._token = await self._new_token(self.signer)
        return {"Authorization": f"Bearer {self._token.value}"}

    async def _new_token(self, signer: Signer) -> Token:
        url = self.token_url or await self._discovered()
        if not is_protected(url):
            raise FhirServerError(f"the token endpoint {_origin(url)} is not https; nothing is asked of it")
        self.token_url = url
        form = signer.form(url, self.scope, self.clock.now())
        async with self.session.post(url, data=form, headers={**_JSON, "Accept": "application/json"}, allow_redirects=False) as response:
            self._check_passing(response, showed_token=False)
            answer = Answer(url, response.status, response.headers, await _body(response, "a token"))
        if answer.status != 200:
            raise FhirServerError(f"the token endpoint answers {answer.status}{_oauth_error(answer.json())}; check [data.smart]")
        return parse_token(answer.json(), self.clock.now())

    async def _discovered(self) -> str:
        url = f"{self.base}/.well-known/smart-configuration"
        async with self.session.get(url, headers={**_JSON, "Accept": "application/json"}, allow_redirects=False) as response:
            self._check_passing(response, showed_token=False)
            answer = Answer(url, response.status, response.headers, await _body(response, url))
        if answer.status != 200:
            raise FhirServerError(f"{url}: the server answers {answer.status}; set [data.smart] token_url")
        return urljoin(url, token_endpoint(answer.json()))

    async def close(self) -> None:
        """Close the connections."""
        await self.session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def connect(settings: DataSection, clock: Clock) -> FhirClient:
    """A client for the server of `settings`; raise ConfigError for files that cannot be used. Nothing is asked yet."""
    try:
        context = ssl.create_default_context(cafile=None if settings.ca is None else str(settings.ca))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cannot read {settings.ca} as PEM certificates: {error.strerror or error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    smart = settings.smart
    signer = None if smart is None else Signer(smart.client_id, smart.key_id, load_key(smart.private_key))
    # A compressed file is kept as it came: its length can then be checked, and its rest asked for.
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), timeout=_TIMEOUT, auto_decompress=False)
    return FhirClient(
        settings.server,
        session,
        Patience(clock, hours=settings.patience_hours),
        scope="" if smart is None else smart.scope,
        signer=signer,
        token_url=None if smart is None else smart.token_url,
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    try:
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        port = None
    return f"{parts.scheme}://{parts.hostname}:{port}"


def _target(url: str, what: str) -> yarl.URL:
    """The address as the server wrote it: one that is signed must not be written anew."""
    if not url.isascii() or not url.isprintable() or " " in url:
        raise FhirServerError(f"{what}: the server names an address that is none")
    return yarl.URL(url, encoded=True)


async def _body(response: aiohttp.ClientResponse, what: str) -> bytes:
    data = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        data += chunk
        if len(data) > MAX_ANSWER_BYTES:
            raise FhirServerError(f"{what}: the answer is longer than {MAX_ANSWER_BYTES >> 20} MiB")
    return _plain(bytes(data), what) if response.headers.get("Content-Encoding", "").lower() == "gzip" else bytes(data)


def _plain(data: bytes, what: str) -> bytes:
    """The content of gzip that a server sends though it was not asked for."""
    stream = zlib.decompressobj(wbits=31)
    try:
        found = stream.decompress(data, MAX_ANSWER_BYTES)
    except zlib.error:
        raise FhirServerError(f"{what}: the answer is damaged gzip") from None
    if not stream.eof:
        raise FhirServerError(f"{what}: the answer is cut gzip, or longer than {MAX_ANSWER_BYTES >> 20} MiB")
    return found


def _reason(error: Exception) -> str:
    """An error of the HTTP library in a few words, without the address: that stands in a sentence already, or holds a secret."""
    cause = getattr(error, "os_error", None) or getattr(error, "certificate_error", None) or error
    text = getattr(cause, "verify_message", None) or getattr(cause, "strerror", None)
    return str(text) if text else type(cause).__name__


def _oauth_error(found: object) -> str:
    code = found.get("error") if isinstance(found, dict) else None
    return f" ({code})" if isinstance(code, str) and code.isascii() and code.isprintable() and len(code) <= 64 else ""
