"""A real Hyperledger Fabric network of plain processes on loopback, without containers, in a temporary folder.

Needs FABRIC_HOME: the unpacked official release (bin/, config/, builders/ccaas/bin/), 2.5 or 3.1. One orderer (Raft), one peer
an organisation, and for each organisation one process of our chaincode service, over mutual TLS, with every contract of the channel.

    with FabricNetwork(home, folder, {"consortium": "fabric.contract.entry:invoke"}) as network:
        Gateway.connect(network.endpoint("AlphaMSP"), network.tls_ca("AlphaMSP"), network.channel, "consortium",
                        network.identity("AlphaMSP"))
"""

import json
import os
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from fabric.crypto import SigningIdentity, load_signing_identity
from tests.support.fabric_config import OrdererPlace, PeerPlace, core_yaml, crypto_config, orderer_environment, peer_environment
from tests.support.fabric_config import configtx as configtx_of

CHANNEL = "consortium"
REPOSITORY = Path(__file__).resolve().parents[2]
_START_S = 60.0
_USERS = 3  # User1 to User3 of every organisation, beside its Admin


class NetworkError(Exception):
    """The network did not come up; the message holds what the failing program said."""


@dataclass(frozen=True)
class Program:
    """A process of the network and where it writes its log."""

    process: subprocess.Popen[bytes]
    log: Path


