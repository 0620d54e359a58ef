"""The audit: every block verified, then trust, tokens and budgets computed again and compared with what the ledger says."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fabric_protos.common import common_pb2

from fabric.verify import Checkpoint, VerificationError, Verifier
from gateway.auditor.budgets import BudgetBook
from gateway.auditor.calls import CONTRACT, ContractCall, contract_calls
from gateway.auditor.export import BlockSource, read_blocks
from gateway.auditor.tokens import TokenBook
from gateway.auditor.trust import TrustBook
from gateway.errors import InputError


@dataclass(frozen=True)
class Recomputed:
    """Whether what was computed again from the transactions equals what the state holds."""

    trust: bool
    balances: bool
    budgets: bool


@dataclass(frozen=True)
class AuditReport:
    """What an audit found. Where `first_bad_block` is a number, the counts are those of the good blocks before it.

    `genesis_hash` names the channel: who knows it from elsewhere knows that this is the consortium's own ledger. Hashes are hex.
    """

    channel: str
    height: int
    genesis_hash: str
    last_hash: str
    transactions: int
    valid: int
    invalid: int
    codes: dict[str, int]
    organisations: tuple[str, ...]
    first_bad_block: int | None
    step: str
    reason: str
    recomputed: Recomputed
    problems: tuple[str, ...]

    @property
    def verified(self) -> bool:
        return self.first_bad_block is None and not self.problems


class Auditor:
    """Audits blocks one after the other; memory does not grow with their number but for 32 bytes a transaction."""

    def __init__(self, *, contract: str = CONTRACT, checkpoints: Sequence[Checkpoint] = ()) -> None:
        self._verifier = Verifier(checkpoints=checkpoints)
        self._contract = contract
        self._trust = TrustBook()
        self._tokens = TokenBook(self._trust)
        self._budgets = BudgetBook()
        self._unreadable: list[str] = []

    def accept(self, block: common_pb2.Block) -> None:
        """Verify the next block and follow its calls; raise VerificationError."""
        for call in contract_calls(self._verifier.accept(block), self._contract):
            if call.valid:
                self._observe(call)

    def report(self, failure: VerificationError | None = None) -> AuditReport:
        """The report after the last block, or after the `failure` that ended the audit."""
        if failure is None:
            try:
                self._verifier.result()
            except VerificationError as error:
                return self.report(error)
        trust = self._trust.differences(self._verifier.state, self._contract)
        tokens = self._tokens.differences(self._verifier.state, self._contract)
        budgets = self._budgets.differences(self._verifier.state, self._contract)
        readable = not self._unreadable
        ledger = self._verifier.summary()
        return AuditReport(
            channel=ledger.channel,
            height=ledger.height,
            genesis_hash=ledger.genesis_hash.hex(),
            last_hash=ledger.last_hash.hex(),
            transactions=ledger.transactions,
            valid=ledger.valid,
            invalid=ledger.invalid,
            codes=dict(ledger.codes),
            organisations=ledger.organisations,
            first_bad_block=None if failure is None else failure.block_number,
            step="" if failure is None else failure.step.name,
            reason="" if failure is None else failure.reason,
            recomputed=Recomputed(trust=readable and not trust, balances=readable and not tokens, budgets=readable and not budgets),
            problems=(*self._unreadable, *trust, *tokens, *budgets),
        )

    def _observe(self, call: ContractCall) -> None:
        try:
            self._trust.observe(call)  # before the tokens: pay follows from trust
            self._tokens.observe(call)
            self._budgets.observe(call)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            # Endorsers signed a result that the contract's rules cannot give: a finding, not a reason to stop.
            self._unreadable.append(f"block {call.block}: {call.function} {call.tx_id[:16]} is not a call this contract makes ({error!r})")


async def verify_ledger(client: BlockSource, *, checkpoints: Sequence[Checkpoint] = ()) -> AuditReport:
    """Audit all blocks that the ledger has now, as it delivers them. Raises the client's errors if it stops delivering."""
    auditor = Auditor(checkpoints=checkpoints)
    height = await client.height()
    try:
        async for block in client.blocks(start=0, stop=height - 1):
            await asyncio.to_thread(auditor.accept, block)
    except VerificationError as error:
        return auditor.report(error)
    return auditor.report()


def verify_file(path: Path, *, checkpoints: Sequence[Checkpoint] = ()) -> AuditReport:
    """Audit a file that `export_ledger` wrote; needs nothing else. Raises InputError if it cannot be read."""
    auditor = Auditor(checkpoints=checkpoints)
    try:
        for block in read_blocks(path):
            auditor.accept(block)
    except VerificationError as error:
        return auditor.report(error)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; name a file that `consortium audit export` wrote") from error
    return auditor.report()

