"""A training task as the researcher writes it and every hospital reads it: TOML, validated, unknown keys refused.

The ledger holds the digest of the file's bytes, so what a hospital approves is this file and no other.
"""

import datetime
import hashlib
import math
import tomllib
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from fabric.contract.arguments import MSPID_PATTERN
from gateway.errors import ConfigError
from gateway.fhir.view_definition import SqlName, ViewDefinition
from gateway.task_inputs import SequenceSection, SignalSection
from gateway.task_values import Count, Name, Number, Text
from gateway.task_values import Scalar as Scalar  # part of several sections
from gateway.toml_file import Section, first_problem
from privacy.architectures import (
    MAXIMUM_BLOCKS,
    MAXIMUM_CONVOLUTIONS,
    MAXIMUM_DIMENSION,
    MAXIMUM_FILTERS,
    MAXIMUM_HEADS,
    MAXIMUM_KERNEL,
)
from privacy.frozen_base import MAXIMUM_RANK
from privacy.robust import Combination

MAX_BYTES = 1 << 20
"""Largest task file that is read: a task comes from another organisation."""

MICRO = 1_000_000
PATIENT_COLUMN = "patient"
"""Column that every view has: the key of the patient a row belongs to."""


class TaskFileError(ConfigError):
    """A task file that cannot be used: one sentence naming file, key, problem and remedy."""

    error_code = "BAD_TASK"


class TaskSection(Section):
    """What the task is for and how many take part."""

    title: Annotated[Text, Field(min_length=3, max_length=200)]
    purpose: Annotated[Text, Field(min_length=3, max_length=200)]
    """Why the data are used; hospitals' policies allow purposes."""
    permit: Annotated[Text, Field(max_length=200)] = ""
    """Identifier of the data permit or ethics vote; empty where none is needed."""
    permit_expires: datetime.date | None = None
    """The permit's last day, of UTC: nothing runs after it."""
    reward_tokens: Annotated[Count, Field(ge=0, le=1_000_000)]
    """Tokens put in escrow for all hospitals and rounds together."""
    minimum_hospitals: Annotated[Count, Field(ge=3, le=100)]
    group_size: Annotated[Count, Field(ge=3, le=100)] = 3
    """Fewest hospitals whose updates are decrypted as one sum."""
    rounds: Annotated[Count, Field(ge=1, le=10_000)]
    heartbeat_limit: Annotated[Count, Field(ge=1, le=1000)] = 6
    """Ledger heartbeats after which a phase goes on without the silent."""
    training_limit: Annotated[Count, Field(ge=1, le=100_000)] = 120
    """Ledger heartbeats for which a round waits for a hospital that trains; `heartbeat_limit` where that is more."""

    @model_validator(mode="after")
    def _expiry_of_a_permit(self) -> Self:
        if self.permit_expires is not None and not self.permit:
            raise ValueError("permit_expires is the last day of a permit; name the permit, or remove it")
        return self

    @property
    def reward_micro(self) -> int:
        return self.reward_tokens * MICRO

    @property
    def last_day(self) -> str:
        """`permit_expires` as it stands on the ledger: YYYY-MM-DD, or empty."""
        return "" if self.permit_expires is None else self.permit_expires.isoformat()


class CohortSection(Section):
    """Who is in: the patients of one view."""

    view: SqlName
    minimum_patients: Annotated[Count, Field(ge=1, le=10_000_000)]
    """Fewest patients with a label that a hospital needs to take part."""


_ORDERED = ("first", "latest", "slope")
"""Aggregates that depend on the order of rows in time."""


class IndexSection(Section):
    """The moment in each patient's life from which is predicted: features are from before it, the label is from after it.

    The beginning of a `date` for all, or the first row of a view, from `date` on where there is one. Not the last row: that a visit
    was the last is only known later.
    """

    date: datetime.date | None = None
    view: SqlName | None = None
    where: dict[SqlName, Scalar] = Field(default_factory=dict)
    """Only rows whose columns equal these values."""
    time: SqlName | None = None
    """Column that says when the row happened."""

    @model_validator(mode="after")
    def _date_or_view(self) -> Self:
        if (self.view is None) != (self.time is None) or (self.view is None and (self.where or self.date is None)):
            raise ValueError("give a date, or a view and its time, of which a patient's first row is the index")
        return self


