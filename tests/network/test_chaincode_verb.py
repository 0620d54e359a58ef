"""`consortium chaincode serve`: its configuration file, and the process."""

import asyncio
import json
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from fabric_protos.peer import proposal_response_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fabric.devpki import Organisation, create_organisation
from gateway.chaincode.config import load_chaincode_config
from gateway.cli.main import run
from gateway.errors import ConfigError, ExitCode
from gateway.toml_file import render
from tests.support.fake_peer import fake_peer
from tests.support.ledger import free_port

PACKAGE_ID = "consortium:" + "0123456789abcdef" * 4
PLAIN = {"chaincode": {"listen": "127.0.0.1:7999", "package_id": PACKAGE_ID, "plain_on_loopback": True}}


@pytest.fixture(scope="module")
def organisation(tmp_path_factory: pytest.TempPathFactory) -> Organisation:
    return create_organisation(tmp_path_factory.mktemp("alpha"), "AlphaMSP", identities={"chaincode": "client", "peer": "peer"})


def secured(organisation: Organisation, listen: str = "127.0.0.1:7999") -> dict[str, dict[str, object]]:
    files = organisation.files("chaincode")
    return {
        "chaincode": {"listen": listen, "package_id": PACKAGE_ID},
        "tls": {"certificate": files.tls_certificate, "private_key": files.tls_private_key, "client_ca": organisation.tls_ca},
    }


def write(folder: Path, sections: dict[str, dict[str, object]]) -> Path:
    path = folder / "chaincode.toml"
    path.write_text(render(sections, folder=folder))
    return path


def test_a_configuration_with_mutual_tls_is_read(tmp_path: Path, organisation: Organisation) -> None:
    settings = load_chaincode_config(write(tmp_path, secured(organisation))).settings()
    assert (settings.listen, settings.package_id, settings.plain_on_loopback) == ("127.0.0.1:7999", PACKAGE_ID, False)
    assert settings.tls is not None
    assert settings.tls().client_ca == organisation.tls_ca.read_bytes()


@pytest.mark.parametrize("listen", ["127.0.0.1:7999", "localhost:7999", "[::1]:7999"])
def test_without_tls_only_on_loopback_and_only_if_it_says_so(tmp_path: Path, listen: str) -> None:
    sections = {"chaincode": {**PLAIN["chaincode"], "listen": listen}}
    assert load_chaincode_config(write(tmp_path, sections)).settings().tls is None


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"listen": "0.0.0.0:7999"}, "plain_on_loopback needs a loopback address, not 0.0.0.0:7999"),
        ({"listen": "chaincode.hospital.example:7999"}, "plain_on_loopback needs a loopback address"),
        ({"plain_on_loopback": False}, r"\[tls\] is missing"),
        ({"package_id": "consortium"}, "chaincode.package_id"),
        ({"package_id": PACKAGE_ID.upper()}, "chaincode.package_id"),
        ({"listen": "7999"}, "write host:port"),
        ({"lisen": "x"}, "unknown key chaincode.lisen"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_chaincode_config(write(tmp_path, {"chaincode": {**PLAIN["chaincode"], **change}}))


def test_tls_and_plain_exclude_each_other(tmp_path: Path, organisation: Organisation) -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        load_chaincode_config(write(tmp_path, {**secured(organisation), **PLAIN}))


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path, organisation: Organisation) -> None:
    sections = secured(organisation)
    sections["tls"]["certificate"] = tmp_path / "lost.pem"
    with pytest.raises(ConfigError, match=r"cannot read .*lost\.pem"):
        load_chaincode_config(write(tmp_path, sections)).settings()


def test_a_taken_port_and_a_foreign_key_are_one_sentence_each(
    tmp_path: Path, organisation: Organisation, capsys: pytest.CaptureFixture[str]
) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = write(tmp_path, secured(organisation, f"127.0.0.1:{taken.getsockname()[1]}"))
        assert run(["chaincode", "serve", "--config", str(config), "--format", "json"]) is ExitCode.BAD_INPUT
    assert json.loads(capsys.readouterr().out)["error_code"] == "PORT_IN_USE"
    sections = secured(organisation, f"127.0.0.1:{free_port()}")
    sections["tls"]["private_key"] = organisation.files("peer").tls_private_key
    assert run(["chaincode", "serve", "--config", str(write(tmp_path, sections)), "--format", "json"]) is ExitCode.BAD_INPUT
    answer = json.loads(capsys.readouterr().out)
    assert answer["error_code"] == "BAD_CONFIG"
    assert answer["message"].endswith("the TLS private key is not the key of the TLS certificate")


@pytest.fixture
async def served(
    tmp_path: Path, organisation: Organisation
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int, object, grpc.ChannelCredentials]]:
    """The verb as a process; its port, where its counters are, and the credentials with which the organisation's peer calls it."""
    port, peer = free_port(), organisation.files("peer")
    sections = secured(organisation, f"127.0.0.1:{port}")
    sections["chaincode"]["metrics"] = f"127.0.0.1:{free_port()}"
    config = write(tmp_path, sections)
    command = [sys.executable, "-m", "gateway.cli", "chaincode", "serve", "--config", config]
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    credentials = grpc.ssl_channel_credentials(
        organisation.tls_ca.read_bytes(), peer.tls_private_key.read_bytes(), peer.tls_certificate.read_bytes()
    )
    try:
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
            state = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=60)
            assert state.status == health_pb2.HealthCheckResponse.SERVING
        yield process, port, sections["chaincode"]["metrics"], credentials
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_peer_is_served_until_sigterm_and_the_log_has_no_values(served) -> None:
    process, port, metrics, credentials = served
    canary = b"patient-4711"
    async with fake_peer(port, credentials) as peer:
        assert await peer.registered == PACKAGE_ID
        answer = proposal_response_pb2.Response.FromString((await peer.invoke("tx-1", "heartbeat", canary)).payload)
        assert (answer.status, answer.message.split(":")[0]) == (500, "DENIED")  # the contract's own answer: that is no certificate
        with await asyncio.to_thread(urllib.request.urlopen, f"http://{metrics}/metrics", timeout=30) as page:
            counted = page.read().decode()
        assert 'consortium_chaincode_calls_total{function="heartbeat",outcome="refused"} 1.0' in counted
        assert "consortium_chaincode_streams 1.0" in counted
        process.send_signal(signal.SIGTERM)
        # The peer is still connected: the service ends the stream and itself.
        _, log = await process.communicate()
    assert process.returncode == 0
    lines = [json.loads(line) for line in log.splitlines()]
    assert any("serving chaincode package" in line["message"] for line in lines)
    assert lines[-1]["message"].startswith("stopping")
    assert canary not in log + counted.encode()


def test_the_documented_configuration_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
    section = page.split("## `consortium chaincode serve`")[1].split("\n## ")[0]
    (example,) = (block for block in section.split("```")[1::2])
    (tmp_path / "chaincode.toml").write_text(example)
    config = load_chaincode_config(tmp_path / "chaincode.toml")
    assert config.tls is not None
    assert config.tls.client_ca == tmp_path / "tls" / "ca.pem"
