"""Which resources of which FHIR server become a hospital's folder: the section [data] of a configuration file."""

import ipaddress
import json
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from gateway.errors import ConfigError
from gateway.toml_file import FilePath, Section, read, validate


def _checked_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.username or parts.password:
        raise ValueError(f"{text!r} is not a server's address; write https://host/path, with nothing of a user, a query or a fragment")
    if not is_protected(text):
        raise ValueError(f"{text!r} is not https; only a server on this machine may be asked without TLS")
    return text.rstrip("/")


def is_protected(url: str) -> bool:
    """Whether what is sent to `url` is encrypted on the network, or never on one."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or ""))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


Url = Annotated[str, AfterValidator(_checked_url)]
ResourceType = Annotated[str, Field(pattern=r"^[A-Z][A-Za-z]{1,40}$")]
TypeFilter = Annotated[str, Field(pattern=r"^[A-Z][A-Za-z]{1,40}\?[^\s#]{1,1000}$")]


class SmartSection(Section):
    """SMART backend services: the client that is registered at the server, and the key with which it signs."""

    client_id: Annotated[str, Field(min_length=1)]
    private_key: FilePath
    """PEM file, RSA of 2048 bits or more (RS384) or P-384 (ES384); the server knows its public half as a JWK."""
    key_id: Annotated[str, Field(min_length=1)]
    scope: str = "system/*.read"
    token_url: Url | None = None
    """Where tokens are given; without it the server's .well-known/smart-configuration says so."""


class DataSection(Section):
    """A server, and what is read of it."""

    server: Url
    """The FHIR base URL."""
    ca: FilePath | None = None
    """PEM file of the authorities that may vouch for the server; without it, those that the system trusts."""
    method: Literal["bulk", "search"] = "bulk"
    level: Literal["system", "patient", "group"] = "system"
    group: Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]{0,64}$")] = ""
    types: tuple[ResourceType, ...] = ()
    type_filters: tuple[TypeFilter, ...] = ()
    incremental: bool | None = None
    """Whether a second export asks only for what changed; without it, yes but for a group, whose members come and go."""
    patience_hours: Annotated[float, Field(gt=0, le=720)] = 24.0
    smart: SmartSection | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.level == "group") != bool(self.group):
            raise ValueError('level = "group" and group = "ID" belong together')
        if self.method == "search":
            if not self.types:
                raise ValueError('method = "search" needs types, such as types = ["Patient", "Observation"]')
            if self.level != "system" or self.incremental:
                raise ValueError('method = "search" reads all of the server, every time: it has no level and is not incremental')
        strays = {text.partition("?")[0] for text in self.type_filters} - set(self.types)
        if strays:
            raise ValueError(f"type_filters name {', '.join(sorted(strays))}, which types does not")
        return self

    @property
    def asks_for_changes(self) -> bool:
        """Whether an export may ask for what changed since the one before."""
        if self.incremental is None:
            return self.method == "bulk" and self.level != "group"
        return self.incremental

    @property
    def wanted(self) -> str:
        """What is read, as one string: changes since an export are only worth something if it read the same."""
        return json.dumps([self.server, self.method, self.level, self.group, sorted(self.types), sorted(self.type_filters)])


class _ExportFile(Section):
    data: DataSection


def load_data_section(path: Path) -> DataSection:
    """Read a file that has only the section [data]; raise ConfigError with one sentence otherwise."""
    found = read(path)
    if "data" not in found:
        raise ConfigError(f"{path} has no section [data], which names the FHIR server")
    return validate(_ExportFile, found, path).data
