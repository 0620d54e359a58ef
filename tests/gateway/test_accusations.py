"""The key ceremony between gateways, with ledger and hub held in memory: who deals false shares is accused, and who accuses falsely."""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from consortium.v1 import exchange_pb2

from fabric.ledger_views import KeyAccusation, KeyConfirmation, KeyShare
from gateway.aggregator.blobs import Name
from gateway.hospital import ceremony
from gateway.hospital.accusations import accuse
from gateway.hospital.ceremony import commit_part, exchange_parts
from gateway.hospital.dealt_shares import DealtFalselyError, blob_name
from gateway.hospital.misbehave import forged_shares
from gateway.hospital.state import StateStore
from tests.support.chain import authority, identity

ISSUER = authority("ca")
HOSPITALS = ("hospital-01", "hospital-02", "hospital-03", "hospital-04")


@dataclass
class Ceremony:
    """What four gateways share: the ledger's records and the hub's blobs."""

    identities: dict[str, Any] = field(
        default_factory=lambda: {mspid: identity(mspid, f"gateway.{mspid}", ("client",), ISSUER) for mspid in HOSPITALS}
    )
    shares: list[KeyShare] = field(default_factory=list)
    confirmations: list[KeyConfirmation] = field(default_factory=list)
    accusations: list[KeyAccusation] = field(default_factory=list)
    blobs: dict[Name, bytes] = field(default_factory=dict)
    arrived: dict[Name, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))

    @property
    def view(self) -> Any:
        terms = SimpleNamespace(task_id="task-1", digest="0" * 64, parameters=10, rounds=2, first_round=1, group_size=3)
        return SimpleNamespace(
            terms=terms,
            participants=HOSPITALS,
            threshold=3,
            attempt=1,
            aggregators=HOSPITALS[:1],
            turn=0,
            endpoints={},
            key_shares=tuple(self.shares),
            confirmations=tuple(self.confirmations),
            accusations=tuple(self.accusations),
            holder_index=lambda mspid: HOSPITALS.index(mspid) + 1,
        )

    async def push(self, hub: str, endpoints: Any, name: Name, data: bytes) -> None:
        assert self.blobs.setdefault(name, data) == data
        self.arrived[name].set()

    async def pull(self, hub: str, endpoints: Any, name: Name, *, limit_bytes: int) -> bytes:
        if name not in self.blobs:
            await self.arrived[name].wait()
        return self.blobs[name]

    async def organisation(self, mspid: str) -> Any:
        return SimpleNamespace(gateways=(SimpleNamespace(fingerprint=self.identities[mspid].fingerprint),))


@dataclass
class Own:
    """One gateway's hand on the ledger."""

    ceremony: Ceremony
    mspid: str

    async def organisation(self, mspid: str) -> Any:
        return await self.ceremony.organisation(mspid)

    async def commit_key_share(self, *, digest: str, sealing_key: str, **_: Any) -> None:
        self.ceremony.shares.append(KeyShare(self.mspid, digest, sealing_key))

    async def confirm_key(self, *, key_digest: str, **_: Any) -> None:
        self.ceremony.confirmations.append(KeyConfirmation(self.mspid, key_digest))

    async def accuse_dealer(self, *, accused: str, evidence: str, **_: Any) -> None:
        self.ceremony.accusations.append(KeyAccusation(self.mspid, accused, evidence))


class Together:
    def __init__(self, folder: Path, misbehave: dict[str, str]) -> None:
        self.ceremony = Ceremony()
        self.contexts: dict[str, Any] = {
            mspid: SimpleNamespace(
                mspid=mspid,
                state=StateStore(folder / mspid),
                identity=self.ceremony.identities[mspid],
                hub=self.ceremony,
                ledger=Own(self.ceremony, mspid),
                misbehaviour=misbehave.get(mspid),
            )
            for mspid in HOSPITALS
        }

    async def commit(self) -> None:
        for context in self.contexts.values():
            await commit_part(context, self.ceremony.view)
        self.ceremony.shares.sort(key=lambda share: share.mspid)

    async def exchange(self, *mspids: str) -> None:
        view = self.ceremony.view
        await asyncio.gather(*(exchange_parts(self.contexts[mspid], view) for mspid in mspids or HOSPITALS))

    def accused(self) -> dict[str, str]:
        return {accusation.mspid: accusation.accused for accusation in self.ceremony.accusations}

    def part(self, mspid: str) -> Any:
        part = self.contexts[mspid].state.ceremony_part("task-1", 1)
        assert part is not None
        return part

    def blob(self, dealer: str, recipient: str) -> bytes:
        return self.ceremony.blobs[blob_name(self.ceremony.view, exchange_pb2.BLOB_KIND_SEALED_KEY_SHARE, dealer, recipient)]


