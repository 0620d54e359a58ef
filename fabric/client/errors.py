"""What a call to the ledger may raise, by stage, and how a gRPC failure becomes one of them."""

from dataclasses import dataclass

import grpc
import grpc.aio

from fabric import rpc_status
from fabric.contract.errors import parse_refusal

_CHAINCODE_ANSWER = "chaincode response "  # how a peer's gateway introduces what the contract itself answered


class LedgerError(Exception):
    """A call to the ledger failed; the message says at which stage and what the ledger said."""


class EvaluateError(LedgerError):
    """A query failed."""


class EndorseError(LedgerError):
    """The organisations' peers did not endorse; nothing was submitted."""


class SubmitError(LedgerError):
    """The ordering service refused the transaction; nothing was written."""


class CommitError(LedgerError):
    """The transaction stands in a block but is invalid, so it wrote nothing."""

    def __init__(self, code_name: str, tx_id: str) -> None:
        super().__init__(f"transaction {tx_id} was not accepted: {code_name}")
        self.code_name = code_name
        self.tx_id = tx_id


class CommitStatusError(LedgerError):
    """The ledger refuses to say what became of the transaction, which may be written."""

    def __init__(self, why: str, tx_id: str) -> None:
        super().__init__(f"the status of transaction {tx_id} was refused: {why}")
        self.tx_id = tx_id


class CommitUnknown(LedgerError):  # noqa: N818 (the name already says what happened)
    """Nobody could say in time whether the transaction was written: ask by its id before doing it again."""

    def __init__(self, tx_id: str, waited_s: float) -> None:
        super().__init__(
            f"no answer within {waited_s:g} s whether transaction {tx_id} was written; ask again by its id before repeating it"
        )
        self.tx_id = tx_id


class StreamError(LedgerError):
    """The ledger refuses to deliver events or blocks, and asking again would not help."""


class LedgerUnavailable(LedgerError):  # noqa: N818 (the name already says what happened)
    """The ledger cannot be reached or has no peers able to answer; nothing was submitted."""


class ContractRefused(LedgerError):  # noqa: N818 (the name already says what happened)
    """A rule of the contract refused the call: `code` for programs, `sentence` for people."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence


@dataclass(frozen=True)
class Failure:
    """A failed gRPC call as Fabric's gateway reports it: `details` is what each peer or orderer behind it said."""

    code: grpc.StatusCode
    message: str
    details: tuple[str, ...]
    mspids: tuple[str, ...] = ()
    """Whose peers or orderers they are, one for each detail."""

    @classmethod
    def of(cls, error: grpc.aio.AioRpcError) -> "Failure":
        trailer = dict(error.trailing_metadata() or ()).get(rpc_status.METADATA_KEY, b"")
        found = rpc_status.error_details(trailer if isinstance(trailer, bytes) else b"")
        details = tuple(f"{detail.msp_id} at {detail.address}: {detail.message}" for detail in found)
        return cls(error.code(), error.details() or "", details, tuple(detail.msp_id for detail in found))

    def __str__(self) -> str:
        return "; ".join((f"{self.code.name}: {self.message}", *self.details))

    @property
    def refusing(self) -> tuple[str, ...]:
        """Whose peers ran the contract and got a refusal of it."""
        return tuple(mspid for mspid, text in zip(self.mspids, self.details, strict=False) if _refusal_in(text) is not None)

    @property
    def refusal(self) -> ContractRefused | None:
        """The contract's own refusal, if that is what made the call fail.

        Only text that a peer marks as the contract's answer is searched: a peer's own messages may look like refusals.
        """
        found = (_refusal_in(text) for text in (*self.details, self.message))
        return next((refusal for refusal in found if refusal is not None), None)


def _refusal_in(text: str) -> ContractRefused | None:
    _, marker, answer = text.partition(_CHAINCODE_ANSWER)
    found = parse_refusal(answer) if marker else None
    return None if found is None else ContractRefused(*found)
