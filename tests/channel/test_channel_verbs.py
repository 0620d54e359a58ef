"""`consortium channel` as administrators type it, on the embedded ledger: everything but what its ordering does not take, an update."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from fabric.devledger.config import load
from fabric.devledger.server import start
from gateway.cli.main import run
from gateway.demo.hospitals import DemoHospital
from gateway.demo.network import DemoNetwork, create_network
from gateway.errors import ExitCode
from tests.support.hospital_ca import HospitalCa

FOUNDERS = ("east", "north", "west")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DemoNetwork]:
    folder = tmp_path_factory.mktemp("channel")
    made = create_network(folder / "out", [DemoHospital(name, folder / name) for name in FOUNDERS])
    ledger = await start(load(made.ledger_config))
    yield made
    await ledger.stop()


@pytest.fixture
def hospital(tmp_path: Path) -> HospitalCa:
    return HospitalCa("SouthMSP", tmp_path / "south")


class Shell:
    def __init__(self, capture: pytest.CaptureFixture[str]) -> None:
        self._capture = capture

    async def say(self, *words: str | Path, code: ExitCode = ExitCode.OK) -> Any:
        ended = await asyncio.to_thread(run, [*map(str, words), "--format", "json"])
        answer = json.loads(self._capture.readouterr().out)
        assert ended is code, answer
        return answer["data"] if code is ExitCode.OK else answer["message"]

    async def lines(self, *words: str | Path) -> str:
        assert await asyncio.to_thread(run, list(map(str, words))) is ExitCode.OK
        return self._capture.readouterr().out


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def definition_words(ca: HospitalCa, mspid: str, out: Path) -> list[str | Path]:
    authorities = ["--ca", ca.folder / "msp" / "ca.pem", "--tls-ca", ca.folder / "msp" / "tlsca.pem"]
    return ["channel", "define", "--mspid", mspid, *authorities, "--anchor", "peer.south.example:7051", "--out", out]


async def propose(shell: Shell, network: DemoNetwork, definition: Path, out: Path, **expected: Any) -> Any:
    admin = network.admin(network.hospitals[0])
    return await shell.say("channel", "propose", "--config", admin, "--organisation", definition, "--out", out, **expected)


@pytest.mark.asyncio(loop_scope="module")
async def test_show_names_members_and_orderers_with_their_authorities(shell: Shell, network: DemoNetwork) -> None:
    shown = await shell.say("channel", "show", "--config", network.auditor)
    assert {each["mspid"] for each in shown["organisations"] if each["part"] == "member"} == set(network.organisations)
    assert any(each["part"] == "orderer" for each in shown["organisations"])
    assert all("SHA-256" in line for each in shown["organisations"] for line in each["authorities"])
    assert shown["channel"] in await shell.lines("channel", "show", "--config", network.auditor)


@pytest.mark.asyncio(loop_scope="module")
async def test_signatures_are_gathered_until_a_majority_signed(
    shell: Shell, network: DemoNetwork, hospital: HospitalCa, tmp_path: Path
) -> None:
    definition, update = tmp_path / "organisation.json", tmp_path / "update.pb"
    defined = await shell.say(*definition_words(hospital, "SouthMSP", definition))
    told = await propose(shell, network, definition, update)
    assert [(each["mspid"], each["new"]) for each in told["organisations"]] == [("SouthMSP", True)]
    # What the others compare over the telephone is what the hospital itself was shown.
    assert told["organisations"][0]["authorities"] == defined["authorities"]
    majority = len(network.organisations) // 2 + 1
    for number, mspid in enumerate(network.organisations[:majority], 1):
        told = await shell.say("channel", "sign", update, "--config", network.admin(mspid), "--out", update)
        assert len(told["signers"]) == number
        assert told["missing"] == ([] if number == majority else ["/Channel/Application/Admins"])
    again = await shell.say("channel", "sign", update, "--config", network.admin(network.organisations[0]), "--out", update)
    assert len(again["signers"]) == majority  # a second signature of one certificate is none
    assert await shell.say("channel", "review", update, "--config", network.auditor) == again
    text = await shell.lines("channel", "review", update, "--config", network.auditor)
    assert "adds SouthMSP" in text
    assert "signed by admin" in text


@pytest.mark.asyncio(loop_scope="module")
async def test_an_update_without_enough_signatures_is_not_handed_in(
    shell: Shell, network: DemoNetwork, hospital: HospitalCa, tmp_path: Path
) -> None:
    definition, update = tmp_path / "organisation.json", tmp_path / "update.pb"
    await shell.say(*definition_words(hospital, "SouthMSP", definition))
    await propose(shell, network, definition, update)
    admin = network.admin(network.organisations[0])
    said = await shell.say("channel", "submit", update, "--config", admin, code=ExitCode.BAD_INPUT)
    assert said.startswith("signatures are missing for /Channel/Application/Admins")


@pytest.mark.asyncio(loop_scope="module")
async def test_the_embedded_ledger_takes_no_update_and_says_so(shell: Shell, network: DemoNetwork, tmp_path: Path) -> None:
    mspid = network.hospitals[0]
    organisation = network.pki(mspid)
    definition, update = tmp_path / "organisation.json", tmp_path / "update.pb"
    words = ["--mspid", mspid, "--ca", organisation.ca, "--tls-ca", organisation.tls_ca, "--tls-ca", organisation.ca, "--out", definition]
    await shell.say("channel", "define", *words)
    told = await propose(shell, network, definition, update)
    assert [(each["mspid"], each["new"]) for each in told["organisations"]] == [(mspid, False)]
    signed = await shell.say("channel", "sign", update, "--config", network.admin(mspid), "--out", update)
    assert signed["missing"] == []  # its own authorities are each organisation's own affair
    said = await shell.say("channel", "submit", update, "--config", network.admin(mspid), code=ExitCode.UNAVAILABLE)
    assert "no orderer takes the update" in said


@pytest.mark.asyncio(loop_scope="module")
async def test_what_the_channel_says_already_is_no_proposal(shell: Shell, network: DemoNetwork, tmp_path: Path) -> None:
    mspid = network.hospitals[0]
    organisation = network.pki(mspid)
    definition = tmp_path / "organisation.json"
    await shell.say("channel", "define", "--mspid", mspid, "--ca", organisation.ca, "--tls-ca", organisation.tls_ca, "--out", definition)
    said = await propose(shell, network, definition, tmp_path / "update.pb", code=ExitCode.BAD_INPUT)
    assert "nothing to update" in said
    assert not (tmp_path / "update.pb").exists()


@pytest.mark.asyncio(loop_scope="module")
async def test_only_administrators_sign(shell: Shell, network: DemoNetwork, hospital: HospitalCa, tmp_path: Path) -> None:
    definition, update = tmp_path / "organisation.json", tmp_path / "update.pb"
    await shell.say(*definition_words(hospital, "SouthMSP", definition))
    await propose(shell, network, definition, update)
    said = await shell.say("channel", "sign", update, "--config", network.auditor, "--out", tmp_path / "x", code=ExitCode.BAD_INPUT)
    assert "is a client; a channel update is signed by an administrator" in said
    assert not (tmp_path / "x").exists()


@pytest.mark.asyncio(loop_scope="module")
async def test_files_that_are_no_update_or_another_are_named(
    shell: Shell, network: DemoNetwork, hospital: HospitalCa, tmp_path: Path
) -> None:
    admin = network.admin(network.organisations[0])
    (tmp_path / "letter").write_text("Dear all")
    said = await shell.say("channel", "review", tmp_path / "letter", "--config", admin, code=ExitCode.BAD_INPUT)
    assert said.endswith("letter: it is no channel configuration update")
    said = await shell.say("channel", "submit", tmp_path / "absent", "--config", admin, code=ExitCode.BAD_INPUT)
    assert "cannot read" in said
    updates = []
    for mspid in ("SouthMSP", "SouthernMSP"):
        await shell.say(*definition_words(hospital, mspid, tmp_path / "organisation.json"))
        updates.append(tmp_path / f"{mspid}.pb")
        await propose(shell, network, tmp_path / "organisation.json", updates[-1])
    said = await shell.say("channel", "submit", *updates, "--config", admin, code=ExitCode.BAD_INPUT)
    assert said.endswith("the files hold different updates; have the administrators sign copies of one file")
