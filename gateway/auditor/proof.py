"""Evidence about single transactions: gathered while the whole ledger is verified, and checked where there is no ledger."""

import datetime
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fabric_protos.common import common_pb2
from fabric_protos.peer import transaction_pb2

from fabric.crypto import SigningIdentity
from fabric.evidence import Content, EvidenceError, Proven, Roots, evidence_block, sign_evidence, verify_evidence
from fabric.examination import ExaminedBlock
from fabric.transactions import ConfigTransaction, EndorserTransaction
from fabric.validation import Judged
from fabric.verify import VerifiedBlock
from gateway.auditor.checkpoints import end_of, read_checkpoint, read_file, write_file
from gateway.auditor.export import BlockSource
from gateway.auditor.verify import Auditor, AuditReport, Progress, audit_blocks, no_progress
from gateway.errors import InputError, VerificationFailed
from gateway.toml_file import FilePath, Section, read, validate


class RootsFile(Section):
    """The roots that the consortium's organisations are known to have: PEM files, relative ones beside this file."""

    application: dict[str, FilePath]
    orderer: dict[str, FilePath]


class Gathering:
    """Collects, block by block, what evidence about one transaction needs up to a checkpoint's block, or to the last one.

    `wanted` tells by its id whether a transaction is the one, and is asked once it has been seen; `name` is for the sentence if none was.
    """

    def __init__(self, wanted: Callable[[str], bool], last: int | None, name: str) -> None:
        self._wanted = wanted
        self._last = last
        self._name = name
        self._configurations: list[str] = []
        self._found: tuple[int, Judged, str] | None = None  # position, judgement, block
        self._data_hashes: list[str] = []

    def take(self, block: common_pb2.Block, verified: VerifiedBlock) -> None:
        if self._last is not None and verified.number > self._last:
            return
        if verified.number == 0 or any(one.valid and isinstance(one.transaction, ConfigTransaction) for one in verified.transactions):
            self._configurations.append(evidence_block(block))
        if self._found is not None:
            self._data_hashes.append(block.header.data_hash.hex())
        for position, judged in enumerate(verified.transactions):
            if self._is_better(judged):
                self._found, self._data_hashes = (position, judged, evidence_block(block)), []

    def content(self, channel: str, checkpoint: bytes, now: datetime.datetime) -> Content:
        """What to sign; raise InputError if the transaction was not found."""
        if self._found is None:
            until = "" if self._last is None else f" up to block {self._last}, which is the checkpoint's"
            raise InputError(f"the ledger holds no {self._name}{until}")
        position, judged, block = self._found
        return Content(
            channel=channel,
            tx_id=judged.tx_id,
            code=transaction_pb2.TxValidationCode.Name(judged.code),
            position=position,
            configurations=tuple(self._configurations),
            block=block,
            data_hashes=tuple(self._data_hashes),
            checkpoint=checkpoint.decode(),
            made_at=now.astimezone(datetime.UTC).isoformat(timespec="seconds"),
        )

    def _is_better(self, judged: Judged) -> bool:
        """The transaction that took effect, else the first with the id: later ones are replays."""
        if not self._wanted(judged.tx_id) or not isinstance(judged.transaction, EndorserTransaction) or judged.creator is None:
            return False
        return self._found is None or (judged.valid and not self._found[1].valid)


async def prove(
    client: BlockSource,
    tx_id: str,
    path: Path,
    identity: SigningIdentity,
    *,
    now: datetime.datetime,
    checkpoint: Path | None = None,
    processes: int | None = None,
    progress: Progress = no_progress,
) -> Proven:
    """Verify the ledger, and write evidence that `tx_id` stands in it: up to `checkpoint`, or to a new one of the newest block.

    Raises VerificationFailed if the ledger does not verify or the evidence would not, InputError, and the client's errors.
    """
    given = read_checkpoint(checkpoint) if checkpoint else None
    gathering = Gathering(
        lambda found: found == tx_id, given.number if given else None, f"call of a contract with the transaction id {tx_id}"
    )

    def accept(auditor: Auditor, block: common_pb2.Block, examined: ExaminedBlock) -> None:
        gathering.take(block, auditor.accept(block, examined))

    report = await audit_blocks(client, accept, [given] if given else [], processes, progress)
    if not report.verified:
        raise VerificationFailed(f"nothing can be proved, for {report.finding}")
    end = given.statement.data if given and given.statement else end_of(report, identity, now=now)
    data, proven = evidence(gathering, report, identity, end=end, now=now)
    write_file(path, data)
    return proven


def evidence(
    gathering: Gathering, report: AuditReport, identity: SigningIdentity, *, end: bytes, now: datetime.datetime
) -> tuple[bytes, Proven]:
    """The evidence's bytes, and what they prove; raise InputError if nothing was gathered, VerificationFailed if they prove nothing."""
    data = sign_evidence(identity, gathering.content(report.channel, end, now))
    try:
        # Nobody should have to learn elsewhere that it proves nothing.
        return data, verify_evidence(data, genesis_hash=bytes.fromhex(report.genesis_hash))
    except EvidenceError as error:
        raise VerificationFailed(f"the evidence would not convince anybody: {error.reason}") from error


def check_proof(path: Path, *, genesis_hash: bytes | None = None, roots: Path | None = None) -> Proven:
    """Check an evidence file without any ledger; raise VerificationFailed, InputError or ConfigError with one sentence."""
    known = read_roots(roots) if roots else None
    try:
        return verify_evidence(read_file(path, made_by="prove"), genesis_hash=genesis_hash, roots=known)
    except EvidenceError as error:
        raise VerificationFailed(f"{path} proves nothing: {error.reason}") from error


def read_roots(path: Path) -> Roots:
    """Read a file of roots and the PEM files it names (each may hold several certificates); raise ConfigError or InputError."""
    file = validate(RootsFile, read(path), path)
    return Roots(
        {mspid: _certificates(pem) for mspid, pem in file.application.items()},
        {mspid: _certificates(pem) for mspid, pem in file.orderer.items()},
    )


def _certificates(path: Path) -> list[bytes]:
    try:
        certificates = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; name an organisation's root certificates") from error
    except ValueError as error:
        raise InputError(f"{path} does not hold certificates in PEM form") from error
    return [certificate.public_bytes(Encoding.PEM) for certificate in certificates]
