"""Approving and committing a chaincode where answers get lost after what was asked for is done."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fabric.lifecycle import Definition
from gateway.errors import Unavailable
from gateway.network import lifecycle
from gateway.network.lifecycle import deploy

WANTED = Definition("consortium", "1.1", 2)
MEMBER = SimpleNamespace(mspid="AlphaMSP", endpoint="127.0.0.1:7051", organisation=SimpleNamespace(tls_ca=Path("tls-ca.pem")))
NETWORK = SimpleNamespace(folder=Path("net"), members=[MEMBER])


class Peer:
    """A peer's lifecycle as `peer` tells it; the answers to the first `lost` approvals and commits never come."""

    def __init__(self, *, lost: int, elsewhere: str = "") -> None:
        self.done: list[str] = []
        self.standing = Definition("consortium", elsewhere or "1.0", 2 if elsewhere else 1)
        self._lost = dict.fromkeys(("approveformyorg", "commit"), lost)

    def channel(self) -> tuple[str, ...]:
        return ("--channelID", "consortium")

    def each(self, step: Callable[[Any], object]) -> None:
        step(MEMBER)

    def peer(self, member: Any, *words: object) -> str:
        match words[2]:
            case "queryinstalled":
                return "consortium:1"
            case "querycommitted":
                return json.dumps({"version": self.standing.version, "sequence": self.standing.sequence})
            case "approveformyorg":
                if "approveformyorg" in self.done:
                    raise Unavailable(
                        "Error: attempted to redefine uncommitted sequence (2) for namespace consortium with unchanged content"
                    )
            case "commit":
                if self.standing.sequence == WANTED.sequence:
                    raise Unavailable("Error: requested sequence is 2, but new definition must be sequence 3")
                self.standing = WANTED
        self.done.append(str(words[2]))
        if self._lost[str(words[2])]:
            self._lost[str(words[2])] -= 1
            raise Unavailable("peer lifecycle chaincode did not end within 60 s")
        return ""


def deployed(peer: Peer) -> None:
    deploy(cast(Any, NETWORK), cast(Any, peer), WANTED, {"AlphaMSP": "consortium:1"})


@pytest.mark.parametrize("lost", [0, 1])
def test_what_was_done_before_the_answer_was_lost_is_not_done_again(lost: int) -> None:
    peer = Peer(lost=lost)
    deployed(peer)
    assert peer.done == ["approveformyorg", "commit"]
    assert peer.standing == WANTED


def test_another_definition_of_the_same_sequence_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "until", lambda step: step())
    with pytest.raises(Unavailable, match="must be sequence 3"):
        deployed(Peer(lost=0, elsewhere="0.9"))
