"""A FHIR server over real HTTP, with TLS if asked, that fails when told to.

with fhir_server() as server:
    server.put(patient("a"))
    server.faults["file"].append(Fault(cut=0.5))    # half of the next file, then the connection is gone

It knows $export, its status, files and end, search with paging, and SMART backend services. Its clock moves when something is changed.
"""

import base64
import json
import ssl
import threading
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

START = datetime(2026, 1, 1, tzinfo=UTC)
OUTCOME = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception", "diagnostics": "told\nto fail"}]}


@dataclass(frozen=True)
class Fault:
    """What happens to one request: another status, a body that ends early, or an answer of another content."""

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: object = None
    """JSON instead of the answer's own."""
    cut: float | None = None
    """Share of the body that is sent before the connection is closed."""
    repeat: bool = False
    """A search gives the page before once more, with the link that it has to give."""


@dataclass
class Job:
    """An export under way."""

    since: str | None
    transaction_time: str
    files: dict[str, list[tuple[str, bytes, int]]]
    """"output", "deleted", "error" → (type, content, resources)."""
    polls: int


@dataclass
class Request:
    method: str
    route: str
    path: str
    headers: Mapping[str, str]


class FhirServer:
    """The resources, and what was asked."""

    def __init__(self) -> None:
        self.base = ""
        self.faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        """By route (kickoff, status, file, end, search, token, configuration): what happens to the next requests."""
        self.requests: list[Request] = []
        self.answered: list[int] = []
        """Status of every answer."""
        self.raw_search: bytes | None = None
        """What every search gives instead of resources."""
        self.jobs: dict[str, Job] = {}
        self.ended: list[str] = []
        self.polls = 0
        """Times that an export is not done yet when it is asked after."""
        self.ranges = True
        """Whether a part of a file can be asked for."""
        self.counts = True
        """Whether manifests say how many resources a file has."""
        self.per_file = 3
        self.per_page = 2
        self.errors: list[Any] = []
        """OperationOutcomes of the next export."""
        self.groups: dict[str, set[str]] = {}
        self.public_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey | None = None
        """With a key, nothing is given without a token."""
        self.tokens: dict[str, bool] = {}
        """Token → whether it still opens."""
        self.assertions: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._resources: dict[tuple[str, str], dict[str, Any]] = {}
        self._changed: dict[tuple[str, str], datetime] = {}
        self._deleted: dict[tuple[str, str], datetime] = {}
        self._now = START
        self._begun = 0

    def put(self, resource: Mapping[str, Any]) -> None:
        """Create a resource, or a new version of it."""
        key = (resource["resourceType"], resource["id"])
        self._now += timedelta(seconds=1)
        version = int(self._resources[key]["meta"]["versionId"]) + 1 if key in self._resources else 1
        meta = {"versionId": str(version), "lastUpdated": instant(self._now)}
        self._resources[key] = {**resource, "meta": meta}
        self._changed[key] = self._now
        self._deleted.pop(key, None)

    def delete(self, resource_type: str, identifier: str) -> None:
        self._now += timedelta(seconds=1)
        del self._resources[resource_type, identifier]
        self._deleted[resource_type, identifier] = self._now

    def expire_tokens(self) -> None:
        self.tokens = dict.fromkeys(self.tokens, False)

    def routes(self, method: str = "") -> list[str]:
        """What was asked, in order."""
        return [request.route for request in self.requests if request.method == method or not method]

    def lines(self) -> list[str]:
        """Every resource, as an export gives it."""
        return [_line(resource).decode() for resource in self._resources.values()]

    # What follows is HTTP's side.

    def begin(self, level: str, query: Mapping[str, list[str]]) -> str:
        since = query.get("_since", [None])[0]
        after = datetime.fromisoformat(since) if since else START
        types = {name for text in query.get("_type", []) for name in text.split(",")}
        files: dict[str, list[tuple[str, bytes, int]]] = {"output": [], "deleted": [], "error": []}
        for resource_type in sorted({kind for kind, _ in self._resources}):
            found = [
                each
                for key, each in self._resources.items()
                if key[0] == resource_type
                and self._changed[key] > after
                and (not types or resource_type in types)
                and self._within(level, each)
            ]
            for part in _batches(found, self.per_file):
                files["output"].append((resource_type, b"".join(_line(each) + b"\n" for each in part), len(part)))
        if since:
            gone = [key for key, moment in self._deleted.items() if moment > after and (not types or key[0] in types)]
            for keys in _batches(gone, self.per_file):
                entries = [{"request": {"method": "DELETE", "url": "/".join(key)}} for key in keys]
                bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
                files["deleted"].append(("Bundle", _line(bundle) + b"\n", 1))
        if self.errors:
            files["error"].append(("OperationOutcome", b"".join(_line(each) + b"\n" for each in self.errors), len(self.errors)))
        self._begun += 1
        name = f"job{self._begun}"
        self.jobs[name] = Job(since, instant(self._now), files, self.polls)
        return name

    def _within(self, level: str, resource: Mapping[str, Any]) -> bool:
        if level not in self.groups:
            return True
        patient = resource["id"] if resource["resourceType"] == "Patient" else resource["subject"]["reference"].partition("/")[2]
        return patient in self.groups[level]

    def manifest(self, name: str) -> dict[str, Any]:
        job = self.jobs[name]
        found: dict[str, Any] = {"transactionTime": job.transaction_time, "requiresAccessToken": self.public_key is not None}
        for key, files in job.files.items():
            found[key] = [
                {"type": kind, "url": f"{self.base}/files/{name}/{key}/{number}"} | ({"count": count} if self.counts else {})
                for number, (kind, _, count) in enumerate(files)
            ]
        return found

    def page(self, resource_type: str, offset: int) -> dict[str, Any]:
        found = [each for key, each in self._resources.items() if key[0] == resource_type]
        entries = [{"resource": each, "search": {"mode": "match"}} for each in found[offset : offset + self.per_page]]
        page: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "total": len(found), "entry": entries, "link": []}
        if offset + self.per_page < len(found):
            page["link"] = [{"relation": "next", "url": f"{self.base}/{resource_type}?offset={offset + self.per_page}"}]
        return page

    def token(self, form: Mapping[str, list[str]]) -> dict[str, Any]:
        header, claims = verified(form["client_assertion"][0], self.public_key)
        assert claims["jti"] not in [earlier["jti"] for _, earlier in self.assertions], "an assertion was shown twice"
        self.assertions.append((header, claims))
        value = f"secret-token-{len(self.tokens)}"
        self.tokens[value] = True
        return {"access_token": value, "token_type": "bearer", "expires_in": 300, "scope": form["scope"][0]}


