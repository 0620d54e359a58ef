"""A hospital with its own authority joins a running network, renews and revokes certificates, and the auditor follows it all."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fabric_protos.msp.identities_pb2 import SerializedIdentity

from fabric.client.errors import ContractRefused, EndorseError, LedgerError, LedgerUnavailable
from fabric.ledger import Ledger, Receipt
from fabric.transactions import EndorserTransaction, parse_envelope
from gateway.auditor.verify import verify_ledger
from gateway.cli.main import run
from gateway.config import load_client_config
from gateway.connect import ledger_access, open_ledger
from gateway.errors import ExitCode
from gateway.network import launches
from gateway.network.create import create
from gateway.network.description import CHAINCODE, CHANNEL, Consensus, MemberPlace, MemberPorts, Network, Orderers, save
from gateway.network.home import FabricHome, open_home
from gateway.network.msp_folders import ADMIN, PEER, write_msp
from gateway.network.programs import Programs, until
from gateway.network.tools import Tools
from gateway.network.up import up
from gateway.toml_file import render
from tests.support.hospital_ca import HospitalCa
from tests.support.ledger import free_port

pytestmark = pytest.mark.fabric

Type = Callable[..., Any]

FOUNDERS = ("Org1MSP", "Org2MSP", "Org3MSP")
JOINING = "Org4MSP"
TRIES, PAUSE_SECONDS = 20, 1.0


class Joining:
    """The fourth hospital, and the machine on which its programs run."""

    def __init__(self, founded: Network, home: FabricHome, say: Type) -> None:
        self.ca = HospitalCa(JOINING, founded.folder / founded.description.pki / JOINING)
        ports = MemberPorts(mspid=JOINING, peer=free_port(), peer_chaincode=free_port(), service=free_port())
        members = (*founded.description.members, ports)
        self.network = Network(founded.folder, founded.description.model_copy(update={"members": members}))
        save(self.network)  # whatever runs of it is found again
        self._home, self._say = home, say
        self._programs = Programs(founded.folder)
        self._tools = Tools(home, self.network)

    @property
    def place(self) -> MemberPlace:
        return self.network.member(JOINING)

    def path(self, name: str) -> Path:
        return self.ca.folder / name

    def define(self, *more: str | Path, ca: Sequence[str] = ("msp/ca.pem",)) -> Path:
        out = self.path("organisation.json")
        authorities = [word for name in ca for word in ("--ca", self.path(name))]
        words = ("--tls-ca", self.path("msp/tlsca.pem"), "--anchor", self.place.endpoint, *more, "--out", out)
        self._say("channel", "define", "--mspid", JOINING, *authorities, *words)
        return out

    def config(self, name: str) -> Path:
        """A configuration file of one of the hospital's identities."""
        path, files = self.path(f"{name}.toml"), self.ca.organisation.files(name)
        ledger = {"endpoint": self.place.endpoint, "tls_ca": self.ca.organisation.tls_ca, "channel": CHANNEL, "chaincode": CHAINCODE}
        identity = {"mspid": JOINING, "certificate": files.certificate, "private_key": files.private_key}
        path.write_text(render({"ledger": ledger, "identity": identity}, folder=path.parent))
        return path

    def write_msps(self) -> None:
        write_msp(self.ca.organisation, PEER, self.place.msp(PEER))
        with suppress(FileExistsError):  # the administrator's is the script's own
            self.place.msp(ADMIN).symlink_to(self.path("admin/msp"))

    def start_peer(self) -> None:
        launch = launches.peer(self._home, self.network, self.place)
        self._programs.stop([launch.name])
        self._programs.start(launch)
        self._programs.until_listening(launch)

    def join(self) -> None:
        """The peer fetches the first block from the ordering service, and from there follows the whole chain."""
        first = self.path("genesis.block")
        until(lambda: self._tools.peer(self.place, "channel", "fetch", "0", first, *self._tools.channel()))
        until(lambda: self._tools.peer(self.place, "channel", "join", "-b", first))

    def serve_contract(self) -> None:
        endpoint, own = self.place.service_endpoint, ("--mspid", JOINING, "--organisation", self.ca.folder)
        made = self._say("chaincode", "package", *own, "--address", endpoint, "--listen", endpoint)
        self._tools.peer(self.place, "lifecycle", "chaincode", "install", made["package"])
        service = launches.service(self.place)
        self._programs.start(replace(service, command=[*service.command[:-1], made["config"]]))
        self._programs.until_listening(service)
        query = ("lifecycle", "chaincode", "querycommitted", "-C", CHANNEL, "-n", CHAINCODE, "-O", "json")
        committed = json.loads(until_answered(lambda: self._tools.peer(self.place, *query)))
        definition = ("--name", CHAINCODE, "--version", committed["version"], "--sequence", str(committed["sequence"]))
        approve = ("lifecycle", "chaincode", "approveformyorg", *self._tools.channel(), *definition, "--package-id", made["package_id"])
        until(lambda: self._tools.peer(self.place, *approve))

    def answers(self) -> None:
        words = ("chaincode", "query", "-C", CHANNEL, "-n", CHAINCODE, "-c", json.dumps({"Args": ["version"]}))
        until(lambda: self._tools.peer(self.place, *words))

    def healthy(self) -> str:
        """What the peer says of itself when it is asked with its own identity."""
        return self._tools.peer(self.place, "channel", "list")


