"""How hospitals stand for election: weights from trust and bond, aggregators among those that accept connections."""

from collections.abc import Iterable, Mapping, Sequence

from fabric.contract import accounts, trust
from fabric.contract.delegation import delegated_micro
from fabric.contract.election import Stream, capped, draw, stake_weight
from fabric.contract.records import Trust
from fabric.contract.registry import endpoint
from fabric.contract.state import State


def trust_of(state: State, mspid: str) -> trust.TrustState:
    record: Trust | None = state.get("trust", mspid)
    if record is None:
        return trust.TrustState()
    return trust.TrustState(record["positive"], record["negative"], record["streak"], tuple(record["history_ppm"]), record["quarantined"])


def trust_record(mspid: str, after: trust.TrustState) -> Trust:
    return Trust(
        mspid=mspid,
        positive=after.positive,
        negative=after.negative,
        trust_ppm=after.trust_ppm,
        streak=after.streak,
        history_ppm=list(after.history_ppm),
        quarantined=after.quarantined,
    )


def quarantined(state: State, members: Iterable[str]) -> list[str]:
    """Those of `members` that are quarantined now."""
    return [mspid for mspid in members if trust_of(state, mspid).quarantined]


def stake_micro(state: State, mspid: str) -> int:
    """A hospital's bond and what others lend to it; nothing once the bond is gone, whoever lends."""
    bond = accounts.account(state, mspid)["bond_micro"]
    return bond + delegated_micro(state, mspid) if bond else 0


def weights(state: State, members: Sequence[str]) -> dict[str, int]:
    """Capped election weights; nothing for who is quarantined, who is then drawn only where nobody else is left."""
    suspects = quarantined(state, members)
    raw = {mspid: stake_weight(trust_of(state, mspid).trust_ppm, stake_micro(state, mspid)) for mspid in members}
    return capped({mspid: 0 if mspid in suspects else weight for mspid, weight in raw.items()})


def elect_aggregators(state: State, shares: Mapping[str, int], seed: str, *, most: int) -> list[str]:
    """Up to `most` hospitals with an endpoint, in the order in which they take their turn."""
    reachable = {mspid: share for mspid, share in shares.items() if endpoint(state, mspid)}
    return draw(reachable, most, Stream(seed, "aggregators"))


def elect_quorum(shares: Mapping[str, int], kept: Sequence[str], size: int, seed: str, attempt: int) -> list[str]:
    """A decryption quorum of `size`: those `kept` from the one before it, filled up from `shares`; sorted."""
    others = {mspid: share for mspid, share in shares.items() if mspid not in kept}
    return sorted([*kept, *draw(others, size - len(kept), Stream(seed, f"quorum {attempt}"))])
