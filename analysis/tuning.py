"""Where values were searched before the study: at equal budgets, and on seeds of their own?"""

from typing import Any

import polars as pl

from analysis import text
from analysis.fixed import plain
from analysis.judgement import Judgement
from analysis.revisions import SHORT
from analysis.study import Study


def judged(study: Study) -> Judgement:
    """Whether each variant got the same tuning budget, and no result is on a seed that it saw.

    Tuning one variant more than another biases the comparison, and so does a result on the seed
    on which its values were chosen (Patterson et al., "Empirical design in reinforcement
    learning", JMLR 25, 2024, sections 4 and 5).
    """
    tuned = study.manifest.tuned
    if not tuned:
        return Judgement([], [], "nothing was searched: values are the ablation file's")
    grave = [
        f"{label} was not tuned"
        for label in study.labels
        if label not in {each.variant for each in tuned}
    ]
    for what, values in (
        ("trials", {each.variant: str(each.trials) for each in tuned}),
        ("of at most", {each.variant: ", then ".join(each.ceiling) for each in tuned}),
    ):
        if len(set(values.values())) > 1:
            listed = "; ".join(f"{label}: {value}" for label, value in values.items())
            grave.append(f"unequal tuning budgets, {what} {listed}")
    seen = {seed for each in tuned for seed in each.seeds}
    again = sorted(seen & set(study.manifest.ablation.seeds))
    if again:
        grave.append(f"results on seeds that the tuning saw: {', '.join(map(str, again))}")
    slight = [
        f"{each.failed} of {each.trials} tuning trials of {each.variant} failed"
        for each in tuned
        if each.failed
    ]
    if any(each.code_hash != study.manifest.code_hash for each in tuned):
        slight.append("the code has changed since the tuning")
    first = tuned[0]
    fact = (
        f"{first.trials} trials of at most {', then '.join(first.ceiling)} for each of "
        f"{len(tuned)} variants, on seed {_seeds(seen)}; confirmed on others"
    )
    return Judgement(grave, slight, fact)


def section(study: Study) -> str:
    """The budgets of tuning and of confirming, and what was chosen."""
    tuned = study.manifest.tuned
    if not tuned:
        return f"## Tuning\n\n{judged(study).fact.capitalize()}."
    first = tuned[0]
    seen = {seed for each in tuned for seed in each.seeds}
    parts = [
        "## Tuning",
        f"Values were searched on seed {_seeds(seen)} and are confirmed here on seeds "
        f"{_seeds(set(study.manifest.ablation.seeds))}.",
        _chosen(study),
        "The budgets of both:",
        _budgets(study),
        f"Every tuning trial had at most {text.prose(', then '.join(first.ceiling))}; "
        f"searcher: {text.prose(first.searcher)}; scheduler: {text.prose(first.scheduler)}; "
        f"attempts: {first.attempts}; record sealed as {text.code(first.seal[:SHORT])}; command: "
        f"{text.code(first.command)}. Updates and tokens are those spent, stopped and failed "
        f"trials included. The value that a tuning ended with is the best of many on one seed "
        f"and so too good: no verdict rests on it.",
    ]
    return "\n\n".join(parts)


def _chosen(study: Study) -> str:
    rows = [
        [
            text.code(each.variant),
            text.codes([f"{key}={value}" for key, value in each.space.items()]),
            text.codes([f"{key}={value}" for key, value in each.values.items()]),
            text.number(each.result, study.primary),
        ]
        for each in study.manifest.tuned
    ]
    return text.table(("variant", "searched", "chosen", f"{study.primary} there"), rows)


def _budgets(study: Study) -> str:
    counts = ("trials", "finished", "stopped", "failed", "repeated", "updates", "tokens")
    spent = _spent(study)
    rows = [
        [
            text.code(each.variant),
            *(f"{getattr(each, name):,.0f}" for name in counts),
            *(f"{value:,.0f}" for value in spent[each.variant].values()),
        ]
        for each in study.manifest.tuned
    ]
    confirming = ("confirming: trials", "updates", "tokens")
    return text.table(("variant", *counts, *confirming), rows)


def written(study: Study) -> dict[str, Any]:
    """The same for programs."""
    spent = _spent(study)
    return {
        "tuned": [plain(each) for each in study.manifest.tuned],
        "confirming": [
            {"variant": each.variant, **spent[each.variant]} for each in study.manifest.tuned
        ],
    }


def _spent(study: Study) -> dict[str, dict[str, float]]:
    """Variant -> trials that finished here, and what they spent."""
    found: dict[str, dict[str, float]] = {}
    for label in study.labels:
        own = study.metrics.filter(pl.col("variant") == label)
        rows = {
            unit: own.filter(pl.col("metric") == f"budget/{unit}")
            .group_by("trial")
            .agg(pl.col("value").max())["value"]
            .sort()
            for unit in ("updates", "tokens")
        }
        found[label] = {
            "trials": own["trial"].n_unique(),
            **{unit: float(values.sum()) for unit, values in rows.items()},
        }
    return found


def _seeds(seeds: set[int]) -> str:
    return ", ".join(map(str, sorted(seeds)))
