"""How a client that is no gateway reaches the ledger and the gateways: the verbs' connections, opened and closed in one place."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from fabric.client.gateway import Gateway
from fabric.ledger import Ledger
from fabric.tls import TlsIdentity
from fabric.watched import Watched
from gateway.channel.organisations import read_organisations
from gateway.config import ClientConfig, GatewayConfig, TlsSection
from gateway.errors import ConfigError
from gateway.rpc import Peers
from gateway.trust_roots import read_trust_roots


def open_ledger(config: ClientConfig | GatewayConfig) -> Gateway:
    """The ledger's client; the caller closes it. Raises ConfigError or IdentityError if a file cannot be used; no I/O beyond files."""
    section = config.ledger
    tls_ca = Watched([section.tls_ca], lambda: _authorities(section.tls_ca))
    client = Gateway.follow([section.endpoint, *section.fallbacks], tls_ca, section.channel, section.chaincode, config.identity.watch())
    client.name_endorsers(read_organisations)
    return client


def _authorities(path: Path) -> bytes:
    try:
        pem = path.read_bytes()
        x509.load_pem_x509_certificates(pem)
    except OSError as error:
        raise ConfigError(f"cannot read {path}, the ledger's tls_ca: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path}, the ledger's tls_ca, holds no certificates in PEM: {error}") from error
    return pem


def tls_identity(config: ClientConfig | GatewayConfig) -> TlsIdentity:
    """The certificate to show gateways; raise ConfigError where the configuration names none or it cannot be used."""
    return _tls_section(config).load()


def watched_tls(config: ClientConfig | GatewayConfig) -> Watched[TlsIdentity]:
    """`tls_identity` for as long as a process runs: renewed when the files are."""
    return _tls_section(config).watch()


def _tls_section(config: ClientConfig | GatewayConfig) -> TlsSection:
    if config.tls is None:
        raise ConfigError("the configuration has no [tls] section; gateways only answer callers with a certificate of their organisation")
    return config.tls


@dataclass(frozen=True)
class Access:
    """What one client reaches: the ledger's client, the contract through it, and the gateways."""

    client: Gateway
    ledger: Ledger
    peers: Peers


@asynccontextmanager
async def ledger_access(config: ClientConfig | GatewayConfig) -> AsyncIterator[tuple[Gateway, Ledger]]:
    """The ledger's client and the contract, closed at the end."""
    client = open_ledger(config)
    try:
        yield client, Ledger(client)
    finally:
        await client.close()


@asynccontextmanager
async def access(config: ClientConfig | GatewayConfig) -> AsyncIterator[Access]:
    """The ledger and the gateways, whose TLS roots are read from the channel; all closed at the end."""
    tls = watched_tls(config)
    async with ledger_access(config) as (client, ledger):
        peers = Peers(config.identity.mspid, tls, await read_trust_roots(client))
        try:
            yield Access(client, ledger, peers)
        finally:
            await peers.close()