class FeatureSection(Section):
    """One measurement of a patient: rows of a view, chosen by `where`, made one number or category by `aggregate`."""

    name: Name
    view: SqlName
    column: SqlName
    where: dict[SqlName, Scalar] = Field(default_factory=dict)
    """Only rows whose columns equal these values."""
    aggregate: Literal["mean", "min", "max", "mode", "first", "latest", "count", "slope", "time_since"] = "mean"
    """`slope`: change per day. `time_since`: days from the latest moment in `column` to the index, or in `unit`."""
    time: SqlName | None = None
    """Column that says when a row happened. With an index, only rows that certainly had happened before it are used."""
    window_days: Annotated[Number, Field(gt=0, le=100_000)] | None = None
    """Only rows this long before the index; without it, all that is before."""
    unit: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """UCUM unit to which values are converted, and in which the bounds stand."""
    unit_column: SqlName | None = None
    """Column with the UCUM unit of each row's value."""
    loinc: Annotated[str, Field(pattern=r"^[0-9]{1,7}-[0-9]$")] | None = None
    """What is measured: needed where a mass becomes an amount of substance; values impossible for it are not used."""
    low: Number | None = None
    high: Number | None = None
    """Bounds in the feature's unit (years for dates): public knowledge, not the data's own. They are scaled to -1 and 1."""
    outside: Literal["missing", "clamp"] = "missing"
    """Values outside the bounds: errors of recording, which count as missing, or real extremes, which count as the bound."""
    categories: tuple[Annotated[Text, Field(min_length=1, max_length=200)], ...] = ()
    """Categories instead of bounds: one column of 0 or 1 for each; a value that is none of them counts as missing."""
    missing: Literal["middle", "indicator"] = "middle"
    """`middle`: 0 stands for a missing value. `indicator`: besides, a column of its own says 1 where the value is missing."""

    @model_validator(mode="after")
    def _bounds_or_categories(self) -> Self:
        bounds = (self.low is not None) + (self.high is not None)
        if self.categories:
            if bounds:
                raise ValueError(f"feature {self.name} has bounds and categories; keep one of them")
            if len(set(self.categories)) != len(self.categories):
                raise ValueError(f"feature {self.name} lists a category twice; remove one")
        elif bounds != 2 or not self._low < self._high:
            raise ValueError(f"feature {self.name} needs low and high with low < high, or categories")
        if self.categories and self.outside == "clamp":
            raise ValueError(f"feature {self.name} has categories, which have no bounds to clamp to; remove outside")
        if self.categories and self.aggregate not in ("mode", "first", "latest"):
            raise ValueError(f'feature {self.name} has categories, which have no {self.aggregate}; set aggregate = "mode"')
        return self

    @model_validator(mode="after")
    def _time_and_unit(self) -> Self:
        if self.aggregate in _ORDERED and self.time is None:
            raise ValueError(f"feature {self.name} has the aggregate {self.aggregate}, which needs time, the column that says when")
        if self.aggregate == "time_since":
            if self.time is not None or self.unit_column is not None or self.loinc is not None:
                raise ValueError(f"feature {self.name}: time_since counts from the moment in its column; remove time and unit_column")
        elif (self.unit is None) != (self.unit_column is None):
            raise ValueError(f"feature {self.name}: unit and unit_column belong together: what is wanted, and what each row has")
        if self.loinc is not None and self.unit is None:
            raise ValueError(f"feature {self.name}: loinc says how units convert; add unit and unit_column, or remove it")
        if self.unit is not None and (self.categories or self.aggregate == "count"):
            raise ValueError(f"feature {self.name}: categories and counts have no unit; remove it")
        if self.window_days is not None and self.moment is None:
            raise ValueError(f"feature {self.name}: window_days needs time, the column that says when")
        return self

    @property
    def moment(self) -> str | None:
        """Column that says when a row happened."""
        return self.column if self.aggregate == "time_since" else self.time

    @property
    def columns(self) -> list[str]:
        """Every column of the view that the feature reads, besides the patient's."""
        return [self.column, *self.where, *(name for name in (self.time, self.unit_column) if name is not None)]

    @property
    def _low(self) -> float:
        return -math.inf if self.low is None else self.low

    @property
    def _high(self) -> float:
        return math.inf if self.high is None else self.high


