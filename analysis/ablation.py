"""One question: the typed form of `sweeps/ablation/*.yaml`, read by sweep and report alike."""

import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from analysis.fixed import Leaf
from analysis.tuned import Tuned
from harness import checks
from harness.config import MAX_SEED, Budget
from harness.errors import ConfigError
from harness.schema import METRICS

# A folder's name has at most 255 bytes, of which a trial's seed and hash may take 33.
MAX_LABEL = 200
SHOWN = 60  # characters of a label that is refused


class Relation(Enum):
    """What a prediction says about variant minus baseline, d.

    GREATER: d > margin. LESS: d < -margin. EQUAL: |d| < margin.
    """

    GREATER = "greater"
    LESS = "less"
    EQUAL = "equal"


class Checkpoint(Enum):
    """Which evaluation of a trial is its result; chosen before the run."""

    LAST = "last"
    BEST = "best"


@dataclass(frozen=True)
class Variant:
    """A named set of overrides."""

    label: str
    overrides: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.=+-]+", self.label):
            raise ConfigError(
                f"a variant's label names folders: use letters, digits and _.=+- only, received "
                f"{self.label!r}"
            )
        if len(self.label.encode()) > MAX_LABEL:
            raise ConfigError(
                f"a variant's label names folders: at most {MAX_LABEL} bytes, received "
                f"{len(self.label.encode())} ({self.label[:SHOWN]}...); label it in an ablation "
                f"file, or sweep fewer keys at a time"
            )


@dataclass(frozen=True)
class Primary:
    """The number that answers the question."""

    metric: str = "eval/accuracy"
    checkpoint: Checkpoint = Checkpoint.LAST


@dataclass(frozen=True)
class Prediction:
    """What is expected, written down before the run.

    Attributes:
        metric: a declared metric key; its value at the primary checkpoint is compared.
        variant: label of the variant.
        relation: greater, less or equal (see Relation).
        baseline: label that the variant is compared with.
        margin: smallest difference that matters (greater, less) or largest that does not (equal),
            in the metric's unit.
        because: the reason, for the reader of the report.
    """

    metric: str
    variant: str
    relation: Relation
    baseline: str
    margin: float
    because: str

    def __post_init__(self) -> None:
        checks.at_least(f"prediction on {self.metric}: margin", self.margin, 0)
        if self.relation is Relation.EQUAL and self.margin == 0:
            raise ConfigError(
                f"prediction on {self.metric}: `equal` needs a margin above 0, received 0; "
                f"no finite sample shows exact equality"
            )


