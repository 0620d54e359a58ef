"""What a round began with, as one hash: the model before it and every hospital's commitment, fixed when commits close."""

from collections.abc import Mapping

from fabric.contract import normalisation
from fabric.contract.merkle import root
from fabric.contract.records import Commit, RoundRecord, RoundRoot, Settlement
from fabric.contract.state import State


def leaves(model_digest: str, commitments: Mapping[str, str]) -> list[bytes]:
    """The tree's entries: the model's digest, then `mspid digest` for each commitment by MSP id."""
    return [model_digest.encode(), *(f"{mspid} {digest}".encode() for mspid, digest in sorted(commitments.items()))]


def write_root(state: State, record: RoundRecord, task_digest: str) -> None:
    """Write the root of a round whose commits are closed."""
    place = (record["task_id"], record["round"])
    commitments: dict[str, str] = {}
    for mspid in record["committed"]:
        commit: Commit = state.get("commit", *place, mspid)
        commitments[mspid] = commit["digest"]
    model = _model_before(state, *place, task_digest)
    state.put("round_root", place, RoundRoot(model_digest=model, root=root(leaves(model, commitments)).hex()))


def _model_before(state: State, task_id: str, number: int, task_digest: str) -> str:
    """Digest of the last candidate that was accepted; the task's own for its first model, which follows from it."""
    for earlier in range(number - 1, normalisation.ROUND, -1):
        settled: Settlement = state.get("settlement", task_id, earlier)
        if settled["accepted"] and settled["candidate"] is not None:
            return settled["candidate"]["digest"]
        before: RoundRoot | None = state.get("round_root", task_id, earlier)
        if before is not None:
            return before["model_digest"]
    return task_digest
