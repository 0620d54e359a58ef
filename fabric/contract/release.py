"""Which version of the contract this is, and how records that earlier versions wrote become its own.

A record names the schema it was written in. It is brought up to date whenever it is read, and stays on the ledger as it was until a
rule writes it: an upgrade takes no transaction of its own and conflicts with none that is under way. See docs/upgrade.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fabric.contract.errors import ContractError

DEBITS_IN_RECORDS = -1  # in a task's filter, where a number says which round is the first that is not debited

Record = dict[str, Any]
Migration = Callable[[Record], Record]
"""From a record of one schema to the same record in the next; pure, and it may not change what it is given."""


@dataclass(frozen=True)
class Release:
    """One version of the contract. `migrations`: by kind of record and the schema it is in; kinds that are not named stay as they are."""

    version: str  # MAJOR.MINOR.PATCH
    schema: int
    migrations: Mapping[tuple[str, int], Migration]

    @property
    def rules(self) -> str:
        """MAJOR.MINOR, on which all organisations must agree: a patch changes nothing that stands on the ledger."""
        return self.version.rpartition(".")[0]

    def current(self, kind: str, record: Record) -> Record:
        """The record in this version's schema; refuse with NEWER_SCHEMA one of a later version, which would be lost in part."""
        written_in = int(record["schema"])
        if written_in > self.schema:
            raise ContractError(
                "NEWER_SCHEMA",
                f"a record of kind {kind} has schema {written_in}, and contract {self.version} knows schemas up to {self.schema}; "
                "this organisation's chaincode is older than the network's: upgrade it",
            )
        for schema in range(written_in, self.schema):
            migrate = self.migrations.get((kind, schema))
            record = record if migrate is None else migrate(record)
        return {**record, "schema": self.schema}


def rules_number(rules: str) -> tuple[int, int]:
    """MAJOR.MINOR as numbers that can be compared; raise ValueError for anything else."""
    major, minor = rules.split(".")
    return int(major), int(minor)


def _terms_of_1_0(terms: Record) -> Record:
    """Tasks of contract 1.0 scale their features by the task file's ranges only, do not say when their permit ends, and wait for nobody."""
    return {**terms, "normalisation": False, "permit_expires": "", "training_limit": 1, "mode": "unstated"}


def _debits_told_by_their_records(task_filter: Record) -> Record:
    """Contract 1.0 knew which rounds are debited from the records of the debits alone."""
    return {**task_filter, "debited": DEBITS_IN_RECORDS}


def _without_digests(decision: Record) -> Record:
    """Who answered under contract 1.0 said nothing of the views it had read and of the patients it gives."""
    return {**decision, "views_digest": None, "cohort_digest": None}


def _paid_at_once(settlement: Record) -> Record:
    """Contract 1.0 gave what a hospital forfeited to the treasury, and what it earned at once."""
    hospitals = settlement["hospitals"]
    fined = [each["mspid"] for each in hospitals if each["deposit_micro"]]
    released = {each["mspid"]: each["pay_micro"] for each in hospitals if each["pay_micro"]}
    return {**settlement, "fined": fined, "honest": [], "share_micro": 0, "released_micro": released}


def _nobody_quarantined(round_record: Record) -> Record:
    """Contract 1.0 had no quarantine, and opened no sum again because shares were false."""
    return {**round_record, "quarantined": [], "failed_quorums": []}


def _not_quarantined(trust: Record) -> Record:
    return {**trust, "quarantined": False}


RELEASE = Release(
    "1.1.0",
    2,
    {
        ("task", 1): _terms_of_1_0,
        ("task_filter", 1): _debits_told_by_their_records,
        ("decision", 1): _without_digests,
        ("round", 1): _nobody_quarantined,
        ("trust", 1): _not_quarantined,
        ("settlement", 1): _paid_at_once,
    },
)
