"""Who may connect to the service, and where it may listen."""

import asyncio
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
import grpc.aio
import pytest
from fabric_protos.peer import proposal_response_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fabric.chaincode.errors import ChaincodeServiceError
from fabric.chaincode.messages import Message
from fabric.contract.stub import Stub
from fabric.crypto import IdentityError
from fabric.devpki import Organisation, create_organisation, issue_identity
from fabric.tls import MutualTls, TlsIdentity
from gateway.chaincode.config import ServiceTlsSection
from tests.support.fake_peer import fake_peer


@dataclass(frozen=True)
class Side:
    ca: bytes
    certificate: bytes
    private_key: bytes


@pytest.fixture(scope="module")
def organisation(tmp_path_factory) -> Organisation:
    return create_organisation(tmp_path_factory.mktemp("alpha"), "AlphaMSP", identities={"peer": "peer", "service": "peer"})


@pytest.fixture(scope="module")
def stranger(tmp_path_factory) -> Organisation:
    return create_organisation(tmp_path_factory.mktemp("beta"), "BetaMSP", identities={"peer": "peer"})


def _side(organisation: Organisation, name: str) -> Side:
    files = organisation.files(name)
    return Side(organisation.tls_ca.read_bytes(), files.tls_certificate.read_bytes(), files.tls_private_key.read_bytes())


@pytest.fixture
async def secured(start, organisation):
    side = _side(organisation, "service")
    tls = MutualTls(TlsIdentity(side.certificate, side.private_key), side.ca)
    return await start(tls=lambda: tls, plain_on_loopback=False)


async def test_a_peer_of_the_organisation_is_served_over_mutual_tls(secured, organisation) -> None:
    side = _side(organisation, "peer")
    async with fake_peer(secured.port, grpc.ssl_channel_credentials(side.ca, side.private_key, side.certificate)) as peer:
        assert (await peer.invoke("tx", "put", b"k", b"v")).payload


async def test_a_peer_without_certificate_or_with_a_strangers_is_not(secured, organisation, stranger) -> None:
    ca, other = _side(organisation, "peer").ca, _side(stranger, "peer")
    for credentials in (grpc.ssl_channel_credentials(ca), grpc.ssl_channel_credentials(ca, other.private_key, other.certificate), None):
        with pytest.raises(grpc.aio.AioRpcError):
            async with fake_peer(secured.port, credentials):
                pass


@pytest.mark.parametrize(
    "settings", [{"plain_on_loopback": False}, {"listen": "0.0.0.0:0"}, {"listen": "[::]:0"}, {"listen": "hospital.example:0"}]
)
async def test_without_tls_only_loopback_and_only_when_told(start, settings) -> None:
    with pytest.raises(ChaincodeServiceError, match="no TLS"):
        await start(**settings)


async def test_a_taken_port_is_said(start, service) -> None:
    with pytest.raises(ChaincodeServiceError, match=f"localhost:{service.port}"):
        await start(listen=f"localhost:{service.port}")


async def test_it_reports_its_health(service) -> None:
    async with grpc.aio.insecure_channel(f"localhost:{service.port}") as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_stopping_answers_what_runs_turns_new_calls_away_and_ends_the_streams(start) -> None:
    entered, released = threading.Event(), threading.Event()

    def contract(_stub: Stub, _function: str, _args: Sequence[bytes]) -> bytes:
        entered.set()
        released.wait()
        return b"answered"

    service = await start(contract)
    async with fake_peer(service.port) as peer:
        running = asyncio.create_task(peer.invoke("running", "slow"))
        await asyncio.to_thread(entered.wait)
        stopping = asyncio.create_task(service.stop(3600))  # much longer than the test may take: the peer stays connected
        await asyncio.sleep(0)
        late = await peer.invoke("late", "slow")
        assert (late.type, late.payload) == (Message.ERROR, b"the chaincode service is busy or stopping")
        assert not running.done()
        released.set()
        assert proposal_response_pb2.Response.FromString((await running).payload).payload == b"answered"
        await stopping


async def test_a_renewed_certificate_is_shown_to_new_peers_and_streams_go_on(start, organisation, tmp_path) -> None:
    """The old and the new certificate are told apart by the name that the peer insists on."""
    own, renewed = (issue_identity(organisation, name, "peer") for name in ("before", "after"))
    section = ServiceTlsSection(certificate=tmp_path / "cert.pem", private_key=tmp_path / "key.pem", client_ca=tmp_path / "ca.pem")
    shutil.copy(organisation.tls_ca, section.client_ca)
    shutil.copy(own.tls_certificate, section.certificate)
    shutil.copy(own.tls_private_key, section.private_key)
    service = await start(tls=section.watch(), plain_on_loopback=False)
    side = _side(organisation, "peer")
    credentials = grpc.ssl_channel_credentials(side.ca, side.private_key, side.certificate)
    async with fake_peer(service.port, credentials, server_name="before") as connected:
        shutil.copy(renewed.tls_certificate, section.certificate)  # not its key yet
        async with fake_peer(service.port, credentials, server_name="before") as other:
            assert (await other.invoke("tx", "put", b"k", b"v")).payload
        shutil.copy(renewed.tls_private_key, section.private_key)
        async with fake_peer(service.port, credentials, server_name="after") as other:
            assert (await other.invoke("tx", "put", b"k", b"v")).payload
        with pytest.raises(grpc.aio.AioRpcError):
            async with fake_peer(service.port, credentials, server_name="before"):
                pass
        assert (await connected.invoke("tx", "put", b"k", b"v")).payload


async def test_a_new_authority_of_the_peers_is_let_in_without_a_restart(start, organisation, stranger, tmp_path) -> None:
    files = organisation.files("service")
    section = ServiceTlsSection(certificate=files.tls_certificate, private_key=files.tls_private_key, client_ca=tmp_path / "ca.pem")
    shutil.copy(organisation.tls_ca, section.client_ca)
    service = await start(tls=section.watch(), plain_on_loopback=False)
    other = _side(stranger, "peer")
    credentials = grpc.ssl_channel_credentials(_side(organisation, "peer").ca, other.private_key, other.certificate)
    with pytest.raises(grpc.aio.AioRpcError):
        async with fake_peer(service.port, credentials):
            pass
    section.client_ca.write_bytes(organisation.tls_ca.read_bytes() + stranger.tls_ca.read_bytes())
    async with fake_peer(service.port, credentials) as peer:
        assert (await peer.invoke("tx", "put", b"k", b"v")).payload


def test_a_key_of_another_certificate_is_refused_before_anyone_connects(organisation) -> None:
    with pytest.raises(IdentityError, match="not the key of the TLS certificate"):
        TlsIdentity(_side(organisation, "service").certificate, _side(organisation, "peer").private_key)
    with pytest.raises(IdentityError, match="not PEM"):
        TlsIdentity(b"half a certif", _side(organisation, "peer").private_key)
