"""What failed: how often seeds do, which ones, and the verdicts if failures are results."""

import math
from dataclasses import dataclass
from typing import Any

import polars as pl
from scipy.stats import binomtest

from analysis import attempts, oddities, stats, text
from analysis.findings import Finding, Findings, expected
from analysis.gates import unfinished
from analysis.handling import Handled, Handling, handled
from analysis.stats import Outcome
from analysis.study import Study

TITLE = "## Failures"


@dataclass(frozen=True)
class Loss:
    """What became of the planned seeds of one variant.

    Attributes:
        failed: trials without a result: failed, diverged, killed or never started.
        collapsed: trials with a result in which learning was killed.
        planned: trials.
        bound: upper end of the exact 95 % interval of the rate at which its seeds fail or
            collapse (Clopper and Pearson 1934): .708 where none of 3 did.
    """

    variant: str
    failed: list[str]
    collapsed: list[str]
    planned: int
    bound: float

    @property
    def lost(self) -> int:
        """Trials that failed or collapsed."""
        return len(self.failed) + len(self.collapsed)


def losses(study: Study) -> list[Loss]:
    """One per variant, in the file's order."""
    fallen, done = study.collapsed, set(study.finished["trial"])
    found = []
    for label in study.labels:
        trials = study.trials.filter(pl.col("variant") == label)["trial"].to_list()
        failed = [trial for trial in trials if trial not in done]
        collapsed = [trial for trial in trials if trial in fallen]
        lost = len(failed) + len(collapsed)
        found.append(Loss(label, failed, collapsed, len(trials), bound(lost, len(trials))))
    return found


def bound(lost: int, n: int) -> float:
    """Upper end of the exact two-sided 95 % interval of a rate, lost of n; NaN for n = 0."""
    if not n:
        return math.nan
    return float(binomtest(lost, n).proportion_ci(stats.LEVEL, method="exact").high)


def section(study: Study, found: Findings) -> str:
    """Rates of failure always, and warnings; where there are any: trials without a result, the
    three handlings of a failure, trials with several runs."""
    lost = losses(study)
    parts = [TITLE, "\n".join(f"- {_rate(loss)}" for loss in lost), *_without(study)]
    some = any(loss.lost for loss in lost)
    parts += [_warning()] if some else []
    parts += oddities.shown(study)
    if some:
        parts += ["### If failures are results", _table(study, found), _method()]
    return "\n\n".join([*parts, *attempts.shown(study)])


def _without(study: Study) -> list[str]:
    """Planned trials without a result; they are in no number of the report."""
    because = attempts.no_results(study)
    rows = [
        [
            text.code(r["trial"]),
            text.prose(r["variant"]),
            str(r["seed"]),
            text.prose(r["status"]),
            text.prose(because.get(r["trial"], "")),
            text.code(r["run_id"] or ""),
        ]
        for r in unfinished(study).iter_rows(named=True)
    ]
    if not rows:
        return []
    header = ["trial", "variant", "seed", "status", "because", "run"]
    note = (
        "These have no result and are in no number above. If they failed because of what the "
        "variant does, the results flatter it. The sweep's command runs them again."
    )
    return [text.table(header, rows), note]


def _rate(loss: Loss) -> str:
    """`grpo`: 0 of 3 seeds failed or collapsed; the rate may be up to 71 %."""
    names = [f"{text.code(trial)} without a result" for trial in loss.failed]
    names += [f"{text.code(trial)} collapsed" for trial in loss.collapsed]
    which = f" ({', '.join(names)})" if names else ""
    return (
        f"{text.code(loss.variant)}: {loss.lost} of {text.seeds(loss.planned)} failed or "
        f"collapsed{which}; the rate may be up to {100 * loss.bound:.0f} % (upper end of the "
        f"exact 95 % interval)."
    )


def _warning() -> str:
    return (
        "**Warning: seeds failed or collapsed.** Intervals and tests take the seeds for draws from "
        "one bell curve. Where one in five seeds of a variant collapses and none of the "
        "baseline's, a prediction whose truth lies at its margin is called supported in 10 to 50 % "
        "of studies of 3 to 10 seeds; “The report tests itself” says how often in ones like this."
    )


def _table(study: Study, found: Findings) -> str:
    rows = [
        [text.prose(f.claim), *(_cell(f, each) for each in columns)]
        for f, columns in handled(study, found)
    ]
    return text.table(["claim", *(handling.value for handling in Handling)], rows)


def _cell(f: Finding, each: Handled) -> str:
    if each.verdict is None:
        return each.word
    n, m = each.verdict.difference.n
    reason = f" ({each.verdict.reason})" if each.verdict.outcome is Outcome.WITHHELD else ""
    return (
        f"{text.difference(each.verdict.difference, f.metric)}: {each.word}{reason}, n = {n}, {m}"
    )


def _method() -> str:
    return (
        "As planned: a trial without a result counts as the worst value of its metric "
        "(`primary.worst` of the ablation file, else the worst that a share can be), a collapsed "
        "one as what it reached. Completed only: both are left out. Worst case: trials without a "
        "result count as the end of the scale that speaks against the claim, in the variant and in "
        "the baseline. The verdicts are what they would be if no trust gate stood in the way, by "
        "the same tests and families as everywhere; where the three differ, the answer hangs on "
        "what is not known."
    )


def data(study: Study, found: Findings) -> dict[str, Any]:
    """The same for programs."""
    lost = losses(study)
    return {
        "variants": [
            {
                "variant": loss.variant,
                "planned": loss.planned,
                "failed": loss.failed,
                "collapsed": loss.collapsed,
                "rate_up_to": loss.bound,
            }
            for loss in lost
        ],
        "handled": [_plain(f, each) for f, columns in handled(study, found) for each in columns]
        if any(loss.lost for loss in lost)
        else [],
        "odd": oddities.data(study),
    }


def _plain(f: Finding, each: Handled) -> dict[str, Any]:
    known = each.verdict
    return {
        "metric": f.metric,
        "variant": f.variant,
        "baseline": f.baseline,
        "expected": expected(f.prediction) if f.prediction else "",
        "handling": each.handling.value,
        "verdict": each.word,
        "difference": known.difference.value if known else None,
        "low": known.difference.low if known else None,
        "high": known.difference.high if known else None,
        "p": known.p if known else None,
        "n": list(known.difference.n) if known else None,
    }
