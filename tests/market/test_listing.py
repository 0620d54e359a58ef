"""Listings: the file, the statistics with noise, and the description that stands on the ledger."""

import datetime
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.client.errors import ContractRefused
from fabric.ledger_views import ListingView
from gateway.errors import ConfigError, InputError, VerificationFailed
from gateway.market.description import describe, parse_description
from gateway.market.listing_file import ListingFile, load_listing
from gateway.market.order import match
from gateway.market.publish import publish
from gateway.market.statistics import AGES, SENSITIVITY, SEXES, Person, private_statistics, read_people, statistics_event
from gateway.task_file import MICRO, parse
from privacy.noise import NoiseSource
from tests.support.hospitals import task_document
from tests.support.noise_sources import Counting, Silent

SAMPLE = Path(__file__).parents[2] / "deploy" / "samples" / "market" / "heart-clinic.toml"
AS_OF = datetime.date(2026, 1, 1)
people = st.lists(st.builds(Person, st.integers(0, len(SEXES) - 1), st.integers(0, len(AGES) - 1)), max_size=30)


@pytest.fixture
def sample() -> ListingFile:
    return load_listing(SAMPLE)


def test_the_sample_is_a_listing(sample: ListingFile) -> None:
    assert (sample.listing.price_micro, sample.statistics.as_of) == (20 * MICRO, AS_OF)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("price_tokens = 20", "price_tokens = -1", "price_tokens"),
        ('purposes = ["scientific research"]', "purposes = []", "purposes"),
        ("epsilon = 0.5", "epsilon = 0", "epsilon"),
        ("epsilon = 0.5", "epsilon = nan", "epsilon"),
        ('category = "EHRS"', 'category = "MINE"', "category"),
        ('contact = "mailto:data-access@hospital.example"', 'contact = "call us"', "contact"),
        ("permit_required = true", 'permit_required = true\nnotes = "x"', "unknown key"),
        ('id = "heart-clinic-2026"', 'id = "../x"', "id"),
    ],
)
def test_a_bad_file_is_refused_with_the_key(tmp_path: Path, old: str, new: str, told: str) -> None:
    text = SAMPLE.read_text()
    assert old in text
    path = tmp_path / "listing.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=told):
        load_listing(path)


@given(people, st.builds(Person, st.integers(0, len(SEXES) - 1), st.integers(0, len(AGES) - 1)))
def test_one_patient_moves_all_counts_together_by_at_most_the_sensitivity(found: list[Person], one_more: Person) -> None:
    def counts(everybody: list[Person]) -> np.ndarray:
        told = private_statistics(everybody, noise_multiplier=1.0, noise=Silent())
        return np.array([*told.by_sex.values(), *told.by_age.values()])

    assert np.linalg.norm(counts([*found, one_more]) - counts(found)) == pytest.approx(SENSITIVITY)


def test_every_count_has_its_noise() -> None:
    noise = Counting()
    told = private_statistics([], noise_multiplier=3.0, noise=noise)
    assert noise.drawn == [(len(SEXES) + len(AGES), 3.0 * SENSITIVITY)]
    assert told.deviation == 3.0 * SENSITIVITY


def _write(folder: Path, resources: list[dict[str, object]]) -> Path:
    folder.mkdir()
    (folder / "Patient.ndjson").write_text("".join(json.dumps(each) + "\n" for each in resources))
    return folder


def test_patients_are_counted_once_and_those_without_consent_not(tmp_path: Path) -> None:
    folder = _write(
        tmp_path / "data",
        [
            {"resourceType": "Patient", "id": "a", "gender": "female", "birthDate": "1990-01-02"},
            {"resourceType": "Patient", "id": "a", "gender": "female", "birthDate": "1990-01-02"},
            {"resourceType": "Patient", "id": "b", "gender": "male", "birthDate": "1950"},
            {"resourceType": "Patient", "id": "c", "birthDate": "2026-05-01"},
            {"resourceType": "Patient", "id": "d", "gender": "male", "birthDate": "1940-01-01"},
        ],
    )
    found = read_people(folder, as_of=AS_OF, left_out=lambda key: "opted-out" if key == "d" else None)
    told = [(SEXES[each.sex], AGES[each.age]) for each in found]
    assert sorted(told) == [("female", "30-39"), ("male", "70-79"), ("unknown", "unknown")]


