"""One question: the typed form of `sweeps/ablation/*.yaml`, read by sweep and report alike."""

import dataclasses
import math
import re
from dataclasses import dataclass, field
from enum import Enum

from analysis.fixed import SINCE
from analysis.quantity import RESULT, Kind, Quantity, quantity
from analysis.units import ends, is_share
from analysis.until import Until
from harness import checks
from harness.config import Budget
from harness.errors import ConfigError
from harness.schema import KINDS, METRICS, described

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
    """The number that answers the question.

    Attributes:
        worst: what a trial that failed, diverged or is missing counts as, where results are taken
            as planned. None: the worst a share can be, 0 for an accuracy; metrics without bounds
            have none.
    """

    metric: str = "eval/accuracy"
    checkpoint: Checkpoint = Checkpoint.LAST
    worst: float | None = field(default=None, metadata=SINCE)

    def __post_init__(self) -> None:
        if self.worst is not None and not math.isfinite(self.worst):
            raise ConfigError(f"primary.worst must be a finite number, received {self.worst}")
        if self.worst is not None and is_share(self.metric):
            checks.part("primary.worst", self.worst)

    def ends(self, metric: str) -> tuple[float, float]:
        """Worst and best value of a metric; NaN where neither is declared or known."""
        worst, best = ends(metric)
        if self.worst is not None and metric == self.metric:
            worst = self.worst
        return worst, best


@dataclass(frozen=True)
class Prediction:
    """What is expected, written down before the run.

    Attributes:
        metric: a declared metric key, also of one difficulty or part of a mixture
            (`eval/accuracy/part_arithmetic`).
        variant: label of the variant.
        relation: greater, less or equal (see Relation).
        baseline: label that the variant is compared with.
        because: the reason, for the reader of the report.
        margin: smallest difference that matters (greater, less) or largest that does not (equal),
            in the metric's unit. Of a ratio its logarithm, which is filled in.
        quantity: what of the metric is compared, see `analysis.quantity.quantity`.
        ratio: for a time to a threshold, in the place of a margin: the variant's time over the
            baseline's is below it (less, at most 1), above it (greater, at least 1), or within it
            either way (equal, above 1).
    """

    metric: str
    variant: str
    relation: Relation
    baseline: str
    because: str
    margin: float = math.nan
    quantity: str = field(default=Kind.RESULT.value, metadata=SINCE)
    ratio: float = field(default=0.0, metadata=SINCE)

    def __post_init__(self) -> None:
        what = f"prediction on {self.metric}"
        if self.variant == self.baseline:
            raise ConfigError(
                f"{what}: a variant is compared with another one, received {self.variant!r} for "
                f"variant and baseline; name two"
            )
        if self.reads.kind is Kind.TIME:
            object.__setattr__(self, "margin", self._of_ratio(what))
        elif self.ratio:
            raise ConfigError(f"{what}: {self.quantity} has no ratio, received one; write margin")
        elif math.isnan(self.margin):
            raise ConfigError(f"{what}: margin is not set; write the difference that matters")
        checks.at_least(f"{what}: margin", self.margin, 0)
        if self.relation is Relation.EQUAL and self.margin == 0:
            raise ConfigError(
                f"{what}: `equal` needs a margin above 0, received 0; no finite sample shows "
                f"exact equality"
            )

    @property
    def reads(self) -> Quantity:
        """What of the metric is compared."""
        return quantity(self.quantity)

    def _of_ratio(self, what: str) -> float:
        """The margin on the scale of logarithms."""
        rule, fits = {
            Relation.LESS: ("in (0, 1]", 0 < self.ratio <= 1),
            Relation.GREATER: ("at least 1", self.ratio >= 1),
            Relation.EQUAL: ("above 1", self.ratio > 1),
        }[self.relation]
        if not fits:
            raise ConfigError(
                f"{what}: {self.quantity} with `{self.relation.value}` needs a ratio {rule}, "
                f"received {self.ratio or 'none'}; it is the variant's time over the baseline's"
            )
        margin = abs(math.log(self.ratio))
        if not math.isnan(self.margin) and not math.isclose(self.margin, margin, abs_tol=1e-12):
            raise ConfigError(
                f"{what}: times are compared by their ratio, received margin {self.margin} beside "
                f"ratio {self.ratio}; leave margin out"
            )
        return margin


@dataclass(frozen=True)
class Ablation:
    """Baseline, variants, seeds, budget and predictions of one question.

    Attributes:
        name: the file's name, or that of a grid; also the MLflow experiment.
        overrides: applied to every variant alike.
        factors: the only config keys that may differ between a variant and the baseline.
        primary: metric and checkpoint rule of the result.
        seeds: all that are planned; rising where `until` is set.
        paired: compare variants seed by seed. It pays where variants at one seed go together
            (correlation above about .25); declare it before the run, never after a look at it.
        until: how seeds are added until the predictions are decided; None: all are run.
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
    until: Until | None = field(default=None, metadata=SINCE)

    def __post_init__(self) -> None:
        checks.name("ablation.name", self.name)
        self._check_until()
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
        claims = [dataclasses.replace(p, because="") for p in self.predictions]
        for claim in claims:
            if claims.count(claim) > 1:
                raise ConfigError(
                    f"ablation {self.name}: the prediction {claim.variant} - {claim.baseline} on "
                    f"{claim.metric} ({claim.relation.value}) repeats, and each one costs the "
                    f"others certainty; write it once"
                )
        for metric in [self.primary.metric, *(p.metric for p in self.predictions)]:
            if described(metric) is None:
                own = [key for key in METRICS if key.startswith("eval/")]
                valid = ", ".join([*own, *(f"{kind}..." for kind in KINDS)])
                raise ConfigError(
                    f"ablation {self.name}: metric {metric!r} is not declared; valid: {valid}"
                )

    def _check_until(self) -> None:
        if self.until is None:
            return
        if len(self.seeds) != self.until.max:
            raise ConfigError(
                f"ablation {self.name}: seeds are added up to max {self.until.max}, so as many are "
                f"declared, received {self.seeds}; name {self.until.max} seeds, or write a fixed "
                f"list into the file"
            )
        if not self.predictions:
            raise ConfigError(
                f"ablation {self.name}: seeds are added until its predictions are decided, "
                f"received none; write predictions, or seeds: {self.seeds[: self.until.min]}"
            )

    @property
    def on_results(self) -> list[Prediction]:
        """The predictions on results, without those on what is read off a curve."""
        return [p for p in self.predictions if p.reads is RESULT]

    @property
    def labels(self) -> list[str]:
        """Labels of the variants, in the file's order."""
        return [v.label for v in self.variants]
