"""The gateways' own TLS certificates, renewed while they run: as a server, and as a client of other gateways."""

import asyncio
import shutil
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from fabric.devpki import IdentityFiles, Organisation, create_organisation, issue_identity
from gateway.config import TlsSection
from gateway.errors import ConfigError
from gateway.rpc import Peers, caller_of, new_server
from gateway.trust_roots import TrustRoots


@pytest.fixture(scope="module")
def alpha(tmp_path_factory: pytest.TempPathFactory) -> Organisation:
    return create_organisation(tmp_path_factory.mktemp("alpha") / "a", "AlphaMSP", identities={"before": "client"})


@pytest.fixture(scope="module")
def renewed(alpha: Organisation) -> IdentityFiles:
    return issue_identity(alpha, "after", "client")


@pytest.fixture
def section(alpha: Organisation, tmp_path: Path) -> TlsSection:
    """Files of a gateway, which a test may replace."""
    section, files = TlsSection(certificate=tmp_path / "cert.pem", private_key=tmp_path / "key.pem"), alpha.files("before")
    shutil.copy(files.tls_certificate, section.certificate)
    shutil.copy(files.tls_private_key, section.private_key)
    return section


def renew(section: TlsSection, files: IdentityFiles) -> None:
    shutil.copy(files.tls_certificate, section.certificate)
    shutil.copy(files.tls_private_key, section.private_key)


class Names(health.aio.HealthServicer):
    """Notes who called."""

    def __init__(self, roots: TrustRoots) -> None:
        super().__init__()
        self.roots = roots
        self.called: list[str] = []

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 (gRPC's name)
        self.called.append(caller_of(context, self.roots).name)
        return await super().Check(request, context)


@pytest.fixture
async def server(section: TlsSection, alpha: Organisation) -> AsyncIterator[tuple[Names, str, TrustRoots]]:
    roots = TrustRoots({"AlphaMSP": (alpha.tls_ca.read_bytes(),)})
    server, credentials = new_server(section.watch(), roots)
    names = Names(roots)
    health_pb2_grpc.add_HealthServicer_to_server(names, server)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    yield names, f"127.0.0.1:{port}", roots
    await server.stop(None)


async def check(channel: grpc.aio.Channel) -> None:
    await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())


async def test_others_are_called_with_the_renewed_certificate(server, section, renewed) -> None:
    names, endpoint, roots = server
    peers = Peers("AlphaMSP", section.watch(), roots)
    before = peers.channel("AlphaMSP", endpoint)
    await check(before)
    assert peers.channel("AlphaMSP", endpoint) is before
    renew(section, renewed)
    await check(peers.channel("AlphaMSP", endpoint))
    await check(before)  # what was under way goes on
    await peers.close()
    assert names.called == ["before.AlphaMSP", "after.AlphaMSP", "before.AlphaMSP"]


async def test_new_connections_are_shown_the_renewed_certificate(server, section, renewed, alpha) -> None:
    _, endpoint, _ = server

    def shown() -> str:
        host, _, port = endpoint.rpartition(":")
        context = ssl.create_default_context(cafile=str(alpha.tls_ca))
        context.load_cert_chain(alpha.files("before").tls_certificate, alpha.files("before").tls_private_key)
        with socket.create_connection((host, int(port))) as plain, context.wrap_socket(plain, server_hostname=host) as secured:
            der = secured.getpeercert(binary_form=True)
        assert der is not None
        return x509.load_der_x509_certificate(der).subject.rfc4514_string()

    assert "before.AlphaMSP" in await asyncio.to_thread(shown)
    shutil.copy(renewed.tls_certificate, section.certificate)
    assert "before.AlphaMSP" in await asyncio.to_thread(shown), "half a pair is not shown"
    renew(section, renewed)
    assert "after.AlphaMSP" in await asyncio.to_thread(shown)


def test_files_that_do_not_belong_together_are_named(section, renewed) -> None:
    shutil.copy(renewed.tls_private_key, section.private_key)
    with pytest.raises(ConfigError, match=r"cert\.pem and .*key\.pem: the TLS private key is not the key"):
        section.watch()
