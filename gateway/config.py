"""The configuration files of gateways, researchers and auditors: TOML, validated, paths relative to the file."""

import re
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from fabric.crypto import IdentityError, SigningIdentity, load_signing_identity
from fabric.tls import TlsIdentity
from fabric.token_key import TokenPlace, load_token_identity
from fabric.watched import Watched
from gateway.errors import ConfigError
from gateway.fhir.consent import Rules
from gateway.fhir.export.settings import DataSection
from gateway.toml_file import FilePath, Section, read, validate

if TYPE_CHECKING:  # reading FHIR loads what most verbs do not need
    from gateway.fhir.consents import ConsentSource
    from gateway.fhir.store import StorePlace

MICRO = 1_000_000
Misbehaviour = Literal["label-flip", "noise", "replay", "scale", "offline", "false-key-share", "false-decryption"]

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
    fallbacks: tuple[Endpoint, ...] = ()
    """Further peers, tried in this order where the first does not answer; after the last comes the first again."""
    tls_ca: FilePath
    """PEM of the authorities of all these peers' TLS certificates."""
    channel: str = "consortium"
    chaincode: str = "consortium"


class TokenSection(Section):
    """A private key that stays on a PKCS#11 token: a smart card or a hardware security module."""

    module: FilePath
    """The vendor's PKCS#11 library."""
    label: Annotated[str, Field(min_length=1)]
    """The token's label."""
    key: Annotated[str, Field(min_length=1)]
    """The key's label on it."""
    pin_file: FilePath
    """A file that holds the user's PIN and nothing else."""


class IdentitySection(Section):
    """Who signs this client's transactions: an enrolment certificate of its organisation."""

    mspid: MspId
    certificate: FilePath
    private_key: FilePath | None = None
    token: TokenSection | None = None

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if (self.private_key is None) is (self.token is None):
            raise ValueError("the key is a file or stays on a token: write either private_key or [identity.token]")
        return self

    def load(self) -> SigningIdentity:
        """Read the files and log in to the token, if there is one; raise IdentityError naming what cannot be used."""
        if self.token is not None:
            place = TokenPlace(self.token.module, self.token.label, self.token.key, self.token.pin_file)
            return load_token_identity(self.mspid, self.certificate, place)
        assert self.private_key is not None  # or there would be a token
        return load_signing_identity(self.mspid, self.certificate, self.private_key)

    def watch(self) -> Watched[SigningIdentity]:
        """`load`, and again whenever one of the files is replaced; raises what `load` raises."""
        key = self.token.pin_file if self.token is not None else self.private_key
        return Watched([self.certificate, *([key] if key is not None else [])], self.load)


def read_tls(certificate: Path, private_key: Path) -> TlsIdentity:
    """A TLS certificate and its key from PEM files; raise ConfigError naming those that cannot be used."""
    try:
        return TlsIdentity(certificate.read_bytes(), private_key.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read {error.filename}: {error.strerror}") from error
    except IdentityError as error:
        raise ConfigError(f"{certificate} and {private_key}: {error}") from error


class TlsSection(Section):
    """The TLS certificate with which a researcher or an auditor shows gateways who is calling."""

    certificate: FilePath
    private_key: FilePath

    def load(self) -> TlsIdentity:
        """Read the PEM files; raise ConfigError naming those that cannot be used."""
        return read_tls(self.certificate, self.private_key)

    def watch(self) -> Watched[TlsIdentity]:
        """`load`, and again whenever one of the files is replaced; raises what `load` raises."""
        return Watched([self.certificate, self.private_key], self.load)


class GatewaySection(Section):
    """The gateway's own service, its data and its state."""

    listen: Endpoint
    advertise: Advertisement = ""
    """host:port that the ledger tells other organisations; "" for a gateway that accepts no connection from outside."""
    tls_certificate: FilePath
    tls_private_key: FilePath
    data: FilePath
    """Folder of FHIR files; with [data], the export's own."""
    concept_maps: FilePath | None = None
    """Folder of ConceptMaps (FHIR R4, JSON) that translate the hospital's own codes to those that tasks name."""
    models: FilePath | None = None
    """Folder of large models that tasks name by their digest: files DIGEST.safetensors, put there by the hospital's staff."""
    state: FilePath
    """Folder for what must survive a restart; written by one gateway process only."""
    metrics: Advertisement = ""
    """host:port where Prometheus finds the gateway's counters, over plain HTTP: an address inside the hospital; "" for none."""
    heartbeat_seconds: Annotated[float, Field(gt=0, le=3600)] = 5.0
    detector: Literal["bounds", "direction"] = "bounds"
    """By what this gateway, as a judge of a dispute, judges an opened update; see docs/incentives.md."""

    @property
    def records(self) -> Path:
        """Folder of the AuditEvents and the Provenance that the gateway writes."""
        return self.state / "records"


class PolicySection(Section):
    """What this hospital lets a task do. Whatever is not allowed here is refused."""

    approve: Literal["automatic", "manual"] = "manual"
    max_epsilon: Annotated[float, Field(gt=0, le=100)]
    purposes: tuple[str, ...] = ()
    """Purposes that may be approved; empty: all."""
    views_digests: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")], ...] = ()
    """Digests of the SQL that this hospital's staff have read; a task with other SQL waits for a person. Empty: any."""
    minimum_patients: Annotated[int, Field(ge=1)] = 20
    release_evaluation: bool = True
    """Whether researchers of approved tasks get noisy counts of scores on this hospital's held-out patients, who pay for it."""


class ConsentSection(Section):
    """Whose data may be used. Without this section the hospital answers for it that nobody has to be asked."""

    default: Literal["permit", "deny"]
    """For patients who decided nothing."""
    opt_out: FilePath | None = None
    """A file with the FHIR id of one patient on each line, whose data are not used."""
    purposes: Annotated[tuple[Annotated[str, Field(pattern=r"^[A-Z]{1,20}$")], ...], Field(min_length=1)] = ("HRESCH",)
    """Codes of v3-ActReason that cover what this hospital's tasks do."""

    def source(self, folder: Path) -> "ConsentSource":
        """The decisions of the patients whose resources stand in `folder`."""
        from gateway.fhir.consents import ConsentSource

        return ConsentSource(folder, self.opt_out, Rules(self.default, frozenset(self.purposes)))


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
    data: DataSection | None = None
    """The FHIR server whose resources are brought into the folder before a task is decided on; without it, the folder is as it is."""
    consent: ConsentSection | None = None
    misbehave: MisbehaveSection | None = None

    @model_validator(mode="after")
    def _consents_are_exported(self) -> Self:
        if self.consent is not None and self.data is not None and self.data.types and "Consent" not in self.data.types:
            raise ValueError("[consent] needs the patients' Consents; add Consent to data.types, or leave types out for all")
        return self

    @model_validator(mode="after")
    def _cheats_only_in_a_trial(self) -> Self:
        if self.misbehave is not None and not self.trial:
            raise ValueError("[misbehave] is for trials; remove it, or write `trial = true` at the head of the file")
        return self

    @property
    def consents(self) -> "ConsentSource | None":
        """Where the patients' decisions are; None where nobody is asked."""
        return None if self.consent is None else self.consent.source(self.gateway.data)

    @property
    def store(self) -> "StorePlace":
        """Where what was validated is kept; without patients' values where patients are asked, for whoever withdraws must not be in it."""
        from gateway.fhir.store import StorePlace

        return StorePlace(self.gateway.state / "validated.sqlite", values=self.consent is None)

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