class LabelSection(Section):
    """What is predicted: 1 for patients with a row in the view, or with one of the `positive` values in `column`.

    With an index, only rows count that certainly happened after the gap and within the horizon, both in days from the index.
    """

    name: Name
    view: SqlName
    where: dict[SqlName, Scalar] = Field(default_factory=dict)
    column: SqlName | None = None
    positive: tuple[Scalar, ...] = ()
    time: SqlName | None = None
    """Column that says when a row happened."""
    gap_days: Annotated[Number, Field(ge=0, le=100_000)] = 0
    horizon_days: Annotated[Number, Field(gt=0, le=100_000)] | None = None

    @model_validator(mode="after")
    def _after_the_gap(self) -> Self:
        if self.time is None and (self.gap_days or self.horizon_days is not None):
            raise ValueError("gap_days and horizon_days need time, the column that says when the label's rows happened")
        if self.horizon_days is not None and self.horizon_days <= self.gap_days:
            raise ValueError("horizon_days counts from the index like gap_days and must be larger; raise it or lower the gap")
        return self

    @model_validator(mode="after")
    def _column_with_values(self) -> Self:
        if (self.column is None) != (not self.positive):
            raise ValueError("column and positive belong together: the column, and its values that mean yes")
        return self


class BaseSection(Section):
    """A large model that stays as it is but for a few layers: the same file in every hospital."""

    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of its safetensors file, in hex."""
    train: tuple[Annotated[Text, Field(min_length=1, max_length=100)], ...] = ("output",)
    """Layers whose parameters are trained, named as in the file; `blocks.3` stands for all that is in it."""
    adapter_rank: Annotated[Count, Field(ge=0, le=MAXIMUM_RANK)] = 0
    """Rank of the adapters of a transformer's queries and values; 0 for none."""


class ModelSection(Section):
    """The model, with one output: the logit of the label."""

    kind: Literal["logistic_regression", "mlp", "cnn", "transformer"]
    hidden: Annotated[tuple[Annotated[Count, Field(ge=1, le=4096)], ...], Field(max_length=8)] = ()
    """Units of each hidden layer of an mlp."""
    filters: Annotated[tuple[Annotated[Count, Field(ge=1, le=MAXIMUM_FILTERS)], ...], Field(max_length=MAXIMUM_CONVOLUTIONS)] = ()
    """Filters of each convolution of a cnn."""
    kernel: Annotated[Count, Field(ge=3, le=MAXIMUM_KERNEL)] | None = None
    """Width of a cnn's convolutions, odd."""
    dimension: Annotated[Count, Field(ge=2, le=MAXIMUM_DIMENSION)] | None = None
    """Numbers by which a transformer describes a step: a multiple of twice its heads."""
    heads: Annotated[Count, Field(ge=1, le=MAXIMUM_HEADS)] | None = None
    blocks: Annotated[Count, Field(ge=1, le=MAXIMUM_BLOCKS)] | None = None
    """Attention heads, and layers, of a transformer."""
    base: BaseSection | None = None
    intercepts: tuple[Annotated[str, Field(pattern=f"^{MSPID_PATTERN}$")], ...] = ()
    """MSP ids of hospitals that get an intercept of their own: an input that is 1 for their patients and 0 for all others."""

    @model_validator(mode="after")
    def _sizes_of_its_kind(self) -> Self:
        if (self.kind == "mlp") != bool(self.hidden):
            raise ValueError('hidden lists the layers of a model of kind "mlp", which needs at least one, and of no other kind')
        for kind, sizes in (("cnn", ("filters", "kernel")), ("transformer", ("dimension", "heads", "blocks"))):
            given = [name for name in sizes if getattr(self, name)]
            if given != (list(sizes) if self.kind == kind else []):
                raise ValueError(f'{" and ".join(sizes)} belong to a model of kind "{kind}", which needs all of them, and to no other kind')
        if self.kernel is not None and not self.kernel % 2:
            raise ValueError(f"kernel is {self.kernel}; a convolution's width is odd, so that it has a middle")
        if self.dimension is not None and self.heads is not None and self.dimension % (2 * self.heads):
            raise ValueError(f"dimension is {self.dimension}; it must be a multiple of twice the {self.heads} heads")
        if self.base is not None and self.base.adapter_rank and self.kind != "transformer":
            raise ValueError("adapter_rank belongs to a transformer; name the layers of another model in train")
        _refuse_repeated("intercept of", list(self.intercepts))
        return self


class NormalisationSection(Section):
    """Round 0: mean and standard deviation of the features with bounds over all hospitals, under encryption and differential privacy."""

    share: Annotated[Number, Field(gt=0, lt=1)] = 0.2
    """What it takes of the privacy of the training patients: of the Rényi divergence that epsilon allows, at every order."""


