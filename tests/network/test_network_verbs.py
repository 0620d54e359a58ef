"""`consortium network`, typed against a release whose programs only pretend: what is started, in which order, and what is left."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fabric.contract.release import RELEASE
from gateway.cli.main import run
from gateway.errors import ExitCode
from gateway.network.description import load
from gateway.network.status import down, running
from tests.support.fabric_home import calls, let_fail, make_home


class Shell:
    """Types verbs on one network's folder."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.home = make_home(folder / "home")
        self.out = folder / "net"
        self._capture = capture

    def say(self, *words: str | Path, code: ExitCode = ExitCode.OK) -> Any:
        ended = run([*map(str, words), "--format", "json"])
        answer = json.loads(self._capture.readouterr().out)
        assert (ended, answer["exit_code"]) == (code, code), answer
        return answer["data"] if code is ExitCode.OK else answer

    def up(self, *words: str, code: ExitCode = ExitCode.OK) -> Any:
        return self.say("network", "up", "--fabric-home", self.home, "--out", self.out, *words, code=code)

    def running(self) -> list[str]:
        return list(running(load(self.out)))


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    shell = Shell(tmp_path, capsys)
    yield shell
    if shell.out.is_dir() and any(shell.out.iterdir()):
        down(load(shell.out))


def test_up_down_and_up_again(shell: Shell) -> None:
    made = shell.up("--orgs", "2", "--orderers", "raft:3")
    names = ["orderer-1", "orderer-2", "orderer-3", "peer-Org1MSP", "peer-Org2MSP", "chaincode-Org1MSP", "chaincode-Org2MSP"]
    assert made["up"]
    assert [(each["name"], each["state"]) for each in made["programs"]] == [(name, "running") for name in names]
    assert shell.say("network", "status", "--out", shell.out) == made
    first = calls(shell.home)
    assert sum("channel join" in call for call in first) == 5
    for step, count in (("install", 2), ("approveformyorg", 2), ("commit", 1), ("query -C", 2)):
        assert sum(f"chaincode {step}" in call for call in first) == count
    commit = next(call for call in first if "chaincode commit" in call)
    assert commit.count("--peerAddresses") == 2
    refused = shell.up(code=ExitCode.BAD_INPUT)
    assert "stop them first with `consortium network down`" in refused["message"]
    assert shell.running() == names
    assert shell.say("network", "down", "--out", shell.out) == {"stopped": names}
    assert shell.running() == []
    assert shell.say("network", "down", "--out", shell.out) == {"stopped": []}
    assert not shell.say("network", "status", "--out", shell.out)["up"]
    again = shell.up()
    assert [each["endpoint"] for each in again["programs"]] == [each["endpoint"] for each in made["programs"]]
    second = calls(shell.home)[len(first) :]
    assert [call for call in second if "join" in call or "lifecycle" in call] == []


def test_a_step_that_fails_is_told_of_and_leaves_nothing_running(shell: Shell) -> None:
    let_fail(shell.home, "lifecycle chaincode install")
    failed = shell.up("--orgs", "1", "--orderers", "raft:1", code=ExitCode.UNAVAILABLE)
    assert "peer lifecycle chaincode install failed: told to fail" in failed["message"]
    assert shell.running() == []
    let_fail(shell.home)  # once the cause is mended, the same command goes the whole way
    shell.up()
    assert sum("chaincode commit" in call for call in calls(shell.home)) == 1


def test_a_program_that_dies_at_once_is_named_with_its_last_words(shell: Shell) -> None:
    let_fail(shell.home, "bin/orderer")
    failed = shell.up("--orgs", "1", "--orderers", "raft:1", code=ExitCode.UNAVAILABLE)
    assert "orderer-1 ended (told to fail); its log is" in failed["message"]
    assert shell.running() == []


