"""Delegated stake: tokens that one organisation lends to a hospital's weight in elections.

A delegate is elected more often, within the cap of twice the equal share, and earns no other tokens by it. What is lent stays its owner's:
a proof against the delegate takes the delegate's own bond and nothing of those who trusted it.
"""

from dataclasses import dataclass
from typing import Any

from fabric.contract import accounts
from fabric.contract.arguments import Amount, Mspid
from fabric.contract.caller import Call
from fabric.contract.errors import ContractError
from fabric.contract.records import Delegations
from fabric.contract.registry import HOSPITAL, organisation
from fabric.contract.slashing import ejected
from fabric.contract.state import State


@dataclass(frozen=True)
class DelegateStake:
    mspid: Mspid
    amount_micro: Amount


def delegate_stake(call: Call, argument: DelegateStake) -> dict[str, Any]:
    """Set what the caller's organisation lends to a hospital: more, less, or 0 to have it all back. It counts from the next round on."""
    if argument.mspid == call.mspid:
        raise ContractError("BAD_ARGUMENT", "nobody lends to itself; name another hospital")
    if organisation(call.state, argument.mspid)["kind"] != HOSPITAL:
        raise ContractError("NOT_A_HOSPITAL", f"{argument.mspid} is no hospital and stands for no election; lend to one that does")
    if argument.amount_micro and ejected(call.state, argument.mspid):
        raise ContractError("EJECTED", f"{argument.mspid} lost its bond to a proof and is elected no more; take back what it was lent")
    lent = dict(_lent_to(call.state, argument.mspid))
    accounts.pay(call.state, call.mspid, lent.pop(call.mspid, 0) - argument.amount_micro)
    if argument.amount_micro:
        lent[call.mspid] = argument.amount_micro
    call.state.put("delegation", (argument.mspid,), Delegations(mspid=argument.mspid, by=lent))
    event = {"mspid": argument.mspid, "owner": call.mspid, "amount_micro": argument.amount_micro}
    call.state.announce("stake_delegated", event)
    return event


def delegated_micro(state: State, mspid: str) -> int:
    """All that is lent to a hospital."""
    return sum(_lent_to(state, mspid).values())


def _lent_to(state: State, mspid: str) -> dict[str, int]:
    record: Delegations | None = state.get("delegation", mspid)
    return {} if record is None else record["by"]
