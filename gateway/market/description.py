"""A listing's description: HealthDCAT-AP (the health extension of DCAT-AP, release 5 and after) as JSON-LD, checked with pydantic.

It is made by the hospital, stands on the ledger, and is read again by whoever looks for data: unknown keys are refused both times.
Counts are the noisy ones, and the statement beside them says what they cost.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fabric.contract.statement import ACCOUNTANT, NEIGHBOURS, UNIT
from gateway.errors import VerificationFailed
from gateway.market.listing_file import ListingFile
from gateway.market.statistics import Statistics
from gateway.task_file import MICRO
from gateway.task_values import Number
from gateway.toml_file import first_problem
from privacy.accounting import SpendEvent, epsilon_at_orders

CONTEXT = {
    "adms": "http://www.w3.org/ns/adms#",
    "dcat": "http://www.w3.org/ns/dcat#",
    "dcatap": "http://data.europa.eu/r5r/",
    "dct": "http://purl.org/dc/terms/",
    "dpv": "https://w3id.org/dpv#",
    "foaf": "http://xmlns.com/foaf/0.1/",
    "healthdcatap": "http://healthdataportal.eu/ns/health#",
    "odrl": "http://www.w3.org/ns/odrl/2/",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "vcard": "http://www.w3.org/2006/vcard/ns#",
    "consortium": "urn:consortium:",
}
NON_PUBLIC = "http://publications.europa.eu/resource/authority/access-right/NON_PUBLIC"
EHDS = "http://data.europa.eu/eli/reg/2025/327/oj"
Text = Annotated[str, Field(max_length=2000)]


class _Node(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Reference(_Node):
    """An IRI."""

    id: Annotated[str, Field(alias="@id", max_length=400)]


class Agent(_Node):
    type: Literal["foaf:Agent"] = Field("foaf:Agent", alias="@type")
    name: Text = Field(alias="foaf:name")


class Contact(_Node):
    type: Literal["vcard:Kind"] = Field("vcard:Kind", alias="@type")
    page: Reference | None = Field(None, alias="vcard:hasURL")
    mail: Reference | None = Field(None, alias="vcard:hasEmail")


class Labelled(_Node):
    """A purpose or a legal basis, in words."""

    type: Literal["dpv:Purpose", "dpv:LegalBasis"] = Field(alias="@type")
    label: Text = Field(alias="rdfs:label")


class PrivacyStatement(_Node):
    """What the counts cost and mean, as NIST SP 800-226 asks of every claim."""

    unit: Text = Field(alias="consortium:unit")
    neighbours: Text = Field(alias="consortium:neighbours")
    mechanism: Literal["gaussian"] = Field(alias="consortium:mechanism")
    noise_multiplier: Number = Field(alias="consortium:noiseMultiplier")
    deviation: Number = Field(alias="consortium:noiseDeviation")
    accountant: Text = Field(alias="consortium:accountant")
    epsilon: Number = Field(alias="consortium:epsilon")
    delta: Number = Field(alias="consortium:delta")
    trust_model: Literal["local"] = Field(alias="consortium:trustModel")


class Description(_Node):
    """A `dcat:Dataset` as HealthDCAT-AP asks for where data are not public."""

    context: dict[str, str] = Field(alias="@context")
    type: Literal["dcat:Dataset"] = Field("dcat:Dataset", alias="@type")
    identifier: Text = Field(alias="dct:identifier")
    title: Text = Field(alias="dct:title")
    text: Text = Field(alias="dct:description")
    publisher: Agent = Field(alias="dct:publisher")
    contact: Contact = Field(alias="dcat:contactPoint")
    access_body: Agent = Field(alias="healthdcatap:hdab")
    access: Reference = Field(alias="dct:accessRights")
    legislation: Reference = Field(alias="dcatap:applicableLegislation")
    category: Reference = Field(alias="healthdcatap:healthCategory")
    themes: tuple[Text, ...] = Field((), alias="dcat:keyword")
    population: Text = Field("", alias="healthdcatap:populationCoverage")
    patients: Annotated[int, Field(ge=0, alias="healthdcatap:numberOfUniqueIndividuals")]
    by_sex: dict[str, Number] = Field(alias="consortium:patientsBySex")
    by_age: dict[str, Number] = Field(alias="consortium:patientsByAge")
    as_of: Text = Field(alias="consortium:agesAsOf")
    privacy: PrivacyStatement = Field(alias="consortium:privacyStatement")
    purposes: tuple[Labelled, ...] = Field(alias="dpv:hasPurpose")
    legal_bases: tuple[Labelled, ...] = Field(alias="dpv:hasLegalBasis")
    permit_required: bool = Field(alias="consortium:permitRequired")
    price_tokens: Number = Field(alias="consortium:priceTokens")

    def to_json(self) -> str:
        """Canonical JSON-LD in one line: what the ledger holds, with its digest."""
        return json.dumps(self.model_dump(mode="json", by_alias=True, exclude_none=True), sort_keys=True, separators=(",", ":"))


def describe(file: ListingFile, statistics: Statistics, event: SpendEvent, *, delta: float) -> Description:
    """The description of what the file offers. Run by the hospital."""
    listing = file.listing
    contact = "vcard:hasEmail" if listing.contact.startswith("mailto:") else "vcard:hasURL"
    fields: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "dcat:Dataset",
        "dct:identifier": listing.id,
        "dct:title": listing.title,
        "dct:description": listing.description,
        "dct:publisher": {"@type": "foaf:Agent", "foaf:name": listing.publisher},
        "dcat:contactPoint": {"@type": "vcard:Kind", contact: {"@id": listing.contact}},
        "healthdcatap:hdab": {"@type": "foaf:Agent", "foaf:name": listing.access_body},
        "dct:accessRights": {"@id": NON_PUBLIC},
        "dcatap:applicableLegislation": {"@id": EHDS},
        "healthdcatap:healthCategory": {"@id": CONTEXT["healthdcatap"] + listing.category},
        "dcat:keyword": listing.themes,
        "healthdcatap:populationCoverage": listing.population,
        "healthdcatap:numberOfUniqueIndividuals": statistics.patients,
        "consortium:patientsBySex": {name: round(count, 1) for name, count in statistics.by_sex.items()},
        "consortium:patientsByAge": {name: round(count, 1) for name, count in statistics.by_age.items()},
        "consortium:agesAsOf": file.statistics.as_of.isoformat(),
        "consortium:privacyStatement": _statement(statistics, event, delta=delta),
        "dpv:hasPurpose": [{"@type": "dpv:Purpose", "rdfs:label": purpose} for purpose in listing.purposes],
        "dpv:hasLegalBasis": [{"@type": "dpv:LegalBasis", "rdfs:label": basis} for basis in listing.legal_bases],
        "consortium:permitRequired": listing.permit_required,
        "consortium:priceTokens": listing.price_micro / MICRO,
    }
    return Description.model_validate(fields)


def _statement(statistics: Statistics, event: SpendEvent, *, delta: float) -> dict[str, Any]:
    return {
        "consortium:unit": UNIT,
        "consortium:neighbours": NEIGHBOURS,
        "consortium:mechanism": event.mechanism,
        "consortium:noiseMultiplier": event.noise_multiplier,
        "consortium:noiseDeviation": statistics.deviation,
        "consortium:accountant": ACCOUNTANT,
        "consortium:epsilon": epsilon_at_orders([event], delta=delta),
        "consortium:delta": delta,
        "consortium:trustModel": "local",
    }


def parse_description(text: str, *, source: str) -> Description:
    """Check a description that somebody else wrote; raise VerificationFailed with one sentence."""
    try:
        fields: Any = json.loads(text)
        return Description.model_validate(fields)
    except ValidationError as error:
        raise VerificationFailed(f"{source} is no HealthDCAT-AP description of this market: {first_problem(error)}") from error
    except (ValueError, RecursionError) as error:
        raise VerificationFailed(f"{source} is not JSON-LD: {error}") from error
