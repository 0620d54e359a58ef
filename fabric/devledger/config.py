"""The embedded ledger's TOML file, read into frozen models.

    [ledger]          listen, channel, chaincode, data, tls_certificate, tls_private_key
    [orderer]         mspid, certificate, private_key, ca
    [[organisations]] mspid, ca, tls_ca, peer_certificate, peer_private_key

Paths are relative to the file. Unknown keys are refused.
"""

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from fabric.devledger.errors import DevLedgerError


def _anchored(path: Path, info: ValidationInfo) -> Path:
    return Path(os.path.normpath((info.context or {}).get("folder", Path()) / path))


def _listen_address(value: str) -> str:
    match = re.fullmatch(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):(?P<port>\d{1,5})", value)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise ValueError(f"{value!r} is not HOST:PORT with a port from 1 to 65535")
    return value


FilePath = Annotated[Path, AfterValidator(_anchored)]
MspId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
ChannelName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9.-]{0,248}$")]
ChaincodeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]+([-_][A-Za-z0-9]+)*$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LedgerSection(_Section):
    listen: Annotated[str, AfterValidator(_listen_address)]
    channel: ChannelName = "consortium"
    chaincode: ChaincodeName = "consortium"
    data: FilePath
    tls_certificate: FilePath
    tls_private_key: FilePath


class OrdererSection(_Section):
    mspid: MspId
    certificate: FilePath
    private_key: FilePath
    ca: FilePath


class OrganisationSection(_Section):
    mspid: MspId
    ca: FilePath
    tls_ca: FilePath
    peer_certificate: FilePath
    peer_private_key: FilePath


class LedgerConfig(_Section):
    """Everything one embedded ledger needs; organisations keep the order of the file."""

    ledger: LedgerSection
    orderer: OrdererSection
    organisations: Annotated[tuple[OrganisationSection, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _mspids_are_distinct(self) -> "LedgerConfig":
        mspids = [self.orderer.mspid, *(organisation.mspid for organisation in self.organisations)]
        repeated = sorted({mspid for mspid in mspids if mspids.count(mspid) > 1})
        if repeated:
            raise ValueError(f"mspid {repeated[0]!r} stands twice; every organisation and the orderer have one of their own")
        return self


def load(path: Path) -> LedgerConfig:
    """Read and check a configuration file; raise DevLedgerError naming the file, the key and the problem."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DevLedgerError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise DevLedgerError(f"{path} is not TOML: {error}") from error
    return parse(document, folder=path.parent, source=str(path))


def parse(document: dict[str, Any], *, folder: Path, source: str) -> LedgerConfig:
    """Check a parsed document whose paths are relative to `folder`; `source` names it in errors (DevLedgerError)."""
    try:
        return LedgerConfig.model_validate(document, context={"folder": folder})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        problem = "unknown key; remove it or correct its spelling" if first["type"] == "extra_forbidden" else first["msg"]
        raise DevLedgerError(f"{source}: {key}: {problem}") from error


def write(config: LedgerConfig, path: Path) -> None:
    """Write `config` as the TOML file that `load` reads, with paths relative to it, so that the whole folder can be moved."""
    sections = [("[ledger]", config.ledger), ("[orderer]", config.orderer), *(("[[organisations]]", o) for o in config.organisations)]
    lines = [line for title, section in sections for line in (title, *_lines(section, path.parent), "")]
    path.write_text("\n".join(lines), encoding="utf-8")


def _lines(section: _Section, folder: Path) -> list[str]:
    values = {key: os.path.relpath(value, folder) if isinstance(value, Path) else value for key, value in section}
    return [f"{key} = {_quoted(value)}" for key, value in values.items()]


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