class Registry:
    """A ledger that keeps what is debited and published."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    async def debit_listing(self, **terms: Any) -> None:
        if any(name == "debit" for name, _ in self.calls):
            raise ContractRefused("ALREADY_DEBITED", "it is debited; publish it")
        self.calls.append(("debit", terms))

    async def publish_listing(self, **terms: Any) -> None:
        self.calls.append(("publish", terms))


def _hospital(folder: Path) -> Any:
    data = folder / "data"
    if not data.exists():
        _write(data, [{"resourceType": "Patient", "id": f"p{n}", "gender": "male", "birthDate": "1960"} for n in range(200)])
    budget = SimpleNamespace(dataset="records", delta_inverse=1000)
    return SimpleNamespace(gateway=SimpleNamespace(data=data), consents=None, budget=budget)


async def _publish(ledger: Registry, folder: Path, sample: ListingFile, out: Path, key: int = 1) -> None:
    now = datetime.datetime(2026, 2, 1, tzinfo=datetime.UTC)
    await publish(ledger, _hospital(folder), sample, out=out, now=now, noise=NoiseSource(bytes([key]) * 32))  # type: ignore[arg-type]  # a double


async def test_the_debit_comes_first_and_the_noise_is_drawn_once(tmp_path: Path, sample: ListingFile) -> None:
    ledger, out = Registry(), tmp_path / "description.jsonld"
    await _publish(ledger, tmp_path, sample, out)
    (first, debited), (second, published) = ledger.calls
    assert (first, second) == ("debit", "publish")
    assert {(each.partition, each.steps) for each in debited["spends"]} == {("train", 1), ("validation", 1), ("test", 1)}
    assert published["description"] == out.read_text()
    assert published["digest"] == hashlib.sha256(out.read_bytes()).hexdigest()
    await _publish(ledger, tmp_path, sample, out, key=2)  # after a crash, say: the same numbers again, and no second debit
    assert ledger.calls[2] == ledger.calls[1] and len(ledger.calls) == 3
    with pytest.raises(InputError, match="its statistics are not in"):
        await _publish(ledger, tmp_path, sample, tmp_path / "elsewhere.jsonld", key=2)
    other = sample.model_copy(update={"listing": sample.listing.model_copy(update={"id": "another"})})
    with pytest.raises(InputError, match="describes another listing"):
        await _publish(ledger, tmp_path, other, out)


async def test_the_description_is_health_dcat_ap_with_noisy_counts_and_their_statement(tmp_path: Path, sample: ListingFile) -> None:
    ledger, out = Registry(), tmp_path / "description.jsonld"
    await _publish(ledger, tmp_path, sample, out)
    told = json.loads(out.read_text())
    assert told["@type"] == "dcat:Dataset" and told["@context"]["healthdcatap"] == "http://healthdataportal.eu/ns/health#"
    for mandatory in ("dct:title", "dct:description", "dct:publisher", "dcat:contactPoint", "healthdcatap:hdab", "dct:accessRights"):
        assert told[mandatory], mandatory
    assert told["healthdcatap:numberOfUniqueIndividuals"] != 200 and abs(told["healthdcatap:numberOfUniqueIndividuals"] - 200) < 200
    assert told["consortium:privacyStatement"]["consortium:epsilon"] <= 0.5
    assert '"p1' not in out.read_text()


def _description(sample: ListingFile) -> str:
    event = statistics_event(epsilon=0.5, delta=1e-3)
    return describe(sample, private_statistics([], noise_multiplier=1.0, noise=Silent()), event, delta=1e-3).to_json()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"dcat:Dataset"', '"dcat:Catalog"'),
        ('"dct:title"', '"dct:name"'),
        ('"local"', '"nobody"'),
        ("{", "["),
        ('"consortium:epsilon":', '"consortium:epsilon":"x",'),
    ],
)
def test_a_description_of_another_form_is_refused(sample: ListingFile, old: str, new: str) -> None:
    text = _description(sample)
    assert parse_description(text, source="it").identifier == sample.listing.id
    assert old in text
    with pytest.raises(VerificationFailed, match="it is n"):
        parse_description(text.replace(old, new, 1), source="it")


PERMIT = 'permit = "EHDS-7"\npermit_expires = 2090-06-30'
BASIS = "GDPR 9(2)(j)"


def _listing(sample: ListingFile, number: int, **changes: Any) -> ListingView:
    terms = ListingView(f"l{number}", f"H{number}", "d", "", _description(sample), 20 * MICRO, ("testing",), (BASIS,), True, False)
    return replace(terms, **changes)


def test_offers_that_do_not_match_are_named_with_the_reason(sample: ListingFile) -> None:
    task = parse(task_document(permit=PERMIT))
    listings = [
        _listing(sample, 1),
        _listing(sample, 2, purposes=("care",)),
        _listing(sample, 3, legal_bases=("consent",)),
        _listing(sample, 4, closed=True),
        _listing(sample, 5, mspid="H1", price_micro=30 * MICRO),
        _listing(sample, 6),
        _listing(sample, 7, price_micro=31 * MICRO),
    ]
    found = match(task, listings, legal_basis=BASIS)
    assert [each.listing_id for each in found.taken] == ["l1", "l6"]
    assert {listing: why.split()[0:3] for listing, why in found.refused.items()} == {
        "l2": ["it", "is", "not"],
        "l3": ["it", "is", "not"],
        "l4": ["it", "is", "closed"],
        "l5": ["H1", "offers", "l1"],
        "l7": ["its", "price", "is"],
    }
    without = match(parse(task_document()), listings, legal_basis=BASIS, wanted=("l1", "nowhere"))
    assert without.taken == () and without.refused == {
        "nowhere": "there is no such listing",
        "l1": "it needs a data permit, and the task names none",
    }


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 100), max_size=8), st.integers(0, 200))
def test_an_equal_share_always_covers_every_price_that_is_taken(prices: list[int], reward: int) -> None:
    task = parse(task_document(permit=PERMIT).replace(b"reward_tokens = 60", f"reward_tokens = {reward}".encode()))
    described = _description(load_listing(SAMPLE))
    offers = [
        ListingView(f"l{n}", f"H{n}", "d", "", described, price * MICRO, ("testing",), (BASIS,), False, False)
        for n, price in enumerate(prices)
    ]
    found = match(task, offers, legal_basis=BASIS)
    share = reward * MICRO // max(len(found.taken), 1)
    assert all(each.price_micro <= share for each in found.taken)
    if (left := len(prices) - len(found.taken)) > 0:
        assert sorted(prices)[-left] * MICRO > reward * MICRO // (len(found.taken) + 1)
