"""The statement for finance: every token's way, and no line too few."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from fabric.contract.keys import key
from gateway.auditor.token_statement import CONSORTIUM, Entry, as_csv, statement_of_file, statement_of_ledger
from gateway.cli.main import run
from gateway.errors import VerificationFailed
from tests.support.consortium import LAB, TASK, Behaviour
from tests.support.ledger_file import Blocks, write_ledger
from tests.support.recorded_task import Recording, played


@pytest.fixture(scope="module")
def recording() -> Recording:
    """Two rounds; in each a hospital commits and does not reveal."""
    return played(6, 2, Behaviour(silent={"reveal": {"H06MSP"}}))


@pytest.fixture(scope="module")
def entries(recording: Recording, tmp_path_factory: pytest.TempPathFactory) -> list[Entry]:
    return statement_of_file(write_ledger(tmp_path_factory.mktemp("ledger") / "blocks", recording.blocks))


def held(entries: list[Entry]) -> dict[tuple[str, str], int]:
    totals: dict[tuple[str, str], int] = {}
    for entry in entries:
        account = (entry.organisation, entry.account)
        totals[account] = totals.get(account, 0) + entry.amount_micro
        assert entry.after_micro == totals[account]
    return totals


def test_the_lines_add_up_to_what_the_ledger_holds(recording: Recording, entries: list[Entry]) -> None:
    totals, ledger = held(entries), recording.consortium.ledger
    for organisation in recording.consortium.view("organisations"):
        mspid = organisation["mspid"]
        for account in ("balance", "bond", "vesting"):
            assert totals.get((mspid, account), 0) == organisation[f"{account}_micro"]
    assert totals.get((CONSORTIUM, "treasury"), 0) == sum(record["amount_micro"] for record in ledger.records("treasury"))
    assert totals[LAB, "escrow"] == 0


def test_the_lines_of_a_transaction_add_up_to_nothing(entries: list[Entry]) -> None:
    for tx_id in {entry.tx_id for entry in entries if entry.what != "minted"}:
        assert sum(entry.amount_micro for entry in entries if entry.tx_id == tx_id) == 0
    assert sum(entry.amount_micro for entry in entries) == 7_000_000_000


def test_every_line_says_what_it_is_for(entries: list[Entry]) -> None:
    assert {entry.what for entry in entries} == {
        "minted",
        "escrowed",
        "earned",
        "vested",
        "forfeited",
        "share of what others forfeited",
        "remainder",
    }
    assert {entry.task_id for entry in entries if entry.what == "earned"} == {TASK}
    assert {entry.round for entry in entries if entry.what == "earned"} == {1, 2}
    assert [entry.block for entry in entries] == sorted(entry.block for entry in entries)


async def test_the_ledger_itself_gives_the_same(recording: Recording, entries: list[Entry]) -> None:
    assert await statement_of_ledger(Blocks(recording.blocks)) == entries


def test_there_is_no_statement_of_a_ledger_that_lies(tmp_path: Path) -> None:
    lying = played(3, 1)
    lying.forge("H01MSP", "heartbeat", {key("account", "H01MSP"): b'{"balance_micro":1,"bond_micro":1,"schema":2}'})
    with pytest.raises(VerificationFailed, match="no statement of a ledger that does not verify"):
        statement_of_file(write_ledger(tmp_path / "blocks", lying.blocks))


class TestVerb:
    @pytest.fixture
    def blocks(self, recording: Recording, tmp_path: Path) -> str:
        return str(write_ledger(tmp_path / "blocks", recording.blocks))

    def test_as_csv(self, blocks: str, entries: list[Entry], capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["audit", "tokens", "--blocks", blocks, "--format", "csv"]) == 0
        rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        assert len(rows) == len(entries)
        assert sum(int(row["amount_micro"]) for row in rows) == 7_000_000_000
        assert as_csv(entries).count("\r\n") == len(entries) + 1

    def test_of_one_organisation(self, blocks: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["audit", "tokens", "--blocks", blocks, "--organisation", LAB, "--format", "json"]) == 0
        told: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert {entry["organisation"] for entry in told["data"]} == {LAB}

    def test_for_people(self, blocks: str, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["audit", "tokens", "--blocks", blocks]) == 0
        assert "share of what others forfeited" in capsys.readouterr().out
