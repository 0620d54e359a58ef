"""What a hospital offers, as its staff write it: TOML, validated, unknown keys refused."""

import datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from gateway.task_file import MICRO
from gateway.task_values import Count, Number, Text
from gateway.toml_file import Section, read, validate

ShortText = Annotated[Text, Field(min_length=1, max_length=200)]
Statement = Annotated[Text, Field(min_length=3, max_length=200)]
Iri = Annotated[str, Field(pattern=r"^(https?|mailto):[!-~]{3,300}$")]
HealthCategory = Literal[
    "EHRS", "SDOH", "AGGR", "PTHG", "HRAD", "HGNM", "OMIC", "PGHD", "MDEV", "WELL", "IPRO", "PHDR", "REGI", "CLIN", "RGSU", "BIOB"
]


class ListingSection(Section):
    """The data set, what it may be used for, and for what price."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{2,62}$")]
    """Name of the listing on the ledger."""
    title: Statement
    description: Annotated[Text, Field(min_length=3, max_length=2000)]
    publisher: ShortText
    contact: Iri
    """Page or mail address (mailto:) of those who answer for it; of an office, not of a person."""
    access_body: ShortText
    """The health data access body that gives permits for it."""
    category: HealthCategory = "EHRS"
    """Category of Article 51 of Regulation (EU) 2025/327, as HealthDCAT-AP codes it."""
    themes: Annotated[tuple[ShortText, ...], Field(max_length=16)] = ()
    population: Annotated[Text, Field(max_length=500)] = ""
    """Who is in it, in words."""
    price_tokens: Annotated[Count, Field(ge=0, le=1_000_000)]
    """What an equal share of an order's reward must come to."""
    purposes: Annotated[tuple[Statement, ...], Field(min_length=1, max_length=16)]
    """Purposes of tasks that may use it, word by word."""
    legal_bases: Annotated[tuple[Statement, ...], Field(min_length=1, max_length=16)]
    permit_required: bool = True
    """Whether an order must name a data permit."""

    @property
    def price_micro(self) -> int:
        return self.price_tokens * MICRO


class StatisticsSection(Section):
    """Counts of patients by sex and by age, with noise that the data set's budget pays for."""

    epsilon: Annotated[Number, Field(gt=0, le=100)]
    as_of: datetime.date
    """The day on which ages are reckoned."""


class ListingFile(Section):
    """The whole file."""

    listing: ListingSection
    statistics: StatisticsSection


def load_listing(path: Path) -> ListingFile:
    """Read a listing's file; raise ConfigError with one sentence otherwise."""
    return validate(ListingFile, read(path), path)
