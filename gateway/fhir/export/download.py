"""One file of an export: kept as it grows, continued where it was cut, checked before it has its name."""

import asyncio
import hashlib
import os
import re
from pathlib import Path

from gateway.fhir.errors import DataError, FhirServerError
from gateway.fhir.export.bulk import JobLost
from gateway.fhir.export.client import FhirClient, TryAgain
from gateway.fhir.export.manifest import ManifestFile
from gateway.fhir.sources import lines

_CHUNK_BYTES = 1 << 18
_GZIP = b"\x1f\x8b"
_WHAT = "a file of the export"


async def download(client: FhirClient, file: ManifestFile, folder: Path, *, with_token: bool) -> Path:
    """Bring `file` into `folder`, if it is not there yet; return its path.

    Raises FhirServerError while the server does not give it, and JobLost where it is not what the manifest says.
    """
    name = hashlib.sha256(file.url.encode()).hexdigest()[:32]
    for ending in (".ndjson", ".ndjson.gz"):
        if (done := folder / f"{name}{ending}").exists():
            return done
    url = client.within(file.url, _WHAT) if with_token and client.signer is not None else file.url
    part = folder / f"{name}.part"
    for _ in range(2):
        await client.persist(_WHAT, lambda: _continue(client, url, part, with_token=with_token))
        ending = ".ndjson.gz" if _begins_with(part, _GZIP) else ".ndjson"
        # It has its own name only when it was checked: a file of that name is not fetched again.
        whole = part.rename(folder / f"unchecked-{name}{ending}")
        problem = await asyncio.to_thread(_problem, whole, file.count)
        if problem is None:
            return whole.rename(folder / f"{name}{ending}")
        whole.unlink()
    raise JobLost(f"{_WHAT}, fetched twice, {problem}")


async def _continue(client: FhirClient, url: str, part: Path, *, with_token: bool) -> None:
    size = _size(part)
    # Not compressed on the way: the bytes that are asked for later must continue those that are here.
    headers = {"Accept": "application/fhir+ndjson", "Accept-Encoding": "identity"}
    if size:
        headers["Range"] = f"bytes={size}-"
    try:
        async with client.open("GET", url, _WHAT, headers=headers, with_token=with_token) as response:
            if response.status == 416:
                _check_complete(part, size, response.headers.get("Content-Range", ""))
                return
            if response.status in (404, 410):
                raise JobLost(f"{_WHAT} is not there any more; it expired or was deleted")
            continued = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {size}-")
            if response.status != 200 and not continued:
                raise FhirServerError(f"{_WHAT}: the server answers {response.status}")
            with part.open("ab" if continued else "wb") as out:
                async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
    except TryAgain as again:
        again.moved_on = _size(part) > size
        raise


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check_complete(part: Path, size: int, content_range: str) -> None:
    """The server has nothing after `size` bytes: then that is all of it, or what is here is of another file."""
    if re.fullmatch(rf"bytes \*/{size}", content_range) is None:
        part.unlink()
        raise TryAgain("the part that is here does not fit the file", after=0.0)


def _begins_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _problem(path: Path, count: int | None) -> str | None:
    """What is wrong with a file that came whole, as far as HTTP can tell."""
    try:
        found = sum(1 for _ in lines(path))
    except DataError:
        return "is damaged"
    return None if count is None or found == count else f"has {found} resources where the manifest says {count}"