def until_answered(step):
    answers = []
    until(lambda: answers.append(step()))
    return answers[-1]


def endorsers(config: Path, call: Callable[[Ledger], Awaitable[Receipt]]) -> list[str]:
    """Make a call that writes; gives the MSP ids of the peers that endorsed it, as its block has them.

    Peers that have just joined or restarted are found by the others after a while, and may be a block behind: then nothing was written.
    """

    async def work() -> list[str]:
        async with ledger_access(load_client_config(config)) as (client, ledger):
            receipt = await call(ledger)
            block = await anext(aiter(client.blocks(start=receipt.block_number, stop=receipt.block_number)))
            parsed = [parse_envelope(data) for data in block.data.data]
            (found,) = [each for each in parsed if isinstance(each, EndorserTransaction) and each.tx_id == receipt.tx_id]
            return sorted(SerializedIdentity.FromString(each.endorser).mspid for each in found.endorsements)

    for left in reversed(range(TRIES)):
        try:
            return asyncio.run(work())
        except (EndorseError, LedgerUnavailable):
            if not left:
                raise
            time.sleep(PAUSE_SECONDS)
    raise AssertionError("the last try returns or raises")


def ask(config: Path) -> int:
    """How many organisations the contract's register holds."""

    async def work() -> int:
        async with ledger_access(load_client_config(config)) as (_, ledger):
            return len(await ledger.organisations())

    return asyncio.run(work())


def refused_by_fabric(config: Path) -> bool:
    """Whether the peer itself refuses an identity, before the contract is asked."""
    with pytest.raises(LedgerError) as refused:
        ask(config)
    return not isinstance(refused.value, ContractRefused) and "access denied" in str(refused.value)


def enrol(hospital: Joining) -> list[str]:
    """The administrator puts the gateway's certificate on the contract's register; gives who endorsed."""
    fingerprint = load_client_config(hospital.config("gateway")).identity.load().fingerprint
    return endorsers(hospital.config(ADMIN), lambda ledger: ledger.register_identity(role="gateway", fingerprint=fingerprint, endpoint=""))


def change(say: Type, definition: Path, signers: Sequence[Path], folder: Path) -> dict:
    """One proposes, all sign copies of it, the first hands them in; gives what the proposal said."""
    proposal = folder / "update.pb"
    told = say("channel", "propose", "--config", signers[0], "--organisation", definition, "--out", proposal)
    signed = [folder / f"update-{number}.pb" for number in range(len(signers))]
    for config, out in zip(signers, signed, strict=True):
        say("channel", "sign", proposal, "--config", config, "--out", out)
    say("channel", "submit", *signed, "--config", signers[0])
    return told