class TrainingSection(Section):
    """Stochastic gradient descent with Poisson sampling of patients."""

    sampling_rate: Annotated[Number, Field(gt=0, le=1)] | None = None
    """Probability with which a patient is in a step's batch."""
    batch_size: Annotated[Count, Field(ge=1, le=1_000_000)] | None = None
    """Expected patients in a batch, for hospitals that are to weigh alike whatever their size."""
    learning_rate: Annotated[Number, Field(gt=0, le=1000)]
    local_steps: Annotated[Count, Field(ge=1, le=1000)] = 1
    combine: Combination = "trimmed_mean"
    """How the means of the groups become one step."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.sampling_rate is None) == (self.batch_size is None):
            raise ValueError("give either sampling_rate or batch_size")
        return self

    def rate_for(self, *, patients: int) -> float:
        """Sampling probability in a hospital with this many training patients, in whole millionths as the ledger counts."""
        rate = self.sampling_rate if self.sampling_rate is not None else (self.batch_size or 0) / max(patients, 1)
        return min(max(math.floor(rate * MICRO + 0.5), 1), MICRO) / MICRO


class PrivacySection(Section):
    """Differential privacy of one patient, neighbouring data sets differing in one patient added or removed."""

    epsilon: Annotated[Number, Field(gt=0, le=100)]
    """Spent on the training patients over all rounds."""
    delta: Annotated[Number, Field(gt=0, le=0.1)]
    clip: Annotated[Number, Field(gt=0, le=1000)]
    """L2 bound of one patient's gradient."""
    mode: Literal["local", "distributed"] = "local"
    """`local`: each update is private alone. `distributed`: only the sum of a group is."""
    score_epsilon: Annotated[Number, Field(gt=0, le=100)]
    """Spent on the validation patients, who only score models."""
    score_clip: Annotated[Number, Field(gt=0, le=1000)] = 0.02
    """Bound of one patient's difference of losses, in nats."""
    evaluation_epsilon: Annotated[Number, Field(gt=0, le=100)] | None = None
    """Spent on the held-out patients, of whom the evaluation of the finished model is; without it, as much as `score_epsilon`."""

    @model_validator(mode="after")
    def _within_what_is_approved(self) -> Self:
        if self.evaluation_epsilon is not None and self.evaluation_epsilon > self.score_epsilon:
            raise ValueError("evaluation_epsilon is above score_epsilon, up to which hospitals approve; lower one or raise the other")
        return self

    @property
    def epsilon_micro(self) -> int:
        return _floor_micro(self.epsilon)

    @property
    def score_epsilon_micro(self) -> int:
        return _floor_micro(self.score_epsilon)

    @property
    def evaluation_epsilon_micro(self) -> int:
        return self.score_epsilon_micro if self.evaluation_epsilon is None else _floor_micro(self.evaluation_epsilon)

    @property
    def score_clip_micro(self) -> int:
        """At least one: the ledger measures by it how close two scores are."""
        return max(1, _floor_micro(self.score_clip))

    @property
    def delta_inverse(self) -> int:
        """1/delta, rounded against the spender."""
        return int((1 / Decimal(repr(self.delta))).to_integral_value(ROUND_CEILING))