def test_an_interrupted_start_leaves_nothing_running(shell: Shell) -> None:
    (shell.home / "bin" / "osnadmin").write_text(f"#!{sys.executable}\nimport sys\nsys.exit('not yet')\n")
    command = [sys.executable, "-m", "gateway.cli", "network", "up", "--fabric-home", shell.home, "--out", shell.out, "--orgs", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "programs run" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == ExitCode.INTERRUPTED
    assert shell.running() == []


def test_what_belongs_to_the_network_s_making_is_refused_later(shell: Shell) -> None:
    shell.up("--orgs", "1", "--orderers", "raft:1")
    shell.say("network", "down", "--out", shell.out)
    for words in (("--orgs", "2"), ("--orderers", "raft:3")):
        assert "holds a network already" in shell.up(*words, code=ExitCode.BAD_INPUT)["message"]


def test_one_program_that_died_is_seen(shell: Shell) -> None:
    made = shell.up("--orgs", "1", "--orderers", "raft:1")
    os.kill(made["programs"][0]["pid"], signal.SIGKILL)
    while "orderer-1" in shell.running():
        time.sleep(0.01)
    found = shell.say("network", "status", "--out", shell.out)
    assert (found["up"], found["programs"][0]["state"], found["programs"][0]["pid"]) == (False, "stopped", None)
    assert shell.say("network", "down", "--out", shell.out) == {"stopped": ["peer-Org1MSP", "chaincode-Org1MSP"]}


def test_a_port_that_was_taken_in_the_meantime_is_named(shell: Shell) -> None:
    shell.up("--orgs", "1", "--orderers", "raft:1")
    shell.say("network", "down", "--out", shell.out)
    endpoint = load(shell.out).members[0].endpoint
    with socket.create_server(("127.0.0.1", int(endpoint.split(":")[1]))):
        refused = shell.up(code=ExitCode.BAD_INPUT)
    assert (refused["error_code"], refused["message"].split(",")[0]) == ("PORT_IN_USE", endpoint)
    assert shell.running() == []


def test_bft_on_an_old_release_and_wrong_words_make_nothing(shell: Shell) -> None:
    make_home(shell.home, peer="2.5.16", orderer="2.5.16", configtxgen="2.5.16")
    assert "BFT ordering came with 3.0" in shell.up("--orderers", "bft:4", code=ExitCode.BAD_INPUT)["message"]
    assert "write one of raft:1" in shell.up("--orderers", "kafka:3", code=ExitCode.BAD_INPUT)["message"]
    shell.up("--orgs", "0", code=ExitCode.USAGE)
    assert not shell.out.exists()


@pytest.mark.parametrize("verb", ["down", "status"])
def test_a_folder_without_network_is_refused(shell: Shell, verb: str) -> None:
    assert "holds no network" in shell.say("network", verb, "--out", shell.out, code=ExitCode.BAD_INPUT)["message"]


def made_under(shell: Shell, contract: str) -> None:
    """Have the network be one that an earlier (or a later) program made."""
    description = json.loads((shell.out / "network.json").read_text())
    (shell.out / "network.json").write_text(json.dumps({**description, "contract": contract}))


def upgrade(shell: Shell, code: ExitCode = ExitCode.OK) -> Any:
    return shell.say("network", "upgrade", "--fabric-home", shell.home, "--out", shell.out, code=code)


def test_an_upgrade_puts_new_services_in_the_place_of_the_old(shell: Shell) -> None:
    shell.up("--orgs", "2", "--orderers", "raft:1")
    made_under(shell, "1.0")
    before = shell.running()
    after = upgrade(shell)
    assert (after["up"], after["contract"], after["sequence"], after["upgrade"]) == (True, RELEASE.rules, 2, None)
    assert shell.running() == [f"{name}-2" if name.startswith("chaincode") else name for name in before]
    said = [call for call in calls(shell.home) if "lifecycle chaincode commit" in call]
    assert [("--sequence 1 " in call, "--sequence 2 " in call) for call in said] == [(True, False), (False, True)]
    assert "there is nothing to upgrade" in upgrade(shell, code=ExitCode.BAD_INPUT)["message"]
    shell.say("network", "down", "--out", shell.out)
    assert shell.up() == shell.say("network", "status", "--out", shell.out)
    assert "chaincode-Org1MSP-2" in shell.running()


@pytest.mark.parametrize("step", ["chaincode install", "approveformyorg", "chaincode commit"])
def test_an_upgrade_that_failed_is_gone_on_with(shell: Shell, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network goes on with the old contract meanwhile, and a restart in between starts both versions' services."""
    monkeypatch.setattr("gateway.network.lifecycle.until", lambda attempt: attempt())
    shell.up("--orgs", "1", "--orderers", "raft:1")
    made_under(shell, "1.0")
    let_fail(shell.home, step)
    upgrade(shell, code=ExitCode.UNAVAILABLE)
    state = shell.say("network", "status", "--out", shell.out)
    assert (state["contract"], state["sequence"], state["upgrade"]) == ("1.0", 1, RELEASE.rules)
    assert [name for name in shell.running() if name.startswith("chaincode")] == ["chaincode-Org1MSP", "chaincode-Org1MSP-2"]
    ports = [each["endpoint"] for each in state["programs"]]
    let_fail(shell.home)
    shell.say("network", "down", "--out", shell.out)
    shell.up()
    after = upgrade(shell)
    assert (after["contract"], after["upgrade"]) == (RELEASE.rules, None)
    assert {each["endpoint"] for each in after["programs"]} < set(ports)


def test_what_cannot_be_upgraded_is_refused_with_a_sentence(shell: Shell) -> None:
    shell.up("--orgs", "1", "--orderers", "raft:1")
    made_under(shell, "99.0")
    assert "which is earlier, so there is nothing to upgrade" in upgrade(shell, code=ExitCode.BAD_INPUT)["message"]
    made_under(shell, "1.0")
    description = json.loads((shell.out / "network.json").read_text())
    (shell.out / "network.json").write_text(json.dumps({**description, "upgrade": {"contract": "1.7", "services": [4711]}}))
    assert "to contract 1.7 is under way" in upgrade(shell, code=ExitCode.BAD_INPUT)["message"]
    (shell.out / "network.json").write_text(json.dumps(description))
    shell.say("network", "down", "--out", shell.out)
    assert "orderer-1, peer-Org1MSP of" in upgrade(shell, code=ExitCode.BAD_INPUT)["message"]
    made_under(shell, "99.0")
    assert "is under contract 99.0, later than this program's" in shell.up(code=ExitCode.BAD_INPUT)["message"]


def test_a_network_that_does_not_say_its_contract_is_of_the_first(shell: Shell) -> None:
    shell.up("--orgs", "1", "--orderers", "raft:1")
    description = json.loads((shell.out / "network.json").read_text())
    for name in ("contract", "sequence", "upgrade"):
        del description[name]
    (shell.out / "network.json").write_text(json.dumps(description))
    assert (load(shell.out).description.contract, load(shell.out).description.sequence) == ("1.0", 1)