@pytest.mark.parametrize(("consensus", "count"), [("raft", 1), ("bft", 4)])
def test_a_hospital_joins_revokes_and_rotates_and_the_audit_follows(
    fabric_home: Path, folder: Path, say: Type, tmp_path: Path, consensus: Consensus, count: int
) -> None:
    home = open_home(fabric_home)
    if consensus == "bft" and home.version < (3, 0):
        pytest.skip("BFT ordering came with Fabric 3.0; FABRIC_HOME is older")
    founded = create(folder, FOUNDERS, Orderers(consensus=consensus, count=count), client="client")
    up(founded, home, lambda _: None)
    first, second = (folder / "admins" / f"{mspid}.toml" for mspid in FOUNDERS[:2])
    endorsers(first, lambda ledger: ledger.register_organisation(name="One", kind="hospital"))

    # It joins: its own authority, a definition without secrets, two of three administrators.
    hospital = Joining(founded, home, say)
    for name, unit in ((ADMIN, "admin"), (PEER, "peer"), ("chaincode", "client"), ("chaincode-client", "client"), ("gateway", "client")):
        hospital.ca.issue(name, unit)
    definition = hospital.define()
    told = say("channel", "propose", "--config", first, "--organisation", definition, "--out", tmp_path / "join.pb")
    assert [(each["mspid"], each["new"]) for each in told["organisations"]] == [(JOINING, True)]
    assert told["missing"] == ["/Channel/Application/Admins"]
    say("channel", "sign", tmp_path / "join.pb", "--config", first, "--out", tmp_path / "one.pb")
    assert run(["channel", "submit", str(tmp_path / "one.pb"), "--config", str(first)]) is ExitCode.BAD_INPUT
    assert say("channel", "sign", tmp_path / "join.pb", "--config", second, "--out", tmp_path / "two.pb")["missing"] == [
        "/Channel/Application/Admins"
    ]
    say("channel", "submit", tmp_path / "one.pb", tmp_path / "two.pb", "--config", second)
    members = [each["mspid"] for each in say("channel", "show", "--config", first)["organisations"] if each["part"] == "member"]
    assert members == [*FOUNDERS, JOINING]

    hospital.write_msps()
    hospital.start_peer()
    hospital.join()
    assert CHANNEL in hospital.healthy()
    hospital.serve_contract()
    hospital.answers()
    signed = endorsers(hospital.config(ADMIN), lambda ledger: ledger.register_organisation(name="Four", kind="hospital"))
    assert JOINING in signed
    assert len(signed) == 3  # the majority of four
    enrol(hospital)
    assert ask(hospital.config("gateway")) == 2

    # A certificate is renewed, and the one before it revoked: its own administrator decides alone.
    gateway = hospital.ca.organisation.files("gateway")
    hospital.ca.issue("gateway", "client")
    enrol(hospital)
    stolen = hospital.config("gateway").read_text().replace("gateway/", "gateway/previous/")
    hospital.path("stolen.toml").write_text(stolen)
    assert ask(hospital.path("stolen.toml")) == 2
    hospital.ca.revoke(gateway.certificate.parent / "previous" / "cert.pem")
    change(say, hospital.define("--crl", hospital.path("msp/crl.pem")), [hospital.config(ADMIN)], tmp_path)
    assert refused_by_fabric(hospital.path("stolen.toml"))
    assert ask(hospital.config("gateway")) == 2

    # The authority is exchanged: first beside the old one, then, with every certificate renewed, without it.
    hospital.ca.rotate()
    both = hospital.define("--crl", hospital.path("msp/crl-previous.pem"), ca=("msp/ca.pem", "msp/ca-previous.pem"))
    change(say, both, [hospital.config(ADMIN)], tmp_path)
    for name, unit in ((ADMIN, "admin"), (PEER, "peer")):
        hospital.ca.issue(name, unit)
    hospital.write_msps()
    hospital.start_peer()
    hospital.answers()
    change(say, hospital.define(), [hospital.config(ADMIN)], tmp_path)
    assert refused_by_fabric(hospital.config("gateway"))  # of the authority that is gone
    hospital.ca.issue("gateway", "client")
    assert JOINING in enrol(hospital)  # its peer endorses under the new authority
    assert ask(hospital.config("gateway")) == 2
    report = asyncio.run(audit(hospital.config("gateway")))
    assert (report.reason, report.problems) == ("", ())
    assert list(report.organisations) == [*FOUNDERS, JOINING]


async def audit(config: Path):
    client = open_ledger(load_client_config(config))
    try:
        return await verify_ledger(client)
    finally:
        await client.close()
