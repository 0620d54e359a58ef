"""Tokens recomputed: balances, bonds, escrow and treasury from registrations, tasks and settlements; nothing may appear or vanish."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fabric.contract import incentives, normalisation
from fabric.contract.accounts import BOND, MINTED, ROUND_DEPOSIT
from fabric.contract.keys import key
from fabric.contract.trust import TrustState
from fabric.decoding import decode
from fabric.worldstate import WorldState
from gateway.auditor.calls import ContractCall
from gateway.auditor.records import differences, records
from gateway.auditor.trust import TrustBook


@dataclass
class _Account:
    balance_micro: int
    bond_micro: int


@dataclass
class _Escrow:
    organisation: str
    amount_micro: int
    per_round_micro: int


class TokenBook:
    """Follows every call that moves tokens. Settlements must be shown to `trust` first: pay follows from trust."""

    def __init__(self, trust: TrustBook) -> None:
        self.problems: list[str] = []
        self._trust = trust
        self._accounts: dict[str, _Account] = {}
        self._escrows: dict[str, _Escrow] = {}
        self._treasury: dict[tuple[str, int], int] = {}

    def observe(self, call: ContractCall) -> None:
        """Take note of one valid call."""
        if call.function == "register_organisation":
            bond = BOND if call.argument["kind"] == "hospital" else 0
            self._accounts[call.mspid] = _Account(MINTED - bond, bond)
        elif call.function == "submit_task":
            self._submit(call)
        if call.event == "settled":
            self._settle(call)
        elif call.event in ("task_aborted", "task_abandoned"):
            self._close(call.payload["task_id"], call.payload["refund_micro"], call)

    @property
    def saved(self) -> dict[str, Any]:
        """What the book remembers, as JSON values, for `restore`."""
        return {
            "problems": self.problems,
            "accounts": {mspid: asdict(account) for mspid, account in self._accounts.items()},
            "escrows": {task_id: asdict(escrow) for task_id, escrow in self._escrows.items()},
            "treasury": [[*place, amount] for place, amount in self._treasury.items()],
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Remember again what was `saved`."""
        self.problems = saved["problems"]
        self._accounts = {mspid: decode(_Account, account, strict=True) for mspid, account in saved["accounts"].items()}
        self._escrows = {task_id: decode(_Escrow, escrow, strict=True) for task_id, escrow in saved["escrows"].items()}
        self._treasury = {(task_id, number): amount for task_id, number, amount in saved["treasury"]}

    def differences(self, state: WorldState, contract: str) -> list[str]:
        """What is wrong with accounts and treasury in the state; empty if nothing is."""
        accounts = {
            key("account", mspid): {"balance_micro": entry.balance_micro, "bond_micro": entry.bond_micro}
            for mspid, entry in self._accounts.items()
        }
        treasury = {
            key("treasury", task_id, number): {"task_id": task_id, "round": number, "amount_micro": amount}
            for (task_id, number), amount in self._treasury.items()
        }
        return [
            *self.problems,
            *differences("account", accounts, records(state, contract, "account")),
            *differences("treasury", treasury, records(state, contract, "treasury")),
            *self._leak(),
        ]

    def _leak(self) -> list[str]:
        held = sum(account.balance_micro + account.bond_micro for account in self._accounts.values())
        total = held + sum(escrow.amount_micro for escrow in self._escrows.values()) + sum(self._treasury.values())
        minted = MINTED * len(self._accounts)
        return [] if total == minted else [f"tokens were not conserved: {minted} micro-tokens were minted and {total} are held"]

    def _submit(self, call: ContractCall) -> None:
        reward = call.argument["reward_micro"]
        self._accounts[call.mspid].balance_micro -= reward
        self._escrows[call.argument["task_id"]] = _Escrow(call.mspid, reward, reward // call.argument["rounds"])

    def _settle(self, call: ContractCall) -> None:
        settlement = call.payload
        task_id, number = settlement["task_id"], settlement["round"]
        escrow = self._escrows[task_id]
        budget = escrow.per_round_micro if settlement["accepted"] and number != normalisation.ROUND else 0
        weights = {
            entry["mspid"]: incentives.weight(self._trust.states.get(entry["mspid"], TrustState()))
            for entry in settlement["hospitals"]
            if entry["contributed"]
        }
        pay, remainder = incentives.split(budget, weights)
        fines = sum(self._book(call, entry, pay.get(entry["mspid"], 0)) for entry in settlement["hospitals"])
        if settlement["remainder_micro"] != remainder:
            self._wrong(call, f"the remainder is recorded as {settlement['remainder_micro']}, recomputed {remainder}")
        if remainder + fines:
            self._treasury[task_id, number] = remainder + fines
        escrow.amount_micro -= sum(pay.values()) + remainder
        if settlement["task_phase"] != "rounds":
            self._close(task_id, settlement["refund_micro"], call)

    def _book(self, call: ContractCall, entry: dict[str, Any], pay: int) -> int:
        """Credit a hospital's pay and take its fine; returns the fine."""
        account = self._accounts[entry["mspid"]]
        fine = int(entry["deposit_micro"])
        if entry["pay_micro"] != pay:
            self._wrong(call, f"{entry['mspid']} was paid {entry['pay_micro']} micro-tokens, recomputed {pay}")
        if fine not in (0, min(ROUND_DEPOSIT, account.bond_micro)):
            self._wrong(call, f"{entry['mspid']} was fined {fine} micro-tokens, which is not the round deposit")
        account.balance_micro += pay
        account.bond_micro -= fine
        return fine

    def _close(self, task_id: str, refund: int, call: ContractCall) -> None:
        escrow = self._escrows[task_id]
        if refund != escrow.amount_micro:
            self._wrong(call, f"{refund} micro-tokens of task {task_id} were refunded, recomputed {escrow.amount_micro}")
        self._accounts[escrow.organisation].balance_micro += escrow.amount_micro
        escrow.amount_micro = 0

    def _wrong(self, call: ContractCall, what: str) -> None:
        self.problems.append(f"block {call.block}: {what}")
