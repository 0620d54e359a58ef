"""Tokens: balances, bonds, escrow and the treasury. What one loses another gains; only registration mints."""

from fabric.contract.errors import ContractError
from fabric.contract.records import Account
from fabric.contract.state import State

TOKEN = 1_000_000
MINTED = 1_000 * TOKEN
BOND = 100 * TOKEN
ROUND_DEPOSIT = TOKEN


def open_account(state: State, mspid: str, *, bonded: bool) -> None:
    """Mint an organisation's tokens; a hospital puts its bond aside."""
    bond = BOND if bonded else 0
    state.put("account", (mspid,), {"balance_micro": MINTED - bond, "bond_micro": bond})


def account(state: State, mspid: str) -> Account:
    found: Account | None = state.get("account", mspid)
    if found is None:
        raise ContractError("NOT_FOUND", f"{mspid} is not registered; its admin must call register_organisation first")
    return found


def pay(state: State, mspid: str, amount_micro: int) -> None:
    """Add to a balance, or take from it where negative; refuse with INSUFFICIENT_BALANCE below zero."""
    if amount_micro == 0:
        return
    before = account(state, mspid)
    balance = before["balance_micro"] + amount_micro
    if balance < 0:
        raise ContractError(
            "INSUFFICIENT_BALANCE",
            f"{mspid} has {before['balance_micro']} micro-tokens and needs {-amount_micro}; offer a smaller reward",
        )
    state.put("account", (mspid,), {**before, "balance_micro": balance})


def forfeit(state: State, mspid: str) -> int:
    """Take the round deposit from the bond, as far as it goes; returns the amount, which the caller credits to the treasury."""
    before = account(state, mspid)
    amount = min(ROUND_DEPOSIT, before["bond_micro"])
    if amount:
        state.put("account", (mspid,), {**before, "bond_micro": before["bond_micro"] - amount})
    return amount


def credit_treasury(state: State, task_id: str, round_number: int, amount_micro: int) -> None:
    """A row of its own for each round: one running total would make all settlements conflict."""
    if amount_micro:
        row = {"task_id": task_id, "round": round_number, "amount_micro": amount_micro}
        state.put("treasury", (task_id, round_number), row)