def instant(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _batches(items: list[Any], size: int) -> list[list[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _line(resource: Mapping[str, Any]) -> bytes:
    return json.dumps(resource, separators=(",", ":")).encode()


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def verified(assertion: str, key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a JWT; raises InvalidSignature. RFC 7518, 3.3 and 3.4."""
    header, claims, signature = assertion.split(".")
    message, raw = f"{header}.{claims}".encode(), _decoded(signature)
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(raw, message, padding.PKCS1v15(), hashes.SHA384())
    else:
        assert key is not None
        assert len(raw) == 96
        key.verify(encode_dss_signature(int.from_bytes(raw[:48]), int.from_bytes(raw[48:])), message, ec.ECDSA(hashes.SHA384()))
    return json.loads(_decoded(header)), json.loads(_decoded(claims))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body go out one after the other; without it each answer waits for the client's word
    fhir: FhirServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        words, query = parts.path.strip("/").split("/")[1:], parse_qs(parts.query)
        if words == [".well-known", "smart-configuration"]:
            self._answer("configuration", 200, {"token_endpoint": f"{self.fhir.base}/token"})
        elif words[-1] == "$export":
            self._kick_off(words, query)
        elif words[0] == "status":
            self._status(words[1])
        elif words[0] == "files":
            self._file(words[1], words[2], int(words[3]))
        else:
            self._search(words[0], int(query.get("offset", ["0"])[0]))

    def do_DELETE(self) -> None:
        name = self.path.rpartition("/")[2]
        if self.fhir.jobs.pop(name, None) is not None:
            self.fhir.ended.append(name)
        self._answer("end", 202, {})

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self._answer("token", 200, self.fhir.token(form))

    def _kick_off(self, words: list[str], query: Mapping[str, list[str]]) -> None:
        if self._failed("kickoff"):
            return
        name = self.fhir.begin(words[1] if words[0] == "Group" else "", query)
        self._send(202, b"", {"Content-Location": f"{self.fhir.base}/status/{name}"})

    def _status(self, name: str) -> None:
        if self._failed("status"):
            return
        job = self.fhir.jobs.get(name)
        if job is None:
            self._send(404, _line(OUTCOME), {})
        elif job.polls:
            job.polls -= 1
            self._send(202, b"", {"X-Progress": "half done", "Retry-After": "7"})
        else:
            self._send(200, _line(self.fhir.manifest(name)), {})

    def _file(self, name: str, key: str, number: int) -> None:
        job = self.fhir.jobs.get(name)
        content = job.files[key][number][1] if job else b""
        start = self.headers.get("Range", "").removeprefix("bytes=").rstrip("-")
        if not job:
            self._answer("file", 404, OUTCOME)
        elif start and self.fhir.ranges:
            if int(start) >= len(content):
                self._answer("file", 416, b"", {"Content-Range": f"bytes */{len(content)}"})
            else:
                place = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
                self._answer("file", 206, content[int(start) :], place)
        else:
            self._answer("file", 200, content)

    def _search(self, resource_type: str, offset: int) -> None:
        page = self.fhir.page(resource_type, offset)
        faults = self.fhir.faults["search"]
        if faults and faults[0].repeat:
            page["entry"] = self.fhir.page(resource_type, max(0, offset - self.fhir.per_page))["entry"]
        self._answer("search", 200, self.fhir.raw_search or page)

    def _failed(self, route: str) -> bool:
        """Note the request; refuse it if it has no token or a fault is due."""
        self.fhir.requests.append(Request(self.command, route, self.path, dict(self.headers)))
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.fhir.public_key is not None and route not in ("configuration", "token") and not self.fhir.tokens.get(token):
            self._send(401, _line(OUTCOME), {})
            return True
        faults = self.fhir.faults[route]
        if not faults or faults[0].status is None:
            return False
        fault = faults.popleft()
        self._send(fault.status or 500, _line(OUTCOME if fault.body is None else fault.body), fault.headers)  # type: ignore[arg-type]
        return True

    def _answer(self, route: str, status: int, content: object, headers: Mapping[str, str] | None = None) -> None:
        if self._failed(route):
            return
        fault = self.fhir.faults[route].popleft() if self.fhir.faults[route] else Fault()
        body = content if isinstance(content, bytes) else _line(content)  # type: ignore[arg-type]
        self._send(status, body, headers or {}, cut=fault.cut)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str], *, cut: float | None = None) -> None:
        self.fhir.answered.append(status)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if cut is not None:
            body = body[: int(len(body) * cut)]
            self.close_connection = True
        self.wfile.write(body)


@contextmanager
def fhir_server(tls: ssl.SSLContext | None = None) -> Iterator[FhirServer]:
    """A server on a free port of this machine, for as long as the context lasts."""
    fhir = FhirServer()
    handler = type("Handler", (_Handler,), {"fhir": fhir})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        fhir.base = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}/fhir"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield fhir
        finally:
            server.shutdown()
            thread.join()
