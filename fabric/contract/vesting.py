"""Rewards vest: what a round pays falls due in equal parts over the next rounds that a hospital takes part in. Integers only.

Until then it is at stake: a proof takes it with the bond, so that what was earned by cheating is not gone before the cheating is found.
"""

from collections.abc import Sequence

from fabric.contract.records import Vesting
from fabric.contract.state import State

ROUNDS = 20


def after_round(due_micro: Sequence[int], pay_micro: int) -> tuple[int, tuple[int, ...]]:
    """What falls due now, and what falls due in each of the ROUNDS rounds after this one, with this round's pay spread over them.

    `due_micro`: what fell due in this and the rounds after it, next first; empty for a hospital that earned nothing yet. What does not
    divide by ROUNDS falls due first.
    """
    now, *later = due_micro or (0,)
    each, odd = divmod(pay_micro, ROUNDS)
    spread = [amount + each for amount in (*later, *[0] * (ROUNDS - len(later)))]
    spread[0] += odd
    return now, tuple(spread)


def vesting_of(state: State, mspid: str) -> tuple[int, ...]:
    """What is still to fall due to a hospital, next first."""
    record: Vesting | None = state.get("vesting", mspid)
    return () if record is None else tuple(record["due_micro"])


def put_vesting(state: State, mspid: str, due_micro: Sequence[int]) -> None:
    state.put("vesting", (mspid,), Vesting(mspid=mspid, due_micro=list(due_micro)))