class TaskFile(Section):
    """The whole task; every name that one section uses is defined in another."""

    task: TaskSection
    views: Annotated[tuple[ViewDefinition, ...], Field(min_length=1, max_length=50)]
    cohort: CohortSection
    index: IndexSection | None = None
    features: Annotated[tuple[FeatureSection, ...], Field(max_length=2000)] = ()
    sequence: SequenceSection | None = None
    signal: SignalSection | None = None
    label: LabelSection
    model: ModelSection
    normalisation: NormalisationSection | None = None
    training: TrainingSection
    privacy: PrivacySection

    @model_validator(mode="after")
    def _names_are_defined(self) -> Self:
        _refuse_repeated("view", [view.name for view in self.views])
        _refuse_repeated("feature", [feature.name for feature in self.features])
        columns = {view.name: view.columns() for view in self.views}
        _require_columns(columns, "cohort", self.cohort.view, [])
        for feature in self.features:
            _require_columns(columns, f"feature {feature.name}", feature.view, feature.columns)
        for name, block in (("sequence", self.sequence), ("signal", self.signal)):
            if block is not None:
                _require_columns(columns, name, block.view, block.read)
        label = self.label
        _require_columns(columns, "label", label.view, [*label.where, *(name for name in (label.column, label.time) if name is not None)])
        if self.index is not None and self.index.view is not None and self.index.time is not None:
            _require_columns(columns, "index", self.index.view, [self.index.time, *self.index.where])
        return self

    @model_validator(mode="after")
    def _times_agree(self) -> Self:
        """An index divides what may be known from what is predicted: everything else must say on which side of it it lies."""
        if self.index is not None:
            if self.label.time is None:
                raise ValueError("label: the task has an index, so the label needs time: only what happened after the index is predicted")
            return self
        if self.label.time is not None:
            raise ValueError("label has time, but the task has no [index] for it to lie after; add the index, or remove time")
        if self.sequence is not None or (self.signal is not None and self.signal.window_days is not None):
            raise ValueError("a sequence, and a signal's window_days, look back from an index, but the task has no [index]; add it")
        for feature in self.features:
            if feature.window_days is not None or feature.aggregate == "time_since":
                raise ValueError(f"feature {feature.name} looks back from an index, but the task has no [index]; add it")
            if feature.time is not None and feature.aggregate not in _ORDERED:
                raise ValueError(
                    f"feature {feature.name}: time changes nothing of {feature.aggregate} without an [index]; remove it, or add the index"
                )
        return self

    @model_validator(mode="after")
    def _model_fits_inputs(self) -> Self:
        if self.sequence is not None and self.signal is not None:
            raise ValueError("the task has a sequence and a signal, and no model reads both; keep one")
        if not self.features and self.sequence is None and self.signal is None:
            raise ValueError("the task has nothing to predict from; add [[features]], a [sequence] or a [signal]")
        for kind, name, block in (("transformer", "sequence", self.sequence), ("cnn", "signal", self.signal)):
            if self.model.kind == kind and block is None:
                raise ValueError(f'a model of kind "{kind}" reads a {name}; add the section [{name}]')
        return self

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if self.task.minimum_hospitals < self.task.group_size:
            raise ValueError("task.minimum_hospitals is below task.group_size: no group could be full; raise the first or lower the second")
        if self.privacy.mode == "distributed" and self.training.local_steps != 1:
            raise ValueError('privacy.mode "distributed" adds noise once per sum; set training.local_steps to 1')
        if self.normalisation is not None and all(feature.categories for feature in self.features):
            raise ValueError("normalisation is of features with bounds, and the task has none; remove it")
        return self

    def view(self, name: str) -> ViewDefinition:
        """The view of this name, which validation has found."""
        return next(view for view in self.views if view.name == name)


def load(path: Path) -> TaskFile:
    """Read a task file; raise TaskFileError with one sentence."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TaskFileError(f"cannot read the task file {path}: {error.strerror}") from error
    return parse(data, source=str(path))


def parse(data: bytes, *, source: str = "task file") -> TaskFile:
    """Read a task from the bytes of its file, which `source` names in errors; raise TaskFileError with one sentence."""
    if len(data) > MAX_BYTES:
        raise TaskFileError(f"{source} has {len(data)} bytes; a task file has at most {MAX_BYTES}")
    try:
        tables = tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise TaskFileError(f"{source} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    except RecursionError:
        raise TaskFileError(f"{source} nests too deep; a task needs a few levels") from None
    except tomllib.TOMLDecodeError as error:
        raise TaskFileError(f"{source} is not TOML: {error}") from error
    try:
        return TaskFile.model_validate(tables)
    except ValidationError as error:
        raise TaskFileError(f"{source}: {first_problem(error)}") from error


def digest(data: bytes) -> str:
    """SHA-256 of the file's bytes in hex: what the ledger holds and hospitals approve."""
    return hashlib.sha256(data).hexdigest()


def _floor_micro(value: float) -> int:
    return int((Decimal(repr(value)) * MICRO).to_integral_value(ROUND_FLOOR))


def _refuse_repeated(kind: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the {kind} {name} is defined twice; rename one")


def _require_columns(columns: dict[str, list[str]], user: str, view: str, needed: list[str]) -> None:
    if view not in columns:
        raise ValueError(f"{user} uses the view {view}, which is not defined; the views are {', '.join(columns)}")
    known = columns[view]
    for column in [PATIENT_COLUMN, *needed]:
        if column not in known:
            raise ValueError(f"{user} uses the column {column}, which the view {view} does not have; its columns are {', '.join(known)}")
