"""The configuration files of gateways, researchers and auditors: TOML, validated, paths relative to the file."""

import re
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from fabric.crypto import SigningIdentity, load_signing_identity
from gateway.toml_file import FilePath, Section, read, validate

MICRO = 1_000_000
Misbehaviour = Literal["label-flip", "noise", "replay", "scale", "offline"]

_ENDPOINT = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")


def _checked_endpoint(text: str) -> str:
    found = _ENDPOINT.fullmatch(text)
    if found is None or not 1 <= int(found[1]) <= 65535:
        raise ValueError(f"{text!r} is not an address; write host:port with a port from 1 to 65535, such as 127.0.0.1:7051")
    return text


def _checked_advertisement(text: str) -> str:
    return text and _checked_endpoint(text)


Endpoint = Annotated[str, AfterValidator(_checked_endpoint)]
Advertisement = Annotated[str, AfterValidator(_checked_advertisement)]
MspId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]{0,63}$")]


class LedgerSection(Section):
    """Where the ledger is: a Fabric peer's Gateway service, or the embedded ledger."""

    endpoint: Endpoint
    tls_ca: FilePath
    channel: str = "consortium"
    chaincode: str = "consortium"


class IdentitySection(Section):
    """Who signs this client's transactions: an enrolment certificate of its organisation."""

    mspid: MspId
    certificate: FilePath
    private_key: FilePath

    def load(self) -> SigningIdentity:
        """Read the PEM files; raise IdentityError naming the file that cannot be used."""
        return load_signing_identity(self.mspid, self.certificate, self.private_key)


class TlsSection(Section):
    """The TLS certificate with which a researcher or an auditor shows gateways who is calling."""

    certificate: FilePath
    private_key: FilePath


class GatewaySection(Section):
    """The gateway's own service, its data and its state."""

    listen: Endpoint
    advertise: Advertisement = ""
    """host:port that the ledger tells other organisations; "" for a gateway that accepts no connection from outside."""
    tls_certificate: FilePath
    tls_private_key: FilePath
    data: FilePath
    """Folder of FHIR NDJSON files."""
    state: FilePath
    """Folder for what must survive a restart; written by one gateway process only."""
    metrics: Advertisement = ""
    """host:port where Prometheus finds the gateway's counters, over plain HTTP: an address inside the hospital; "" for none."""
    heartbeat_seconds: Annotated[float, Field(gt=0, le=3600)] = 5.0


class PolicySection(Section):
    """What this hospital lets a task do. Whatever is not allowed here is refused."""

    approve: Literal["automatic", "manual"] = "manual"
    max_epsilon: Annotated[float, Field(gt=0, le=100)]
    purposes: tuple[str, ...] = ()
    """Purposes that may be approved; empty: all."""
    minimum_patients: Annotated[int, Field(ge=1)] = 20
    release_evaluation: bool = True
    """Whether researchers of approved tasks get the histogram of scores on this hospital's held-out patients."""


class BudgetSection(Section):
    """The privacy budget of the hospital's data set, fixed on the ledger when it is registered."""

    dataset: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    epsilon: Annotated[float, Field(gt=0, le=100)]
    delta: Annotated[float, Field(gt=0, lt=1)]

    @property
    def epsilon_micro(self) -> int:
        return int((Decimal(repr(self.epsilon)) * MICRO).to_integral_value(ROUND_FLOOR))

    @property
    def delta_inverse(self) -> int:
        """1/delta as an integer, rounded against the spender: the ledger has no fractions."""
        return int((1 / Decimal(repr(self.delta))).to_integral_value(ROUND_CEILING))


class MisbehaveSection(Section):
    """How this gateway cheats, so that a trial can show what becomes of it."""

    kind: Misbehaviour


class ClientConfig(Section):
    """A researcher's or an auditor's configuration; every configuration has these sections."""

    ledger: LedgerSection
    identity: IdentitySection
    tls: TlsSection | None = None


class GatewayConfig(Section):
    """A hospital gateway's configuration."""

    trial: bool = False
    ledger: LedgerSection
    identity: IdentitySection
    gateway: GatewaySection
    policy: PolicySection
    budget: BudgetSection
    misbehave: MisbehaveSection | None = None

    @model_validator(mode="after")
    def _cheats_only_in_a_trial(self) -> Self:
        if self.misbehave is not None and not self.trial:
            raise ValueError("[misbehave] is for trials; remove it, or write `trial = true` at the head of the file")
        return self

    @property
    def tls(self) -> TlsSection:
        """The certificate for calling other gateways: the same with which this one serves."""
        return TlsSection(certificate=self.gateway.tls_certificate, private_key=self.gateway.tls_private_key)


def load_gateway_config(path: Path) -> GatewayConfig:
    """Read a hospital's configuration; raise ConfigError with one sentence otherwise."""
    return validate(GatewayConfig, read(path), path)


def load_client_config(path: Path) -> ClientConfig | GatewayConfig:
    """Read any configuration: a hospital's where it has a [gateway] section, else a researcher's or an auditor's."""
    data = read(path)
    if "gateway" in data:
        return validate(GatewayConfig, data, path)
    return validate(ClientConfig, data, path)
