"""How a client that is no gateway reaches the ledger and the gateways: the verbs' connections, opened and closed in one place."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fabric.client.gateway import Gateway
from fabric.ledger import Ledger
from gateway.config import ClientConfig, GatewayConfig
from gateway.errors import ConfigError
from gateway.rpc import Peers, TlsIdentity
from gateway.trust_roots import read_trust_roots


def open_ledger(config: ClientConfig | GatewayConfig) -> Gateway:
    """The ledger's client; the caller closes it. Raises ConfigError or IdentityError if a file cannot be used; no I/O beyond files."""
    section = config.ledger
    try:
        tls_ca = section.tls_ca.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {section.tls_ca}, the ledger's tls_ca: {error.strerror}") from error
    return Gateway.connect(section.endpoint, tls_ca, section.channel, section.chaincode, config.identity.load())


def tls_identity(config: ClientConfig | GatewayConfig) -> TlsIdentity:
    """The certificate to show gateways; raise ConfigError where the configuration names none or it cannot be read."""
    if config.tls is None:
        raise ConfigError("the configuration has no [tls] section; gateways only answer callers with a certificate of their organisation")
    try:
        return TlsIdentity(config.tls.certificate.read_bytes(), config.tls.private_key.read_bytes())
    except OSError as error:
        raise ConfigError(f"cannot read {error.filename}: {error.strerror}") from error


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
    tls = tls_identity(config)
    async with ledger_access(config) as (client, ledger):
        peers = Peers(config.identity.load(), tls, await read_trust_roots(client))
        try:
            yield Access(client, ledger, peers)
        finally:
            await peers.close()