@dataclass(frozen=True)
class Ablation:
    """Baseline, variants, seeds, budget and predictions of one question.

    Attributes:
        name: the file's name, or that of a grid; also the MLflow experiment.
        overrides: applied to every variant alike.
        factors: the only config keys that may differ between a variant and the baseline.
        primary: metric and checkpoint rule of the result.
        paired: compare variants seed by seed. It pays where variants at one seed go together
            (correlation above about .25); declare it before the run, never after a look at it.
    """

    name: str
    question: str
    hypothesis: str
    baseline: str
    variants: list[Variant]
    factors: list[str]
    seeds: list[int]
    budget: Budget
    primary: Primary = field(default_factory=Primary)
    predictions: list[Prediction] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)
    paired: bool = False

    def __post_init__(self) -> None:
        checks.name("ablation.name", self.name)
        labels = self.labels
        if len(set(labels)) < len(labels):
            raise ConfigError(f"ablation {self.name}: labels repeat: {', '.join(labels)}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"ablation {self.name}: seeds repeat: {self.seeds}")
        if not self.seeds or not labels:
            raise ConfigError(
                f"ablation {self.name} has no trial: it needs at least one seed and one variant, "
                f"received seeds {self.seeds} and variants {labels}"
            )
        named = [("baseline", self.baseline)]
        for p in self.predictions:
            named += [("prediction.variant", p.variant), ("prediction.baseline", p.baseline)]
        for what, label in named:
            if label not in labels:
                raise ConfigError(
                    f"ablation {self.name}: {what} {label!r} is no variant; "
                    f"valid: {', '.join(labels)}"
                )
        for metric in [self.primary.metric, *(p.metric for p in self.predictions)]:
            if metric not in METRICS:
                valid = ", ".join(key for key in METRICS if key.startswith("eval/"))
                raise ConfigError(
                    f"ablation {self.name}: metric {metric!r} is not declared; valid: {valid}"
                )

    @property
    def labels(self) -> list[str]:
        """Labels of the variants, in the file's order."""
        return [v.label for v in self.variants]


def _folder_name(trial: str) -> None:
    """Raise ConfigError for a trial whose name leads elsewhere than into one folder."""
    if not re.fullmatch(r"[\w.=+-]+", trial) or not trial.strip("."):
        raise ConfigError(f"a trial's name is that of a folder, received {trial!r}")


@dataclass(frozen=True)
class Job:
    """One row of a manifest: one trial.

    Attributes:
        identity: what the trial is by content, as a hash; "" while nobody has asked.
        record: the folder under `runs/checkpoints` whose record the trial uses; its own by
            default.
        differs: dotted key -> [baseline's value, variant's value].
    """

    trial: str
    variant: str
    seed: int
    config_hash: str
    group_hash: str
    identity: str = ""
    record: str = ""
    differs: dict[str, list[Leaf]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "record", self.record or self.trial)
        for name in (self.trial, self.record):
            _folder_name(name)
        if not 0 <= self.seed <= MAX_SEED:
            raise ConfigError(
                f"trial {self.trial}: seed must be in 0..2^63-1, received {self.seed}"
            )
        for key, pair in self.differs.items():
            if len(pair) != 2:
                raise ConfigError(
                    f"trial {self.trial}: differs.{key} must hold the baseline's and the "
                    f"variant's value, received {len(pair)} values"
                )


@dataclass(frozen=True)
class Manifest:
    """One revision of what a sweep planned, written before its first trial starts.

    Attributes:
        ablation: the question, with the seeds of the whole plan.
        jobs: every trial of the plan, also those that the command did not name.
        created: UTC time, ISO 8601.
        code_hash: sha256 over the sources that the trials run.
        model_hash: of the baseline's base model.
        grid: whether the command line made the question up.
        deviations: where the plan departs from the ablation file.
        versions: library name -> version.
        known: trials of this plan, or of an earlier revision of it, that had a result when this
            revision was written.
        tuned: the tuning of each variant whose values the plan confirms.
        revision: its number, from 1.
        previous: seal of the revision before; "" for the first.
        seal: sha256 over everything else here.
    """

    ablation: Ablation
    jobs: list[Job]
    created: str
    code_hash: str
    git_commit: str
    git_dirty: bool
    model_hash: str
    task_digest: str
    command: str
    grid: bool = False
    deviations: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    known: list[str] = field(default_factory=list)
    tuned: list[Tuned] = field(default_factory=list)
    revision: int = 1
    previous: str = ""
    seal: str = ""

    def __post_init__(self) -> None:
        try:
            aware = datetime.fromisoformat(self.created).tzinfo is not None
        except ValueError:
            aware = False
        if not aware:
            raise ConfigError(f"created must be an ISO 8601 time, received {self.created!r}")
        for seal in (self.seal, self.previous):
            if not re.fullmatch(r"([0-9a-f]{64})?", seal):
                raise ConfigError(f"a seal is a sha256 in hexadecimal, received {seal!r}")
        for trial in self.known:
            _folder_name(trial)
        trials = [job.trial for job in self.jobs]
        if not trials or len(set(trials)) < len(trials):
            raise ConfigError(f"jobs must name each trial once, received {len(trials)} jobs")
        for job in self.jobs:
            if job.variant not in self.ablation.labels:
                raise ConfigError(f"trial {job.trial} is of no variant, received {job.variant!r}")
        if strange := [t.variant for t in self.tuned if t.variant not in self.ablation.labels]:
            raise ConfigError(f"tuned: {strange[0]!r} is no variant of the ablation")

    @property
    def created_ms(self) -> float:
        """`created` in milliseconds since 1970, as MLflow counts."""
        return datetime.fromisoformat(self.created).timestamp() * 1000
