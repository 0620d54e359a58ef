"""The chaincode service's TOML file.

Paths are relative to the file; unknown keys are refused.

    [chaincode]  listen, package_id, plain_on_loopback, metrics
    [tls]        certificate, private_key, client_ca     left out only where plain_on_loopback = true
"""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from fabric.chaincode.server import ServiceSettings, is_loopback
from fabric.tls import MutualTls
from fabric.watched import Watched
from gateway.config import Advertisement, Endpoint, read_tls
from gateway.errors import ConfigError
from gateway.toml_file import FilePath, Section, read, validate


class ChaincodeSection(Section):
    """Where peers find the service, and which installed package it stands for."""

    listen: Endpoint
    package_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9+_.-]+:[0-9a-f]{64}$")]
    """LABEL:HASH, as `peer lifecycle chaincode calculatepackageid` and `queryinstalled` print it."""
    plain_on_loopback: bool = False
    """Serve without TLS, to peers of this machine only: for trials."""
    metrics: Advertisement = ""
    """host:port where Prometheus finds the service's counters, over plain HTTP: an address inside the hospital; "" for none."""


class ServiceTlsSection(Section):
    """The service's own certificate, and the authority whose certificates peers must show."""

    certificate: FilePath
    private_key: FilePath
    client_ca: FilePath

    def load(self) -> MutualTls:
        """Read the PEM files; raise ConfigError naming those that cannot be used."""
        try:
            return MutualTls(read_tls(self.certificate, self.private_key), self.client_ca.read_bytes())
        except OSError as error:
            raise ConfigError(f"cannot read {error.filename}: {error.strerror}") from error

    def watch(self) -> Watched[MutualTls]:
        """`load`, and again whenever one of the files is replaced; raises what `load` raises."""
        return Watched([self.certificate, self.private_key, self.client_ca], self.load)


class ChaincodeConfig(Section):
    """Everything one organisation's chaincode service needs."""

    chaincode: ChaincodeSection
    tls: ServiceTlsSection | None = None

    @model_validator(mode="after")
    def _secured_or_said_not_to_be(self) -> Self:
        plain = self.chaincode.plain_on_loopback
        if plain and self.tls is not None:
            raise ValueError("[tls] and plain_on_loopback exclude each other; remove one of them")
        if not plain and self.tls is None:
            raise ValueError("[tls] is missing; peers and service show each other certificates, add certificate, private_key and client_ca")
        if plain and not is_loopback(self.chaincode.listen):
            raise ValueError(f"chaincode.plain_on_loopback needs a loopback address, not {self.chaincode.listen}; add [tls] instead")
        return self

    def settings(self) -> ServiceSettings:
        """Read the PEM files; raise ConfigError naming those that cannot be used."""
        tls = None if self.tls is None else self.tls.watch()
        return ServiceSettings(self.chaincode.listen, self.chaincode.package_id, tls, self.chaincode.plain_on_loopback)


def load_chaincode_config(path: Path) -> ChaincodeConfig:
    """Read a chaincode service's configuration; raise ConfigError with one sentence otherwise."""
    return validate(ChaincodeConfig, read(path), path)