class FabricNetwork:
    """Organisations by MSP id; `contracts` maps a chaincode's name to the `module:function` it runs."""

    def __init__(
        self, home: Path, folder: Path, contracts: Mapping[str, str], mspids: Sequence[str] = ("AlphaMSP", "BetaMSP", "GammaMSP")
    ) -> None:
        self.channel = CHANNEL
        self._bin = home / "bin"
        self._home = home
        self._folder = folder
        self._contracts = dict(contracts)
        self._peers = {mspid: PeerPlace(folder, mspid, *_free_ports(2)) for mspid in mspids}
        self._orderer = OrdererPlace(folder, *_free_ports(2))
        self._service_ports = {mspid: dict(zip(contracts, _free_ports(len(contracts)), strict=True)) for mspid in mspids}
        self._package_ids: dict[tuple[str, str], str] = {}
        self._programs: dict[str, Program] = {}

    def __enter__(self) -> "FabricNetwork":
        try:
            self._up()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process of the network and wait for it."""
        for name in list(self._programs):
            self.stop(name)

    def endpoint(self, mspid: str) -> str:
        return f"127.0.0.1:{self._peers[mspid].port}"

    def tls_ca(self, mspid: str) -> bytes:
        return (self._peers[mspid].tls / "ca.crt").read_bytes()

    def identity(self, mspid: str, user: str = "User1") -> SigningIdentity:
        msp = self._peers[mspid].msp_of(user)
        return load_signing_identity(mspid, next((msp / "signcerts").iterdir()), next((msp / "keystore").iterdir()))

    def log(self, name: str) -> str:
        """The log of a program: `orderer`, `peer-<mspid>` or `chaincode-<mspid>`."""
        return self._programs[name].log.read_text(errors="replace")

    def kill(self, name: str) -> None:
        """End a program without warning (SIGKILL); `start` brings it back."""
        self._programs[name].process.kill()
        self._programs[name].process.wait()

    def stop(self, name: str) -> None:
        program = self._programs.pop(name)
        if program.process.poll() is None:
            program.process.terminate()
            try:
                program.process.wait(20)
            except subprocess.TimeoutExpired:
                program.process.kill()
                program.process.wait()

    def start(self, name: str) -> None:
        """Start a program (again) and wait until it takes connections."""
        kind, _, mspid = name.partition("-")
        if kind == "orderer":
            self._launch(name, [self._bin / "orderer"], orderer_environment(self._orderer), self._orderer.port)
        elif kind == "peer":
            self._launch(name, [self._bin / "peer", "node", "start"], peer_environment(self._peers[mspid]), self._peers[mspid].port)
        else:
            self._start_services(name, mspid)

    def _up(self) -> None:
        (self._folder / "config").mkdir(parents=True)
        self._make_config()
        names = ["orderer", *(f"peer-{mspid}" for mspid in self._peers)]
        for name in names:
            self.start(name)
        self._join()
        for contract in self._contracts:
            self._in_parallel(self._install, contract)
            self._in_parallel(self._approve, contract)
            self._commit(contract)
        for mspid in self._peers:
            self.start(f"chaincode-{mspid}")

    def _make_config(self) -> None:
        config = self._folder / "config"
        places = list(self._peers.values())
        (config / "crypto-config.yaml").write_text(json.dumps(crypto_config(places, _USERS)))
        self._run("cryptogen", "generate", "--config", config / "crypto-config.yaml", "--output", self._folder / "crypto")
        (config / "configtx.yaml").write_text(json.dumps(configtx_of(self._orderer, places)))
        (config / "core.yaml").write_text(core_yaml((self._home / "config" / "core.yaml").read_text(), self._home / "builders" / "ccaas"))
        (config / "orderer.yaml").write_text((self._home / "config" / "orderer.yaml").read_text())
        self._run("configtxgen", "-profile", "Channel", "-channelID", CHANNEL, "-outputBlock", self._genesis)

    @property
    def _genesis(self) -> Path:
        return self._folder / "genesis.block"

    def _join(self) -> None:
        tls = self._orderer.tls
        _until(
            lambda: self._run(
                *("osnadmin", "channel", "join", "--channelID", CHANNEL, "--config-block", self._genesis),
                *("-o", f"127.0.0.1:{self._orderer.admin_port}", "--ca-file", tls / "ca.crt"),
                *("--client-cert", tls / "server.crt", "--client-key", tls / "server.key"),
            )
        )
        for mspid in self._peers:
            self._join_peer(mspid)

    def _join_peer(self, mspid: str) -> None:
        _until(lambda: self._as_admin(mspid, "channel", "join", "-b", self._genesis))

    def _install(self, mspid: str, contract: str) -> None:
        package = self._folder / f"{contract}-{mspid}.tgz"
        package.write_bytes(_package(contract, self._connection(mspid, contract)))
        self._package_ids[mspid, contract] = self._as_admin(mspid, "lifecycle", "chaincode", "calculatepackageid", package).strip()
        self._as_admin(mspid, "lifecycle", "chaincode", "install", package)

    def _connection(self, mspid: str, contract: str) -> dict[str, Any]:
        """What a peer reads to reach its organisation's chaincode service."""
        peer = self._peers[mspid]
        return {
            "address": f"127.0.0.1:{self._service_ports[mspid][contract]}",
            "dial_timeout": "10s",
            "tls_required": True,
            "client_auth_required": True,
            "client_cert": (peer.tls / "server.crt").read_text(),
            "client_key": (peer.tls / "server.key").read_text(),
            "root_cert": (peer.tls / "ca.crt").read_text(),
        }

    def _approve(self, mspid: str, contract: str) -> None:
        package_id = self._package_ids[mspid, contract]
        arguments = (*self._definition(contract), "--package-id", package_id)
        _until(lambda: self._as_admin(mspid, "lifecycle", "chaincode", "approveformyorg", *arguments))

    def _commit(self, contract: str) -> None:
        peers = [
            argument
            for peer in self._peers.values()
            for argument in ("--peerAddresses", f"127.0.0.1:{peer.port}", "--tlsRootCertFiles", peer.tls / "ca.crt")
        ]
        self._as_admin(next(iter(self._peers)), "lifecycle", "chaincode", "commit", *self._definition(contract), *peers)

    def _definition(self, contract: str) -> list[str | Path]:
        orderer = ["-o", f"127.0.0.1:{self._orderer.port}", "--tls", "--cafile", self._orderer.tls / "ca.crt"]
        return [*orderer, "--channelID", CHANNEL, "--name", contract, "--version", "1", "--sequence", "1"]

    def _start_services(self, name: str, mspid: str) -> None:
        tls = self._peers[mspid].service_tls
        services = [
            {
                "contract": contract,
                "listen": f"127.0.0.1:{self._service_ports[mspid][chaincode]}",
                "package_id": self._package_ids[mspid, chaincode],
                "certificate": str(tls / "server.crt"),
                "private_key": str(tls / "server.key"),
                "client_ca": str(tls / "ca.crt"),
            }
            for chaincode, contract in self._contracts.items()
        ]
        file = self._folder / f"{name}.json"
        file.write_text(json.dumps(services))
        ports = list(self._service_ports[mspid].values())
        self._launch(name, [sys.executable, "-m", "tests.support.chaincode_process", file], dict(os.environ), ports[-1])

    def _launch(self, name: str, command: Sequence[str | Path], environment: Mapping[str, str], port: int) -> None:
        log = self._folder / f"{name}.log"
        with log.open("ab") as sink:
            process = subprocess.Popen(command, env=environment, cwd=REPOSITORY, stdout=sink, stderr=subprocess.STDOUT)
        self._programs[name] = Program(process, log)
        deadline = time.monotonic() + _START_S
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise NetworkError(f"{name} did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)

    def _in_parallel(self, step: Callable[[str, str], None], contract: str) -> None:
        """A step of every organisation's admin at once."""
        with ThreadPoolExecutor(len(self._peers)) as pool:
            list(pool.map(lambda mspid: step(mspid, contract), self._peers))

    def _as_admin(self, mspid: str, *arguments: str | Path) -> str:
        peer = self._peers[mspid]
        environment = {
            "CORE_PEER_LOCALMSPID": mspid,
            "CORE_PEER_ADDRESS": f"127.0.0.1:{peer.port}",
            "CORE_PEER_TLS_ENABLED": "true",
            "CORE_PEER_TLS_ROOTCERT_FILE": str(peer.tls / "ca.crt"),
            "CORE_PEER_MSPCONFIGPATH": str(peer.msp_of("Admin")),
        }
        return self._run("peer", *arguments, **environment)

    def _run(self, program: str, *arguments: str | Path, **environment: str) -> str:
        done = subprocess.run(
            [self._bin / program, *arguments],
            env={**os.environ, "FABRIC_CFG_PATH": str(self._folder / "config"), "FABRIC_LOGGING_SPEC": "WARN", **environment},
            capture_output=True,
            text=True,
            timeout=_START_S,
            check=False,
        )
        if done.returncode != 0:
            raise NetworkError(f"{program} {' '.join(map(str, arguments[:3]))} failed: {done.stdout[-1000:]}{done.stderr[-2000:]}")
        return done.stdout


def _package(contract: str, connection: Mapping[str, Any]) -> bytes:
    """A chaincode package for Fabric's built-in `ccaas` builder: nothing but where the service listens."""
    code = _tar({"connection.json": json.dumps(connection).encode()})
    return _tar({"metadata.json": json.dumps({"type": "ccaas", "label": contract}).encode(), "code.tar.gz": code})


def _tar(files: Mapping[str, bytes]) -> bytes:
    archive = BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, BytesIO(data))
    return archive.getvalue()


def _until(step: Callable[[], Any]) -> None:
    """Try a step until it succeeds: a server that listens is not yet one that serves."""
    deadline = time.monotonic() + _START_S
    while True:
        try:
            step()
        except NetworkError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.3)
        else:
            return


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
