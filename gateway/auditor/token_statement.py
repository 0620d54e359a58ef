"""A statement of tokens for finance: every entry on every account, in ledger order, from the blocks that were verified on the way.

Double entry: of what a transaction moves, each account has its own line, and the lines of a transaction add up to nothing. Only
registration mints.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from fabric_protos.common import common_pb2

from fabric.contract import verdicts
from fabric.contract.accounts import BOND, MINTED, ROUND_DEPOSIT
from fabric.examination import ExaminedBlock
from fabric.verify import VerificationError
from gateway.auditor.calls import FIRST_RULES, ContractCall, contract_calls
from gateway.auditor.export import BlockSource, read_blocks
from gateway.auditor.verify import Auditor, AuditReport, audit_blocks, no_progress
from gateway.errors import VerificationFailed

BALANCE, BOND_ACCOUNT, VESTING, DELEGATED, ESCROW, TREASURY = "balance", "bond", "vesting", "delegated", "escrow", "treasury"
CONSORTIUM = "consortium"
"""Whose the treasury is."""


@dataclass(frozen=True)
class Entry:
    """One line. `amount_micro` is what came (or, negative, went), `after_micro` what the account holds then; `time` the signer's clock."""

    block: int
    tx_id: str
    time: str
    organisation: str
    account: str
    what: str
    task_id: str
    round: int | None
    amount_micro: int
    after_micro: int


@dataclass(frozen=True)
class _Move:
    organisation: str
    account: str
    what: str
    amount_micro: int


class Bookkeeping:
    """Writes down the entries of every call that moves tokens, as the ledger recorded them; whether it recorded rightly is the audit's."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._held: dict[tuple[str, str], int] = {}
        self._payers: dict[str, str] = {}
        self._lent: dict[tuple[str, str], int] = {}
        self._disputes: dict[tuple[str, int, str], Mapping[str, Any]] = {}

    def observe(self, call: ContractCall) -> None:
        """Take note of one valid call."""
        for move in self._moves(call):
            if move.amount_micro:
                self._enter(call, move)

    def held(self, organisation: str, account: str) -> int:
        """What an account holds after the last call, in micro-tokens."""
        return self._held.get((organisation, account), 0)

    def _enter(self, call: ContractCall, move: _Move) -> None:
        account = (move.organisation, move.account)
        self._held[account] = self._held.get(account, 0) + move.amount_micro
        time = call.timestamp.isoformat() if call.timestamp else ""
        task_id, number = call.payload.get("task_id", ""), call.payload.get("round")
        self.entries.append(
            Entry(
                call.block,
                call.tx_id,
                time,
                move.organisation,
                move.account,
                move.what,
                task_id,
                number,
                move.amount_micro,
                self._held[account],
            )
        )

    def _moves(self, call: ContractCall) -> Iterator[_Move]:
        if call.event == "organisation_registered":
            bond = BOND if call.payload["kind"] == "hospital" else 0
            yield _Move(call.mspid, BALANCE, "minted", MINTED - bond)
            yield _Move(call.mspid, BOND_ACCOUNT, "minted", bond)
        elif call.event == "task_submitted":
            reward = call.argument["reward_micro"]
            self._payers[call.payload["task_id"]] = call.mspid
            yield from _between((call.mspid, BALANCE), (call.mspid, ESCROW), "escrowed", reward)
        elif call.event == "settled":
            yield from self._settled(call)
        elif call.event in ("task_aborted", "task_abandoned"):
            yield from self._refunded(call.payload)
        elif call.event == "stake_delegated":
            yield from self._delegated(call)
        elif call.event == "dispute":
            yield from self._disputed(call.payload)
        for slashed in call.payload.get("slashed", []):
            yield from _slashed(slashed)

    def _settled(self, call: ContractCall) -> Iterator[_Move]:
        settlement = call.payload
        payer = self._payers[settlement["task_id"]]
        earned = BALANCE if call.rules == FIRST_RULES else VESTING
        forfeited = 0
        for entry in settlement["hospitals"]:
            yield from _between((payer, ESCROW), (entry["mspid"], earned), "earned", entry["pay_micro"])
            yield _Move(entry["mspid"], BOND_ACCOUNT, "forfeited", -entry["deposit_micro"])
            forfeited += entry["deposit_micro"]
        for mspid, amount in settlement.get("released_micro", {}).items():
            yield from _between((mspid, VESTING), (mspid, BALANCE), "vested", amount)
        for mspid in settlement.get("honest", []):
            yield _Move(mspid, BALANCE, "share of what others forfeited", settlement["share_micro"])
            forfeited -= settlement["share_micro"]
        yield _Move(CONSORTIUM, TREASURY, "forfeited", forfeited)
        yield from _between((payer, ESCROW), (CONSORTIUM, TREASURY), "remainder", settlement["remainder_micro"])
        if settlement["task_phase"] != "rounds":
            yield from self._refunded(settlement)

    def _delegated(self, call: ContractCall) -> Iterator[_Move]:
        place = (call.mspid, call.payload["mspid"])
        before, after = self._lent.get(place, 0), call.payload["amount_micro"]
        self._lent[place] = after
        yield from _between((call.mspid, BALANCE), (call.mspid, DELEGATED), f"lent to {call.payload['mspid']}", after - before)

    def _disputed(self, dispute: Mapping[str, Any]) -> Iterator[_Move]:
        """A step of a dispute: the accuser's bond put aside, given back or burnt, and deposits of the silent."""
        place = (dispute["task_id"], dispute["round"], dispute["accused"])
        before = self._disputes.get(place, {"escrow_micro": 0, "fined": []})
        self._disputes[place] = dispute
        held = dispute["escrow_micro"] - before["escrow_micro"]
        burnt = -held if dispute["outcome"] == verdicts.UNFOUNDED else 0
        yield _Move(dispute["accuser"], ESCROW, "bond of a dispute", held)
        yield _Move(dispute["accuser"], BALANCE, "bond of a dispute", -held - burnt)
        yield _Move(CONSORTIUM, TREASURY, "bond of a dispute", burnt)
        for mspid in dispute["fined"][len(before["fined"]) :]:
            deposit = min(ROUND_DEPOSIT, self._held.get((mspid, BOND_ACCOUNT), 0))
            yield from _between((mspid, BOND_ACCOUNT), (CONSORTIUM, TREASURY), "forfeited", deposit)

    def _refunded(self, payload: Mapping[str, Any]) -> Iterator[_Move]:
        payer = self._payers[payload["task_id"]]
        yield from _between((payer, ESCROW), (payer, BALANCE), "refunded", payload["refund_micro"])


