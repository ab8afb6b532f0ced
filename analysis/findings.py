"""The verdicts of a study. Headline, tables, figures, terminal and report.json all read them here.

Two families, each with its own .05 for any false verdict: the predictions, and the comparisons of
the primary metric with the baseline that no prediction speaks of. A pair that a prediction speaks
of has that prediction's verdict and no second one, so that a page cannot contradict itself.
"""

import dataclasses
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from analysis import claims, deciding, stats, text
from analysis.ablation import Prediction, Relation
from analysis.changes import named
from analysis.gates import COMPLETE, Gate, Level, gates
from analysis.multiverse import Strip, multiverse
from analysis.quantity import RESULT, Kind, Quantity
from analysis.stats import Claim, Outcome, Verdict
from analysis.study import Study

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

    Of times to a threshold, their logarithms; NaN where one is censored.
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
    def quantity(self) -> Quantity:
        """What of the metric is compared."""
        return self.prediction.reads if self.prediction else RESULT

    @property
    def claim(self) -> str:
        """What was tested, `grpo − reinforce on eval/accuracy is greater than 0.020`."""
        if self.prediction is None:
            return f"{self.variant} − {self.baseline} on {self.metric}"
        return f"{named(self.prediction)} is {expected(self.prediction)}"

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
        strips: one per prediction: what other analyses would have said. None where verdicts are
            barred, unless only for missing trials: those are what the analyses vary.
    """

    predicted: list[Finding]
    compared: list[Finding]
    barred: str
    gates: list[Gate]
    strips: list[Strip]

    def about(self, metric: str, variant: str, baseline: str) -> list[Finding]:
        """Every verdict on one difference of results; none on a quantity read off a curve."""
        found = [f for f in (*self.predicted, *self.compared) if f.quantity is RESULT]
        return [
            f for f in found if (f.metric, f.variant, f.baseline) == (metric, variant, baseline)
        ]


def findings(study: Study) -> Findings:
    """Test every prediction, and every other variant against the baseline."""
    checks = gates(study)
    barred = _barred([gate for gate in checks if not gate.variants])
    planned = study.manifest.ablation.predictions
    spoken = {
        p.variant
        for p in planned
        if p.reads is RESULT and (p.metric, p.baseline) == (study.primary, study.baseline)
    }
    rest = [label for label in study.others if label not in spoken]
    subjects = [subject(p) for p in planned]
    others = [(study.primary, label, study.baseline) for label in rest]
    asked = _decided(study, subjects, deciding.predicted(study), checks)
    higher = _decided(study, others, _higher(study, others), checks)
    failed = {gate.question for gate in checks if gate.level is Level.FAIL}
    return Findings(
        [
            Finding(*names, p, verdict, _pairing(study, names, p.reads))
            for names, p, verdict in zip(subjects, planned, asked, strict=True)
        ],
        [
            Finding(*names, None, verdict, _pairing(study, names, RESULT))
            for names, verdict in zip(others, higher, strict=True)
        ],
        barred,
        checks,
        multiverse(study) if failed <= {COMPLETE} else [],
    )


def subject(p: Prediction) -> tuple[str, str, str]:
    """Metric, variant and baseline."""
    return p.metric, p.variant, p.baseline


def _barred(checks: list[Gate]) -> str:
    """Why gates withhold a verdict, "" if none of them does."""
    failed = [gate.question for gate in checks if gate.level is Level.FAIL]
    return f"trust gate FAIL: {', '.join(failed)}" if failed else ""


def _decided(
    study: Study,
    subjects: Sequence[tuple[str, str, str]],
    family: deciding.Family,
    checks: list[Gate],
) -> list[Verdict]:
    """The verdicts on one family under the trust gates.

    Args:
        subjects: metric, variant and baseline of each claim.
    """
    pairs = [(variant, baseline) for _, variant, baseline in subjects]

    def allowed(seeds: Collection[int] | None) -> list[Claim]:
        return [
            _allowed(claim, checks, *pair) for claim, pair in zip(family(seeds), pairs, strict=True)
        ]

    return deciding.decide(study, pairs, allowed)


def _allowed(claim: Claim, checks: list[Gate], variant: str, baseline: str) -> Claim:
    """A claim with what the gates that concern its arms say against it."""
    concerned = [gate for gate in checks if gate.concerns(variant, baseline)]
    return dataclasses.replace(claim, barred=_barred(concerned))


def _higher(study: Study, names: Sequence[tuple[str, str, str]]) -> deciding.Family:
    """What is asked about variants of which nothing was predicted, of the primary metric."""
    rows = claims.read(study, study.primary, RESULT)
    return lambda seeds: [
        claims.claim(claims.at(rows, seeds), each, Relation.GREATER, 0.0, study.paired)
        for each in names
    ]


def _pairing(study: Study, names: tuple[str, str, str], quantity: Quantity) -> Pairing:
    rows = claims.read(study, names[0], quantity)
    both = claims.claim(rows, names, Relation.GREATER, 0.0, paired=True)
    x, y = both.variant, both.baseline
    if both.censored or not all(map(math.isfinite, (*x, *y))):
        return Pairing(len(x), math.nan, math.nan, math.nan)
    widths = [(d.high - d.low) / 2 for d in (stats.welch(x, y), stats.paired(x, y))]
    return Pairing(len(x), stats.correlation(x, y), widths[0], widths[1])


def expected(p: Prediction) -> str:
    """What a prediction says of the difference, `greater than 0.020`; of times, `below ×0.33`."""
    if p.reads.kind is Kind.TIME:
        return {
            Relation.GREATER: f"above ×{p.ratio:g}",
            Relation.LESS: f"below ×{p.ratio:g}",
            Relation.EQUAL: f"within ×{1 / p.ratio:.3g} and ×{p.ratio:.3g}",
        }[p.relation]
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
