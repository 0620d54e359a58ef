"""The audit: every block verified, then trust, tokens and budgets computed again and compared with what the ledger says."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fabric_protos.common import common_pb2

from fabric.checkpoint import Checkpoint
from fabric.contract.release import RELEASE, rules_number
from fabric.decoding import decode
from fabric.examination import ExaminedBlock
from fabric.lifecycle import NAMESPACE, MalformedDefinition, read_definition
from fabric.validation import KnownTransactions
from fabric.verify import Step, VerificationError, VerifiedBlock, Verifier
from fabric.worldstate import WorldState
from gateway.auditor.budgets import BudgetBook
from gateway.auditor.calls import CONTRACT, ContractCall, contract_calls
from gateway.auditor.examiners import Examiners, Ready, cores
from gateway.auditor.export import BlockSource, read_blocks
from gateway.auditor.known_ids import IdsOnDisk
from gateway.auditor.resumption import AuditState, Resumption
from gateway.auditor.round_roots import RootBook
from gateway.auditor.state_on_disk import StateOnDisk
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
class InForce:
    """A version of the contract, as its definition names it, and the block that put it in force."""

    version: str
    sequence: int
    block: int


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
    contracts: tuple[InForce, ...]
    first_bad_block: int | None
    step: str
    reason: str
    recomputed: Recomputed
    problems: tuple[str, ...]
    resumed_at: int = 0
    """The first block that this audit read; what lies before it an earlier audit of the same auditor verified."""

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
    """Audits blocks one after the other; memory grows with what `state` keeps of each key, and `known` of each transaction.

    `rules`: the last of the contract that the books can compute again.
    """

    def __init__(
        self,
        *,
        contract: str = CONTRACT,
        checkpoints: Sequence[Checkpoint] = (),
        known: KnownTransactions | None = None,
        state: WorldState | None = None,
        rules: str = RELEASE.rules,
    ) -> None:
        self._verifier = Verifier(checkpoints=checkpoints, known=known, state=state)
        self._resumed_at = 0
        self._contract = contract
        self._trust = TrustBook()
        self._tokens = TokenBook(self._trust)
        self._budgets = BudgetBook()
        self._roots = RootBook()
        self._unreadable: list[str] = []
        self._rules = rules
        self._unknown_rules: set[str] = set()
        self._contracts: list[InForce] = []

    @classmethod
    def resumed(cls, before: AuditState, *, checkpoints: Sequence[Checkpoint], known: KnownTransactions, state: WorldState) -> "Auditor":
        """An auditor that knows what another knew when it ended, with its `known` and `state`; raise what `Verifier.resumed` raises."""
        auditor = cls()
        auditor._verifier = Verifier.resumed(before.position, state, checkpoints=checkpoints, known=known)
        auditor._resumed_at = before.position.height
        auditor._trust.restore(before.books["trust"])
        auditor._tokens.restore(before.books["tokens"])
        auditor._budgets.restore(before.books["budgets"])
        auditor._roots.restore(before.books["roots"])
        auditor._contracts = [decode(InForce, one, strict=True) for one in before.books["contracts"]]
        return auditor

    @property
    def knowledge(self) -> AuditState:
        """What `resumed` needs, of an audit that verified."""
        books = {
            "trust": self._trust.saved,
            "tokens": self._tokens.saved,
            "budgets": self._budgets.saved,
            "roots": self._roots.saved,
            "contracts": [asdict(one) for one in self._contracts],
        }
        return AuditState(self._verifier.position, books)

    @property
    def height(self) -> int:
        """How many blocks are verified."""
        return self._verifier.height

    def recognise(self, block: common_pb2.Block) -> None:
        """Raise VerificationError unless `block` is the last that was verified before this auditor resumed."""
        self._verifier.recognise(block)

    def accept(self, block: common_pb2.Block, examined: ExaminedBlock | None = None) -> VerifiedBlock:
        """Verify the next block and follow its calls; raise VerificationError."""
        verified = self._verifier.accept(block, examined)
        self._note_definition(verified.number)
        for call in contract_calls(verified, self._contract):
            if call.valid and self._knows_rules(call):
                self._observe(call)
        return verified

    def report(self, failure: VerificationError | None = None) -> AuditReport:
        """The report after the last block, or after the `failure` that ended the audit."""
        if failure is None:
            try:
                self._verifier.result()
            except VerificationError as error:
                return self.report(error)
        trust = self._differences(self._trust)
        tokens = self._differences(self._tokens)
        budgets = self._differences(self._budgets)
        roots = self._differences(self._roots)
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
            contracts=tuple(self._contracts),
            first_bad_block=None if failure is None else failure.block_number,
            step="" if failure is None else failure.step.name,
            reason="" if failure is None else failure.reason,
            recomputed=Recomputed(trust=readable and not trust, balances=readable and not tokens, budgets=readable and not budgets),
            problems=(*self._unreadable, *trust, *tokens, *budgets, *roots),
            resumed_at=self._resumed_at,
        )

    def _note_definition(self, block: int) -> None:
        try:
            found = read_definition(self._contract, lambda key: self._verifier.state.value(NAMESPACE, key))
        except MalformedDefinition as error:
            if str(error) not in self._unreadable:  # the state stays as it is, block after block
                self._unreadable.append(str(error))
            return
        if found is not None and (not self._contracts or self._contracts[-1].sequence != found.sequence):
            self._contracts.append(InForce(found.version, found.sequence, block))

    def _differences(self, book: TrustBook | TokenBook | BudgetBook | RootBook) -> list[str]:
        # Books that could not follow every call would find fault with all that these have changed.
        return [] if self._unknown_rules else book.differences(self._verifier.state, self._contract)

    def _knows_rules(self, call: ContractCall) -> bool:
        """Whether this program can compute the call again; that it cannot is a finding, once."""
        try:
            known = rules_number(call.rules) <= rules_number(self._rules)
        except ValueError:
            known = False
        if not known and call.rules not in self._unknown_rules:
            self._unknown_rules.add(call.rules)
            self._unreadable.append(
                f"block {call.block}: from here on contract {call.rules} decides, and this program computes again what contracts up to "
                f"{self._rules} decided; audit with a program that knows it"
            )
        return known

    def _observe(self, call: ContractCall) -> None:
        try:
            self._trust.observe(call)  # before the tokens: pay follows from trust
            self._tokens.observe(call)
            self._budgets.observe(call)
            self._roots.observe(call)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            # Endorsers signed a result that the contract's rules cannot give: a finding, not a reason to stop.
            self._unreadable.append(f"block {call.block}: {call.function} {call.tx_id[:16]} is not a call this contract makes ({error!r})")


async def verify_ledger(
    client: BlockSource,
    *,
    checkpoints: Sequence[Checkpoint] = (),
    processes: int | None = None,
    progress: Progress = no_progress,
    resumption: Resumption | None = None,
) -> AuditReport:
    """Audit all blocks that the ledger has now, as it delivers them. Raises the client's errors if it stops delivering.

    `processes` examine the blocks (default: one a core); `progress` is told how many blocks are verified, of how many. With a
    `resumption` the audit begins where the one ended that wrote its file, if there is one, and writes it anew if it verifies.
    """

    def accept(auditor: Auditor, block: common_pb2.Block, examined: ExaminedBlock) -> None:
        auditor.accept(block, examined)

    return await audit_blocks(client, accept, checkpoints, processes, progress, resumption)


async def audit_blocks(
    client: BlockSource,
    accept: Callable[[Auditor, common_pb2.Block, ExaminedBlock], object],
    checkpoints: Sequence[Checkpoint],
    processes: int | None,
    progress: Progress,
    resumption: Resumption | None = None,
) -> AuditReport:
    """`verify_ledger` for callers that look at the blocks themselves: `accept` gives each to the auditor."""
    height = await client.height()
    with IdsOnDisk() as known, StateOnDisk() as state, Examiners(processes or cores()) as examiners:

        def accept_all(blocks: Iterable[Ready]) -> None:
            for block, examined in blocks:
                accept(auditor, block, examined)

        auditor = Auditor(checkpoints=checkpoints, known=known, state=state)
        try:
            before = resumption.read(known, state) if resumption else None
            if before is not None:
                auditor = Auditor.resumed(before, checkpoints=checkpoints, known=known, state=state)
                _refuse_rollback(before, height)
            seen = before.position.height if before else 0
            async for block in client.blocks(start=max(seen - 1, 0), stop=height - 1):
                if block.header.number < seen:
                    auditor.recognise(block)
                    continue
                await asyncio.to_thread(accept_all, examiners.put(block))
                progress(auditor.height, height)
            await asyncio.to_thread(accept_all, examiners.rest())
            progress(auditor.height, height)
        except VerificationError as error:
            return auditor.report(error)
        report = auditor.report()
        if resumption and report.verified:
            resumption.write(auditor.knowledge, known, state)
        return report


def _refuse_rollback(before: AuditState, height: int) -> None:
    verified = before.position.height
    if height < verified:
        reason = (
            f"an earlier audit verified {verified} blocks, and the ledger has {height}: it was rolled back, or this is an older copy of it"
        )
        raise VerificationError(height, Step.CHECKPOINT, reason)


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
    with IdsOnDisk() as known, StateOnDisk() as state, Examiners(processes or cores()) as examiners:
        auditor = Auditor(checkpoints=checkpoints, known=known, state=state)
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
