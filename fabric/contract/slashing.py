"""What a proof costs: the whole bond, the rewards that have not vested, and the place in the consortium, once.

The ladder: who is proven to have lied (two signed versions of one thing, a wrong share, an update that does not open) is slashed here; who
is silent loses the deposit of the round (accounts.forfeit, at its settlement); what only looks bad in statistics costs trust, never tokens.
A slashed hospital opens no further round, decides on no further task and judges nobody. What it has agreed to in a round under way, it may
still do, so that the round ends.
"""

from collections.abc import Iterable, Sequence

from fabric.contract.accounts import ROUND_DEPOSIT, account, pay
from fabric.contract.incentives import share_out
from fabric.contract.records import Slash
from fabric.contract.state import State
from fabric.contract.vesting import put_vesting, vesting_of

EQUIVOCATION, WRONG_SHARE, FAILED_OPENING, HARMFUL_UPDATE = "equivocation", "wrong_share", "failed_opening", "harmful_update"


def slash(state: State, mspid: str, reason: str, evidence_digest: str, *, honest: Sequence[str] = ()) -> Slash | None:
    """Take a hospital's bond and the rewards that have not vested, and eject it; None, and nothing written, where that was done before.

    `reason`: one of the four above. `evidence_digest`: hex SHA-256 of what proves it. The round's deposit, a part of the bond, goes to
    `honest` in equal parts, the rest to the treasury: nobody who judges another gains by its fall. Whoever calls puts the record into the
    list `slashed` of its event, from which an auditor follows the tokens.
    """
    if ejected(state, mspid):
        return None
    before = account(state, mspid)
    bond = before["bond_micro"]
    unvested = vesting_of(state, mspid)
    share, _ = share_out(min(ROUND_DEPOSIT, bond), len(honest))
    record = Slash(
        mspid=mspid,
        reason=reason,
        evidence_digest=evidence_digest,
        bond_micro=bond,
        vesting_micro=sum(unvested),
        honest=sorted(honest),
        share_micro=share,
        treasury_micro=bond + sum(unvested) - share * len(honest),
    )
    state.put("account", (mspid,), {**before, "bond_micro": 0})
    if unvested:
        put_vesting(state, mspid, [0] * len(unvested))
    for other in honest:
        pay(state, other, share)
    state.put("slash", (mspid,), record)
    return record


def ejected(state: State, mspid: str) -> bool:
    return state.get("slash", mspid) is not None


def in_good_standing(state: State, members: Iterable[str]) -> list[str]:
    """Those of `members` that were never slashed, in their order."""
    return [mspid for mspid in members if not ejected(state, mspid)]
