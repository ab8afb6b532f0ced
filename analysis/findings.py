"""The verdicts of a study. Headline, tables, figures, terminal and report.json all read them here.

Two families, each with its own .05 for any false verdict: the predictions, and the comparisons of
the primary metric with the baseline that no prediction speaks of. A pair that a prediction speaks
of has that prediction's verdict and no second one, so that a page cannot contradict itself.
"""

import math
from dataclasses import dataclass

from analysis import stats, text
from analysis.ablation import Prediction, Relation
from analysis.gates import Gate, Level, gates
from analysis.stats import Claim, Outcome, Verdict
from analysis.study import Study
from analysis.units import limit

# What the verdict on "higher" is called where nothing was predicted.
READINGS = {
    Outcome.SUPPORTED: "higher",
    Outcome.REFUTED: "lower",
    Outcome.UNDECIDED: "no difference shown",
    Outcome.WITHHELD: "withheld",
}


@dataclass(frozen=True)
class Pairing:
    """What the seeds of two arms have in common, whether or not the test uses it.

    Attributes:
        n: seeds with a result in both arms.
        correlation: over those seeds; NaN below 3 or without a spread.
        apart, together: half width of the 95 % interval of Welch's and of the paired difference.
    """

    n: int
    correlation: float
    apart: float
    together: float


@dataclass(frozen=True)
class Finding:
    """A verdict, what it is about, and whether it was predicted."""

    metric: str
    variant: str
    baseline: str
    prediction: Prediction | None
    verdict: Verdict
    pairing: Pairing

    @property
    def word(self) -> str:
        """The verdict in one word or three."""
        outcome = self.verdict.outcome
        return outcome.value if self.prediction else READINGS[outcome]

    @property
    def claim(self) -> str:
        """What was tested, `grpo − reinforce on eval/accuracy is greater than 0.020`."""
        said = f" is {expected(self.prediction)}" if self.prediction else ""
        return f"{self.variant} − {self.baseline} on {self.metric}{said}"

    @property
    def reading(self) -> str:
        """The verdict with what it is on, `greater than 0.020: supported` or `higher`."""
        return f"{expected(self.prediction)}: {self.word}" if self.prediction else self.word


@dataclass(frozen=True)
class Findings:
    """Every verdict of a study.

    Attributes:
        predicted: one per prediction, in the file's order.
        compared: one per variant that no prediction on the primary metric compares with the
            baseline, in the file's order.
        barred: why no verdict is given at all; "" if some may be. A gate that concerns some arms
            only withholds the verdicts on these.
        gates: that it was decided under.
    """

    predicted: list[Finding]
    compared: list[Finding]
    barred: str
    gates: list[Gate]

    def about(self, metric: str, variant: str, baseline: str) -> list[Finding]:
        """Every verdict on one difference."""
        found = [*self.predicted, *self.compared]
        return [
            f for f in found if (f.metric, f.variant, f.baseline) == (metric, variant, baseline)
        ]


def findings(study: Study) -> Findings:
    """Test every prediction, and every other variant against the baseline."""
    checks = gates(study)
    barred = _barred([gate for gate in checks if not gate.variants])
    planned = study.manifest.ablation.predictions
    spoken = {p.variant for p in planned if (p.metric, p.baseline) == _headline(study)}
    rest = [label for label in study.others if label not in spoken]
    subjects = [(p.metric, p.variant, p.baseline) for p in planned]
    others = [(study.primary, label, study.baseline) for label in rest]
    claims = [
        _claim(study, checks, *subject, p.relation, p.margin)
        for subject, p in zip(subjects, planned, strict=True)
    ]
    higher = [_claim(study, checks, *subject, Relation.GREATER, 0.0) for subject in others]
    return Findings(
        [
            Finding(*subject, p, verdict, _pairing(study, *subject))
            for subject, p, verdict in zip(subjects, planned, stats.decide(claims), strict=True)
        ],
        [
            Finding(*subject, None, verdict, _pairing(study, *subject))
            for subject, verdict in zip(others, stats.decide(higher), strict=True)
        ],
        barred,
        checks,
    )


def _headline(study: Study) -> tuple[str, str]:
    return study.primary, study.baseline


def _barred(checks: list[Gate]) -> str:
    """Why gates withhold a verdict, "" if none of them does."""
    failed = [gate.question for gate in checks if gate.level is Level.FAIL]
    return f"trust gate FAIL: {', '.join(failed)}" if failed else ""


def _claim(
    study: Study,
    checks: list[Gate],
    metric: str,
    variant: str,
    baseline: str,
    relation: Relation,
    margin: float,
) -> Claim:
    x, y = study.arms(metric, variant, baseline)
    barred = _barred([gate for gate in checks if gate.concerns(variant, baseline)])
    return Claim(relation, margin, x, y, study.paired, limit(metric), barred)


def _pairing(study: Study, metric: str, variant: str, baseline: str) -> Pairing:
    x, y = study.common(metric, variant, baseline)
    widths = [(d.high - d.low) / 2 for d in (stats.welch(x, y), stats.paired(x, y))]
    return Pairing(len(x), stats.correlation(x, y), widths[0], widths[1])


def expected(p: Prediction) -> str:
    """What a prediction says of the difference, `greater than 0.020`."""
    margin = text.exact(p.margin, p.metric)
    below = text.exact(-p.margin, p.metric)
    return {
        Relation.GREATER: f"greater than {margin}",
        Relation.LESS: f"less than {below}",
        Relation.EQUAL: f"within ±{margin}",
    }[p.relation]


def resolved(found: list[Finding], equal: bool) -> list[float]:
    """Known resolutions of the `equal` claims among some, or of the others; smallest first."""
    return sorted(
        f.verdict.resolution.value
        for f in found
        if bool(f.prediction and f.prediction.relation is Relation.EQUAL) is equal
        and not math.isnan(f.verdict.resolution.value)
    )