@pytest.fixture
async def honest(tmp_path: Path) -> AsyncIterator[Together]:
    together = Together(tmp_path, {})
    await together.commit()
    await together.exchange()
    yield together
    for context in together.contexts.values():
        context.state.close()


async def test_honest_gateways_confirm_one_key(honest: Together) -> None:
    assert len({confirmation.key_digest for confirmation in honest.ceremony.confirmations}) == 1
    assert sorted(confirmation.mspid for confirmation in honest.ceremony.confirmations) == sorted(HOSPITALS)
    assert honest.accused() == {}


async def test_everybody_accuses_the_dealer_of_false_shares(tmp_path: Path) -> None:
    together = Together(tmp_path, {"hospital-02": "false-key-share"})
    await together.commit()
    await together.exchange()
    assert together.accused() == dict.fromkeys(("hospital-01", "hospital-03", "hospital-04"), "hospital-02")


async def test_one_hospital_that_was_dealt_a_false_share_convinces_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others got good shares and confirmed; the evidence of one is enough."""

    def for_the_first(kind: str | None, shares: list[bytes]) -> list[bytes]:
        return [forged_shares("false-key-share", shares)[0], *shares[1:]] if kind else shares

    monkeypatch.setattr(ceremony, "forged_shares", for_the_first)
    together = Together(tmp_path, {"hospital-02": "false-key-share"})
    await together.commit()
    await together.exchange()
    assert together.accused() == {"hospital-01": "hospital-02"}
    assert len(together.ceremony.confirmations) == 3
    await together.exchange()
    assert together.accused() == dict.fromkeys(("hospital-01", "hospital-03", "hospital-04"), "hospital-02")


async def test_who_accuses_an_honest_dealer_is_accused_by_all_others(honest: Together) -> None:
    lie = DealtFalselyError("made up", "hospital-02", honest.blob("hospital-02", "hospital-01"))
    liar = honest.contexts["hospital-01"]
    await accuse(liar, honest.ceremony.view, honest.part("hospital-01"), lie)
    await honest.exchange()
    assert honest.accused() == {"hospital-01": "hospital-02"} | dict.fromkeys(HOSPITALS[1:], "hospital-01")


async def test_evidence_with_bytes_that_the_dealer_never_signed_speaks_against_its_maker(honest: Together) -> None:
    blob = honest.blob("hospital-02", "hospital-01")
    altered = DealtFalselyError("made up", "hospital-02", blob[:40] + bytes([blob[40] ^ 1]) + blob[41:])
    await accuse(honest.contexts["hospital-01"], honest.ceremony.view, honest.part("hospital-01"), altered)
    await honest.exchange()
    assert set(honest.accused().values()) == {"hospital-01", "hospital-02"}
    assert [accused for mspid, accused in honest.accused().items() if mspid != "hospital-01"] == ["hospital-01"] * 3


async def test_evidence_in_the_name_of_another_hospital_moves_nobody(honest: Together) -> None:
    """Hospital 1 shows what would make hospital 3 look like a liar."""
    lie = DealtFalselyError("made up", "hospital-02", honest.blob("hospital-02", "hospital-03"))
    framed: Any = SimpleNamespace(**{**vars(honest.contexts["hospital-01"]), "mspid": "hospital-03"})
    await accuse(framed, honest.ceremony.view, honest.part("hospital-01"), lie)
    name = blob_name(honest.ceremony.view, exchange_pb2.BLOB_KIND_KEY_ACCUSATION, "hospital-03")
    evidence = honest.ceremony.blobs.pop(name)
    honest.ceremony.blobs[blob_name(honest.ceremony.view, exchange_pb2.BLOB_KIND_KEY_ACCUSATION, "hospital-01")] = evidence
    assert honest.ceremony.accusations == [KeyAccusation("hospital-01", "hospital-02", hashlib.sha256(evidence).hexdigest())]
    await honest.exchange("hospital-03", "hospital-04")
    assert honest.accused() == {"hospital-01": "hospital-02"}
