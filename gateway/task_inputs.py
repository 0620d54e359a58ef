"""Sections of a task file by which a patient has more than one number of a kind: the rows of a view in time, and a sampled signal."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gateway.fhir.view_definition import SqlName
from gateway.task_values import Count, Name, Number, Scalar, Text
from gateway.toml_file import Section
from privacy.architectures import MAXIMUM_SIGNAL, MAXIMUM_STEPS


class SequenceColumn(Section):
    """What is known of each row: a number between bounds, or one of several categories."""

    name: Name
    column: SqlName
    low: Number | None = None
    high: Number | None = None
    """Bounds: public knowledge, not the data's own. They are scaled to -1 and 1; a value outside counts as the bound."""
    categories: tuple[Annotated[Text, Field(min_length=1, max_length=200)], ...] = ()
    """Categories instead of bounds: one input of 0 or 1 for each; a value that is none of them is 0 in all."""

    @model_validator(mode="after")
    def _bounds_or_categories(self) -> Self:
        if bool(self.categories) == (self.low is not None or self.high is not None):
            raise ValueError(f"column {self.name} of the sequence needs low and high, or categories")
        if not self.categories and (self.low is None or self.high is None or self.low >= self.high):
            raise ValueError(f"column {self.name} of the sequence needs low and high with low < high")
        if len(set(self.categories)) != len(self.categories):
            raise ValueError(f"column {self.name} of the sequence lists a category twice; remove one")
        return self

    @property
    def channels(self) -> int:
        """Inputs that each step has for it."""
        return len(self.categories) or 1


class SequenceSection(Section):
    """A patient's last rows of a view before the index, in the order of time: visits, say, with what each was."""

    view: SqlName
    where: dict[SqlName, Scalar] = Field(default_factory=dict)
    """Only rows whose columns equal these values."""
    time: SqlName
    """Column that says when a row happened: only rows that certainly had happened before the index are used."""
    window_days: Annotated[Number, Field(gt=0, le=100_000)]
    """Only rows this long before the index; how long is an input of each step."""
    steps: Annotated[Count, Field(ge=1, le=MAXIMUM_STEPS)]
    """The most rows of a patient: of more the last ones count, with fewer the first steps stay empty."""
    columns: Annotated[tuple[SequenceColumn, ...], Field(min_length=1, max_length=100)]

    @model_validator(mode="after")
    def _names_stand_once(self) -> Self:
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise ValueError("two columns of the sequence have one name; rename one")
        return self

    @property
    def channels(self) -> int:
        """Inputs of a step: whether it is there, how recent it is, and its columns'."""
        return 2 + sum(column.channels for column in self.columns)

    @property
    def read(self) -> list[str]:
        """Every column of the view that is read, besides the patient's."""
        return [self.time, *self.where, *(column.column for column in self.columns)]


class SignalSection(Section):
    """One recording of a patient, such as a lead of an electrocardiogram: the text of FHIR's SampledData."""

    view: SqlName
    column: SqlName
    """SampledData.data: numbers parted by spaces, or E, U and L."""
    origin: SqlName | None = None
    """Column of SampledData.origin.value, which is added; 0 without it."""
    factor: SqlName | None = None
    """Column of SampledData.factor, by which samples are multiplied; 1 without it, and where a row has none."""
    where: dict[SqlName, Scalar] = Field(default_factory=dict)
    """Only rows whose columns equal these values: of one lead, one sampling period, one number of dimensions."""
    aggregate: Literal["first", "latest"] = "latest"
    """Which of several recordings."""
    time: SqlName
    """Column that says when a row happened. With an index, only rows that certainly had happened before it are used."""
    window_days: Annotated[Number, Field(gt=0, le=100_000)] | None = None
    """Only rows this long before the index."""
    shape: Annotated[tuple[Annotated[Count, Field(ge=1, le=MAXIMUM_SIGNAL)], ...], Field(min_length=1, max_length=2)]
    """Places: [length] of a signal, [height, width] of an image, row by row. A recording of another length counts as missing."""
    channels: Annotated[Count, Field(ge=1, le=64)] = 1
    """Numbers at each place, one after the other: SampledData.dimensions."""
    low: Number
    high: Number
    """Bounds of a value: public knowledge. They are scaled to -1 and 1; a value outside counts as the bound."""

    @model_validator(mode="after")
    def _sizes(self) -> Self:
        if self.samples > MAXIMUM_SIGNAL:
            raise ValueError(f"the signal has {self.samples} samples; at most {MAXIMUM_SIGNAL} are allowed")
        if not self.low < self.high:
            raise ValueError("the signal needs low and high with low < high")
        return self

    @property
    def samples(self) -> int:
        """Inputs that it becomes."""
        count = self.channels
        for places in self.shape:
            count *= places
        return count

    @property
    def read(self) -> list[str]:
        """Every column of the view that is read, besides the patient's."""
        return [self.column, self.time, *self.where, *(name for name in (self.origin, self.factor) if name is not None)]
