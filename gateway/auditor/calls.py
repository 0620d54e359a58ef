"""Calls of the consortium's contract as they stand in verified blocks: who called what, and the event it sent."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography.x509.oid import NameOID
from fabric_protos.peer import transaction_pb2

from fabric import canonical
from fabric.crypto import fingerprint
from fabric.msp import Member
from fabric.transactions import EndorserTransaction
from fabric.validation import Judged
from fabric.verify import VerifiedBlock

CONTRACT = "consortium"
FIRST_RULES = "1.0"  # which did not name themselves in their events


@dataclass(frozen=True)
class ContractCall:
    """One transaction. `argument` is empty where the call took none or its bytes are not the JSON this contract reads."""

    block: int
    tx_id: str
    code: str  # name of the validation code; only VALID took effect
    mspid: str
    signer: str  # common name of the creator's certificate
    fingerprint: str
    endorsers: tuple[str, ...]  # MSP ids
    timestamp: datetime | None  # the client's claim
    function: str
    argument: dict[str, Any] = field(repr=False)
    event: str
    payload: dict[str, Any] = field(repr=False)  # of the event
    rules: str  # of the contract that decided, MAJOR.MINOR

    @property
    def valid(self) -> bool:
        return self.code == "VALID"


def contract_calls(block: VerifiedBlock, contract: str = CONTRACT) -> Iterator[ContractCall]:
    """The calls of `contract` in a block, in order, with those that did not take effect."""
    for judged in block.transactions:
        transaction, creator = judged.transaction, judged.creator
        if isinstance(transaction, EndorserTransaction) and creator is not None and transaction.chaincode == contract:
            yield _call(block.number, judged, transaction, creator)


def _call(number: int, judged: Judged, transaction: EndorserTransaction, creator: Member) -> ContractCall:
    event = transaction.event
    signer, print_of_signer = _signer(creator)
    payload = _object(event.payload) if event else {}
    return ContractCall(
        block=number,
        tx_id=transaction.tx_id,
        code=transaction_pb2.TxValidationCode.Name(judged.code),
        mspid=creator.mspid,
        signer=signer,
        fingerprint=print_of_signer,
        endorsers=tuple(sorted({member.mspid for member in judged.endorsers})),
        timestamp=transaction.timestamp,
        function=transaction.function,
        argument=_object(transaction.args[1]) if len(transaction.args) > 1 else {},
        event=event.name if event else "",
        payload=payload,
        rules=str(payload.get("rules", FIRST_RULES)),
    )


@functools.lru_cache(maxsize=1024)
def _signer(member: Member) -> tuple[str, str]:
    """Common name and fingerprint: kept, because the same few members sign nearly everything."""
    names = member.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else "", fingerprint(member.certificate)


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = canonical.loads(data)
    except (canonical.CanonicalError, UnicodeDecodeError):
        return {}
    return value if isinstance(value, dict) else {}
