"""How hospitals stand for election: weights from trust and bond, aggregators among those that accept connections."""

from collections.abc import Iterable, Mapping, Sequence

from fabric.contract import accounts, trust
from fabric.contract.election import Stream, capped, draw, stake_weight
from fabric.contract.records import Trust
from fabric.contract.registry import endpoint
from fabric.contract.state import State


def trust_of(state: State, mspid: str) -> trust.TrustState:
    record: Trust | None = state.get("trust", mspid)
    if record is None:
        return trust.TrustState()
    return trust.TrustState(record["positive"], record["negative"], record["streak"], tuple(record["history_ppm"]))


def trust_record(mspid: str, after: trust.TrustState) -> Trust:
    return Trust(
        mspid=mspid,
        positive=after.positive,
        negative=after.negative,
        trust_ppm=after.trust_ppm,
        streak=after.streak,
        history_ppm=list(after.history_ppm),
    )


def weights(state: State, members: Iterable[str]) -> dict[str, int]:
    """Capped election weights."""
    raw = {mspid: stake_weight(trust_of(state, mspid).trust_ppm, accounts.account(state, mspid)["bond_micro"]) for mspid in members}
    return capped(raw)


def elect_aggregators(state: State, shares: Mapping[str, int], seed: str, *, most: int) -> list[str]:
    """Up to `most` hospitals with an endpoint, in the order in which they take their turn."""
    reachable = {mspid: share for mspid, share in shares.items() if endpoint(state, mspid)}
    return draw(reachable, most, Stream(seed, "aggregators"))


def elect_quorum(shares: Mapping[str, int], kept: Sequence[str], size: int, seed: str, attempt: int) -> list[str]:
    """A decryption quorum of `size`: those `kept` from the one before it, filled up from `shares`; sorted."""
    others = {mspid: share for mspid, share in shares.items() if mspid not in kept}
    return sorted([*kept, *draw(others, size - len(kept), Stream(seed, f"quorum {attempt}"))])
