"""Delegated stake: it weighs in elections within the cap, and is never at risk for another's sins."""

from gateway.auditor.calls import contract_calls
from gateway.auditor.token_statement import Bookkeeping
from gateway.auditor.verify import Auditor
from tests.contract.test_slashing import prove
from tests.support.consortium import LAB, Consortium, refused
from tests.support.recorded_task import Recording
from tests.support.stub import person

TOKEN = 1_000_000


def lend(consortium: Consortium, owner: str, mspid: str, tokens: int) -> None:
    consortium.submit(person(owner, "admin", "admin"), "delegate_stake", mspid=mspid, amount_micro=tokens * TOKEN)


def balance(consortium: Consortium, mspid: str) -> int:
    return int(consortium.view("organisation", mspid=mspid)["balance_micro"]) // TOKEN


def test_what_is_lent_weighs_within_the_cap() -> None:
    consortium = Consortium(5)
    lend(consortium, LAB, "H01MSP", 20)
    lend(consortium, LAB, "H02MSP", 800)
    assert consortium.view("organisation", mspid="H01MSP")["delegated_micro"] == 20 * TOKEN
    consortium.start()
    weights = consortium.round()["weights"]
    assert weights["H01MSP"] * 10 == weights["H03MSP"] * 12
    assert weights["H02MSP"] * 5 <= 2 * sum(weights.values())
    assert weights["H02MSP"] > weights["H01MSP"]


def test_it_can_be_changed_and_taken_back() -> None:
    consortium = Consortium(3)
    lend(consortium, LAB, "H01MSP", 50)
    lend(consortium, LAB, "H01MSP", 30)
    assert balance(consortium, LAB) == 970
    lend(consortium, "H02MSP", "H01MSP", 10)
    lend(consortium, LAB, "H01MSP", 0)
    assert balance(consortium, LAB) == 1000
    assert consortium.view("organisation", mspid="H01MSP")["delegated_micro"] == 10 * TOKEN
    assert consortium.tokens() == consortium.minted()


def test_a_proof_against_the_delegate_costs_its_delegators_nothing() -> None:
    consortium = Consortium(4)
    lend(consortium, "H02MSP", "H01MSP", 100)
    prove(consortium, "H01MSP")
    with refused("EJECTED"):
        lend(consortium, "H02MSP", "H01MSP", 101)
    lend(consortium, "H02MSP", "H01MSP", 0)
    assert balance(consortium, "H02MSP") == 900
    assert consortium.tokens() == consortium.minted()


def test_refusals() -> None:
    consortium = Consortium(3)
    with refused("BAD_ARGUMENT"):
        lend(consortium, "H01MSP", "H01MSP", 1)
    with refused("NOT_A_HOSPITAL"):
        lend(consortium, "H01MSP", LAB, 1)
    with refused("NOT_FOUND"):
        lend(consortium, "H01MSP", "NobodyMSP", 1)
    with refused("INSUFFICIENT_BALANCE"):
        lend(consortium, "H01MSP", "H02MSP", 901)


def test_the_audit_and_the_statement_follow() -> None:
    recording = Recording(4)
    consortium = recording.consortium
    lend(consortium, "H02MSP", "H01MSP", 100)
    lend(consortium, LAB, "H01MSP", 7)
    consortium.start(rounds=1)
    consortium.play_round()
    lend(consortium, "H02MSP", "H01MSP", 40)
    auditor, books = Auditor(), Bookkeeping()
    for block in recording.blocks:
        for call in contract_calls(auditor.accept(block)):
            books.observe(call)
    assert auditor.report().problems == ()
    lent = {entry.organisation: entry.after_micro for entry in books.entries if entry.account == "delegated"}
    assert lent == {"H02MSP": 40 * TOKEN, LAB: 7 * TOKEN}
    assert sum(entry.amount_micro for entry in books.entries) == consortium.minted()
