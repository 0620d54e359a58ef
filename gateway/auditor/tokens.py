"""Tokens recomputed: balances, bonds, escrow and treasury from registrations, tasks and settlements; nothing may appear or vanish."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fabric.contract import incentives, normalisation, vesting
from fabric.contract.accounts import BOND, MINTED, ROUND_DEPOSIT
from fabric.contract.keys import key
from fabric.contract.trust import TrustState
from fabric.decoding import decode
from fabric.worldstate import WorldState
from gateway.auditor.calls import FIRST_RULES, ContractCall
from gateway.auditor.disputes import DisputeBook, DisputeMoves
from gateway.auditor.records import differences, records
from gateway.auditor.trust import TrustBook, recorded_signals


@dataclass
class _Account:
    balance_micro: int
    bond_micro: int


@dataclass(frozen=True)
class _Slash:
    mspid: str
    reason: str
    evidence_digest: str
    bond_micro: int
    vesting_micro: int
    honest: tuple[str, ...]
    share_micro: int
    treasury_micro: int


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
        self._slashes: dict[str, _Slash] = {}
        self._vesting: dict[str, tuple[int, ...]] = {}
        self._disputes = DisputeBook()
        self._fairness: dict[str, dict[str, int]] = {}
        self._lent: dict[str, dict[str, int]] = {}

    def observe(self, call: ContractCall) -> None:
        """Take note of one valid call."""
        if call.function == "register_organisation":
            bond = BOND if call.argument["kind"] == "hospital" else 0
            self._accounts[call.mspid] = _Account(MINTED - bond, bond)
        elif call.function == "submit_task":
            self._submit(call)
        elif call.function == "delegate_stake":
            self._delegate(call)
        elif call.function == "attest_fairness":
            self._fairness.setdefault(call.argument["mspid"], {})[call.mspid] = call.argument["fairness_ppm"]
        if moves := self._disputes.observe(call):
            self._dispute(call, moves)
        for slashed in call.payload.get("slashed", []):
            self._slash(call, decode(_Slash, slashed, strict=False))
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
            "vesting": self._vesting,
            "fairness": self._fairness,
            "lent": self._lent,
            "disputes": self._disputes.saved,
            "slashes": [asdict(slashed) for slashed in self._slashes.values()],
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Remember again what was `saved`."""
        self.problems = saved["problems"]
        self._accounts = {mspid: decode(_Account, account, strict=True) for mspid, account in saved["accounts"].items()}
        self._escrows = {task_id: decode(_Escrow, escrow, strict=True) for task_id, escrow in saved["escrows"].items()}
        self._treasury = {(task_id, number): amount for task_id, number, amount in saved["treasury"]}
        self._fairness = saved["fairness"]
        self._lent = saved["lent"]
        self._disputes.restore(saved["disputes"])
        self._vesting = {mspid: tuple(due) for mspid, due in saved["vesting"].items()}
        self._slashes = {one["mspid"]: decode(_Slash, one, strict=True) for one in saved["slashes"]}

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
        vesting_records = {key("vesting", mspid): {"mspid": mspid, "due_micro": list(due)} for mspid, due in self._vesting.items()}
        lent = {key("delegation", mspid): {"mspid": mspid, "by": by} for mspid, by in self._lent.items()}
        attested = {key("fairness", mspid): {"mspid": mspid, "by": by} for mspid, by in self._fairness.items()}
        slashes = {key("slash", mspid): {**asdict(one), "honest": list(one.honest)} for mspid, one in self._slashes.items()}
        return [
            *self.problems,
            *self._disputes.problems,
            *differences("dispute", self._disputes.records, records(state, contract, "dispute")),
            *differences("delegation", lent, records(state, contract, "delegation")),
            *differences("fairness", attested, records(state, contract, "fairness")),
            *differences("vesting", vesting_records, records(state, contract, "vesting")),
            *differences("slash", slashes, records(state, contract, "slash")),
            *differences("account", accounts, records(state, contract, "account")),
            *differences("treasury", treasury, records(state, contract, "treasury")),
            *self._leak(),
        ]

    def _leak(self) -> list[str]:
        held = sum(account.balance_micro + account.bond_micro for account in self._accounts.values())
        total = held + sum(escrow.amount_micro for escrow in self._escrows.values()) + sum(self._treasury.values())
        total += sum(slashed.treasury_micro for slashed in self._slashes.values()) + sum(map(sum, self._vesting.values()))
        total += self._disputes.held_micro + sum(sum(by.values()) for by in self._lent.values())
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
            entry["mspid"]: incentives.weight(
                self._trust.states.get(entry["mspid"], TrustState()),
                fairness=incentives.fairness_ppm(self._fairness.get(entry["mspid"], {}).values()),
            )
            for entry in settlement["hospitals"]
            if entry["contributed"]
        }
        pay, remainder = incentives.split(budget, weights)
        deposits = sum(self._book(call, entry, pay.get(entry["mspid"], 0)) for entry in settlement["hospitals"])
        unshared = self._paid_at_once(deposits, pay) if call.rules == FIRST_RULES else self._share_and_vest(call, deposits, pay)
        if settlement["remainder_micro"] != remainder:
            self._wrong(call, f"the remainder is recorded as {settlement['remainder_micro']}, recomputed {remainder}")
        if remainder + unshared:
            self._treasury[task_id, number] = remainder + unshared
        escrow.amount_micro -= sum(pay.values()) + remainder
        if settlement["task_phase"] != "rounds":
            self._close(task_id, settlement["refund_micro"], call)

    def _book(self, call: ContractCall, entry: dict[str, Any], pay: int) -> int:
        """Hold a hospital's pay against what was recorded, and take what it forfeited, which is returned."""
        account = self._accounts[entry["mspid"]]
        deposit = int(entry["deposit_micro"])
        if entry["pay_micro"] != pay:
            self._wrong(call, f"{entry['mspid']} was paid {entry['pay_micro']} micro-tokens, recomputed {pay}")
        fined = deposit > 0 if call.rules == FIRST_RULES else entry["mspid"] in call.payload["fined"]
        if deposit != (min(ROUND_DEPOSIT, account.bond_micro) if fined else 0):
            self._wrong(call, f"{entry['mspid']} was fined {deposit} micro-tokens, which is not the round deposit")
        account.bond_micro -= deposit
        return deposit

    def _paid_at_once(self, deposits: int, pay: Mapping[str, int]) -> int:
        """What contract 1.0 did: pay was due at once, and deposits were the treasury's."""
        for mspid, amount in pay.items():
            self._accounts[mspid].balance_micro += amount
        return deposits

    def _share_and_vest(self, call: ContractCall, deposits: int, pay: Mapping[str, int]) -> int:
        """Credit the honest with what the others forfeited and with what falls due of their pay; returns what is left for the treasury."""
        settlement = call.payload
        trustworthy = [entry["mspid"] for entry in settlement["hospitals"] if incentives.kept_its_word(recorded_signals(entry))]
        honest = [mspid for mspid in trustworthy if mspid not in settlement["fined"]]
        share, unshared = incentives.share_out(deposits, len(honest))
        if (settlement["honest"], settlement["share_micro"]) != (honest, share):
            self._wrong(call, f"the honest got {settlement['share_micro']} micro-tokens each of what others forfeited, recomputed {share}")
        for mspid in trustworthy:
            share_of = share if mspid in honest else 0
            self._accounts[mspid].balance_micro += share_of + self._vest(call, mspid, pay.get(mspid, 0))
        return unshared

    def _vest(self, call: ContractCall, mspid: str, pay: int) -> int:
        before, recorded = self._vesting.get(mspid, ()), call.payload["released_micro"].get(mspid)
        now, later = vesting.after_round(before, pay)
        if recorded != now:
            self._wrong(call, f"{recorded} micro-tokens of {mspid} fell due, recomputed {now}")
        if any(before) or any(later):
            self._vesting[mspid] = later
        return now

    def _delegate(self, call: ContractCall) -> None:
        lent, amount = self._lent.setdefault(call.argument["mspid"], {}), call.argument["amount_micro"]
        self._accounts[call.mspid].balance_micro += lent.pop(call.mspid, 0) - amount
        if amount:
            lent[call.mspid] = amount

    def _dispute(self, call: ContractCall, moves: DisputeMoves) -> None:
        """Take bonds and deposits that a step of a dispute moved, and hold the treasury's part of them against what was recorded."""
        self._accounts[moves.accuser].balance_micro += moves.accuser_micro
        treasury = moves.treasury_micro
        for mspid in moves.fined:
            account = self._accounts[mspid]
            deposit = min(ROUND_DEPOSIT, account.bond_micro)
            account.bond_micro -= deposit
            treasury += deposit
        if moves.recorded_micro != treasury:
            self._wrong(call, f"the treasury got {moves.recorded_micro} micro-tokens of a dispute, recomputed {treasury}")

    def _slash(self, call: ContractCall, slashed: _Slash) -> None:
        account = self._accounts[slashed.mspid]
        share, _ = incentives.share_out(min(ROUND_DEPOSIT, account.bond_micro), len(slashed.honest))
        unvested = sum(self._vesting.get(slashed.mspid, ()))
        expected = (account.bond_micro, unvested, share, account.bond_micro + unvested - share * len(slashed.honest))
        if slashed.mspid in self._slashes:
            self._wrong(call, f"{slashed.mspid} was slashed a second time")
        if (slashed.bond_micro, slashed.vesting_micro, slashed.share_micro, slashed.treasury_micro) != expected:
            self._wrong(call, f"{slashed.mspid} lost {slashed.bond_micro} micro-tokens to a proof, and its bond was {account.bond_micro}")
        if slashed.mspid in self._vesting:
            self._vesting[slashed.mspid] = (0,) * len(self._vesting[slashed.mspid])
        account.bond_micro = 0
        for mspid in slashed.honest:
            self._accounts[mspid].balance_micro += share
        self._slashes[slashed.mspid] = slashed

    def _close(self, task_id: str, refund: int, call: ContractCall) -> None:
        escrow = self._escrows[task_id]
        if refund != escrow.amount_micro:
            self._wrong(call, f"{refund} micro-tokens of task {task_id} were refunded, recomputed {escrow.amount_micro}")
        self._accounts[escrow.organisation].balance_micro += escrow.amount_micro
        escrow.amount_micro = 0

    def _wrong(self, call: ContractCall, what: str) -> None:
        self.problems.append(f"block {call.block}: {what}")