def _between(giver: tuple[str, str], taker: tuple[str, str], what: str, amount_micro: int) -> Iterator[_Move]:
    yield _Move(*giver, what, -amount_micro)
    yield _Move(*taker, what, amount_micro)


def _slashed(slashed: Mapping[str, Any]) -> Iterator[_Move]:
    what = f"slashed: {slashed['reason']}"
    yield _Move(slashed["mspid"], BOND_ACCOUNT, what, -slashed["bond_micro"])
    yield _Move(slashed["mspid"], VESTING, what, -slashed["vesting_micro"])
    for mspid in slashed["honest"]:
        yield _Move(mspid, BALANCE, "share of what others forfeited", slashed["share_micro"])
    yield _Move(CONSORTIUM, TREASURY, what, slashed["treasury_micro"])


async def statement_of_ledger(client: BlockSource) -> list[Entry]:
    """All entries of the ledger as it is now. Raises VerificationFailed where the audit finds fault with it, and the client's errors."""
    books = Bookkeeping()

    def accept(auditor: Auditor, block: common_pb2.Block, examined: ExaminedBlock) -> None:
        _follow(auditor, block, examined, books)

    report = await audit_blocks(client, accept, (), None, no_progress)
    return _checked(report, books)


def statement_of_file(path: Path) -> list[Entry]:
    """All entries of a file that `export_ledger` wrote; raises VerificationFailed, and OSError for a file that cannot be read."""
    auditor, books = Auditor(), Bookkeeping()
    try:
        for block in read_blocks(path):
            _follow(auditor, block, None, books)
    except VerificationError as error:
        return _checked(auditor.report(error), books)
    return _checked(auditor.report(), books)


def _follow(auditor: Auditor, block: common_pb2.Block, examined: ExaminedBlock | None, books: Bookkeeping) -> None:
    for call in contract_calls(auditor.accept(block, examined)):
        if call.valid:
            books.observe(call)


def _checked(report: AuditReport, books: Bookkeeping) -> list[Entry]:
    if not report.verified:
        raise VerificationFailed(f"there is no statement of a ledger that does not verify: {report.finding}")
    return books.entries


def as_csv(entries: Sequence[Entry]) -> str:
    """A header and a line for each entry (RFC 4180); amounts in micro-tokens, a millionth of a token."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [field.name for field in fields(Entry)], lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(asdict(entry) for entry in entries)
    return out.getvalue()
