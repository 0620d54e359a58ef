"""The audit: every block verified, then trust, tokens and budgets computed again and compared with what the ledger says."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fabric_protos.common import common_pb2

from fabric.checkpoint import Checkpoint
from fabric.examination import ExaminedBlock
from fabric.validation import KnownTransactions
from fabric.verify import VerificationError, VerifiedBlock, Verifier
from gateway.auditor.budgets import BudgetBook
from gateway.auditor.calls import CONTRACT, ContractCall, contract_calls
from gateway.auditor.examiners import Examiners, Ready, cores
from gateway.auditor.export import BlockSource, read_blocks
from gateway.auditor.known_ids import IdsOnDisk
from gateway.auditor.tokens import TokenBook
from gateway.auditor.trust import TrustBook
from gateway.errors import InputError

Progress = Callable[[int, int], None]
"""Is told how much is done, and of how much."""


def no_progress(done: int, total: int) -> None:
    """For callers that show none."""


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

    @property
    def finding(self) -> str:
        """For an audit that did not verify: what is wrong, as a sentence."""
        if self.first_bad_block is not None:
            return f"block {self.first_bad_block} is bad ({self.step}): {self.reason}"
        more = f" (and {len(self.problems) - 1} more findings)" if len(self.problems) > 1 else ""
        return f"the blocks are sound, but what the ledger says does not follow from them: {self.problems[0]}{more}"


class Auditor:
    """Audits blocks one after the other; memory grows with the ledger's state, and with what `known` keeps of each transaction."""

    def __init__(
        self,
        *,
        contract: str = CONTRACT,
        checkpoints: Sequence[Checkpoint] = (),
        known: KnownTransactions | None = None,
    ) -> None:
        self._verifier = Verifier(checkpoints=checkpoints, known=known)
        self._contract = contract
        self._trust = TrustBook()
        self._tokens = TokenBook(self._trust)
        self._budgets = BudgetBook()
        self._unreadable: list[str] = []

    @property
    def height(self) -> int:
        """How many blocks are verified."""
        return self._verifier.height

    def accept(self, block: common_pb2.Block, examined: ExaminedBlock | None = None) -> VerifiedBlock:
        """Verify the next block and follow its calls; raise VerificationError."""
        verified = self._verifier.accept(block, examined)
        for call in contract_calls(verified, self._contract):
            if call.valid:
                self._observe(call)
        return verified

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


async def verify_ledger(
    client: BlockSource,
    *,
    checkpoints: Sequence[Checkpoint] = (),
    processes: int | None = None,
    progress: Progress = no_progress,
) -> AuditReport:
    """Audit all blocks that the ledger has now, as it delivers them. Raises the client's errors if it stops delivering.

    `processes` examine the blocks (default: one a core); `progress` is told how many blocks are verified, of how many.
    """
    return await audit_blocks(client, lambda auditor, block, examined: auditor.accept(block, examined), checkpoints, processes, progress)


async def audit_blocks(
    client: BlockSource,
    accept: Callable[[Auditor, common_pb2.Block, ExaminedBlock], object],
    checkpoints: Sequence[Checkpoint],
    processes: int | None,
    progress: Progress,
) -> AuditReport:
    """`verify_ledger` for callers that look at the blocks themselves: `accept` gives each to the auditor."""
    height = await client.height()
    with auditing(checkpoints=checkpoints, processes=processes) as (auditor, examiners):

        def accept_all(blocks: Iterable[Ready]) -> None:
            for block, examined in blocks:
                accept(auditor, block, examined)

        try:
            async for block in client.blocks(start=0, stop=height - 1):
                await asyncio.to_thread(accept_all, examiners.put(block))
                progress(auditor.height, height)
            await asyncio.to_thread(accept_all, examiners.rest())
            progress(auditor.height, height)
        except VerificationError as error:
            return auditor.report(error)
        return auditor.report()


def verify_file(
    path: Path,
    *,
    checkpoints: Sequence[Checkpoint] = (),
    processes: int | None = None,
    progress: Progress = no_progress,
) -> AuditReport:
    """Audit a file that `export_ledger` wrote; needs nothing else. Raises InputError if it cannot be read.

    `processes` as for `verify_ledger`; `progress` is told how many bytes are verified, of how many.
    """
    with auditing(checkpoints=checkpoints, processes=processes) as (auditor, examiners):
        try:
            size, done = path.stat().st_size, 0
            for block, examined in examiners.examined(read_blocks(path)):
                auditor.accept(block, examined)
                done += block.ByteSize()
                progress(done, size)
        except VerificationError as error:
            return auditor.report(error)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}; name a file that `consortium audit export` wrote") from error
        return auditor.report()


@contextmanager
def auditing(*, checkpoints: Sequence[Checkpoint] = (), processes: int | None = None) -> Iterator[tuple[Auditor, Examiners]]:
    """An auditor with what it needs beside memory: the file of known ids, and the processes that examine blocks for it."""
    with IdsOnDisk() as known, Examiners(processes or cores()) as examiners:
        yield Auditor(checkpoints=checkpoints, known=known), examiners
