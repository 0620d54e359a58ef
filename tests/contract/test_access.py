"""Every function against every role, as one table; and who is who."""

from typing import Any

import pytest

from fabric.contract import access, entry
from fabric.contract.errors import ContractError
from fabric.contract.release import RELEASE
from tests.support.consortium import Consortium, refused
from tests.support.stub import MemoryLedger, Person, person

H, OUTSIDER = "H01MSP", "OutMSP"

# The table that the contract must have, written a second time on purpose.
EXPECTED = {
    "anyone": "version",
    "admin": (
        "version register_organisation register_identity revoke_identity register_dataset approve_task reject_task advance abort_task "
        "debit_release debit_listing publish_listing close_listing settle_order advance_dispute disputes "
        "delegate_stake organisations organisation identities budget datasets spends listings orders tasks task round settlement trust"
    ),
    "gateway": (
        "version heartbeat register_dataset declare_leave approve_task reject_task advance rejoin commit_key_share confirm_key "
        "accuse_dealer debit debit_release record_withdrawals debit_listing publish_listing close_listing settle_order "
        "open_dispute take_seat share_disputed commit_finding reveal_finding advance_dispute disputes "
        "commit reveal post_sums post_share object_sums object_shares post_candidate commit_scores reveal_scores "
        "organisations organisation identities budget datasets spends listings orders tasks task round settlement trust"
    ),
    "researcher": "submit_task advance abort_task settle_order disputes version organisations organisation identities budget datasets "
    "spends listings orders tasks task round settlement trust",
    "auditor": "version attest_fairness disputes organisations organisation identities budget datasets spends listings orders "
    "tasks task round settlement trust",
}


@pytest.fixture(scope="module")
def callers() -> tuple[MemoryLedger, dict[str, Person]]:
    consortium = Consortium(3)
    auditor = person("H01MSP", "auditor")
    admin = person(H, "admin", "admin")
    consortium.submit(admin, "register_identity", role="auditor", fingerprint=auditor.fingerprint, endpoint="")
    people = {
        "anyone": person(OUTSIDER, "stranger"),
        "admin": admin,
        "gateway": consortium.gateway(H),
        "researcher": consortium.researcher,
        "auditor": auditor,
    }
    return consortium.ledger, people


def denied(ledger: MemoryLedger, caller: Person, function: str) -> bool:
    """Called with an argument that no function takes: whoever is let in is told so, the others are told to leave."""
    with pytest.raises(ContractError) as refusal:
        ledger.endorse(caller, function, {"unknown": 1} if entry.FUNCTIONS[function][0] else b"{}")
    assert refusal.value.code in ("DENIED", "BAD_ARGUMENT")
    return refusal.value.code == "DENIED"


@pytest.mark.parametrize("role", access.ROLES)
@pytest.mark.parametrize("function", sorted(entry.FUNCTIONS))
def test_the_table(callers: tuple[MemoryLedger, dict[str, Person]], function: str, role: str) -> None:
    ledger, people = callers
    assert denied(ledger, people[role], function) == (function not in EXPECTED[role].split())


def test_the_table_covers_every_function_and_nothing_else() -> None:
    assert access.TABLE.keys() == entry.FUNCTIONS.keys()
    assert set().union(*access.TABLE.values()) <= set(access.ROLES)


def test_a_certificate_of_another_unit_holds_no_role() -> None:
    consortium = Consortium(3)
    for unit in ("peer", "orderer", "client", "Admin", ""):
        assert denied(consortium.ledger, person(H, f"unit-{unit}", unit or "none"), "register_identity")


def test_a_registration_counts_in_its_own_organisation_only() -> None:
    """H01's admin registers a certificate of H02: in H02 that gives nothing, and H02 can still register it."""
    consortium = Consortium(3)
    target = person("H02MSP", "second-gateway")
    consortium.submit(
        person(H, "admin", "admin"), "register_identity", role="gateway", fingerprint=target.fingerprint, endpoint="localhost:1"
    )
    assert denied(consortium.ledger, target, "heartbeat")
    consortium.submit(
        person("H02MSP", "admin", "admin"), "register_identity", role="gateway", fingerprint=target.fingerprint, endpoint="localhost:1"
    )
    assert consortium.submit(target, "heartbeat") == {"count": 1}


def test_a_revoked_certificate_is_denied_at_once_and_for_good() -> None:
    consortium = Consortium(3)
    gateway, admin = consortium.gateway(H), person(H, "admin", "admin")
    consortium.submit(admin, "revoke_identity", fingerprint=gateway.fingerprint)
    with refused("DENIED"):
        consortium.submit(gateway, "heartbeat")
    with refused("ALREADY_REGISTERED"):
        consortium.submit(admin, "register_identity", role="gateway", fingerprint=gateway.fingerprint, endpoint="")
    with refused("ALREADY_REVOKED"):
        consortium.submit(admin, "revoke_identity", fingerprint=gateway.fingerprint)
    assert consortium.view("organisation", mspid=H)["gateways"] == []


def test_an_unreadable_certificate_is_denied() -> None:
    with refused("DENIED"):
        MemoryLedger().endorse(Person(H, b"not a certificate"), "version")


def test_version_is_for_anyone_even_on_an_empty_ledger() -> None:
    said = MemoryLedger().evaluate(person("NewMSP", "x"), "version")
    assert said == {"contract": "consortium", "version": RELEASE.version, "schema": RELEASE.schema}


def test_an_unknown_function_is_refused() -> None:
    for function in ("", "invoke", "__class__", "Version", "\x00"):
        with refused("UNKNOWN_FUNCTION"):
            MemoryLedger().endorse(person(H, "x"), function)


ONLY_RESEARCHERS_OWN: dict[str, Any] = {"task_id": "breast-cancer", "reason": "not mine"}


def test_only_the_submitting_organisation_aborts() -> None:
    consortium = Consortium(3)
    consortium.propose()
    with refused("DENIED"):
        consortium.submit(person(H, "admin", "admin"), "abort_task", **ONLY_RESEARCHERS_OWN)
