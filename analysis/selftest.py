"""The report tests itself: its own design, simulated, and what becomes of its predictions."""

import math
from typing import Any

from analysis import text
from analysis.changes import named
from analysis.designs import of_results
from analysis.findings import expected
from analysis.fixed import plain
from analysis.power import (
    DEPTH,
    DRAWS,
    EFFECT,
    RATE,
    Chance,
    Scene,
    SelfTest,
    simulated,
)
from analysis.study import Study

TITLE = "## The report tests itself"


def selftest(study: Study) -> SelfTest:
    """The study's design, at the seeds, spreads and correlations that its results have."""
    rows = study.results.sort("trial").select("metric", "variant", "seed", "value").iter_rows()
    results: dict[tuple[str, str], dict[int, float]] = {}
    for metric, variant, seed, value in rows:
        results.setdefault((metric, variant), {})[seed] = value
    return simulated(of_results(study.manifest.ablation, results))


def section(study: Study) -> str:
    """One row per prediction, and one for the family."""
    found = selftest(study)
    if not found.chances:
        return f"{TITLE}\n\nNo prediction on a result was written down before the run."
    scenes = [scene.value for scene in Scene]
    header = ["prediction", *(f"false “supported”, {scene}" for scene in scenes)]
    header += ["true at", *(f"“supported” if true, {scene}" for scene in scenes)]
    rows = [_row(chance) for chance in found.chances]
    rows.append(["any of them", *map(_rate, found.any_false), text.NONE, *[text.NONE] * 3])
    return "\n\n".join([TITLE, _method(study), text.table(header, rows)])


def _row(chance: Chance) -> list[str]:
    p = chance.prediction
    return [
        f"{text.prose(named(p))} is {expected(p)}",
        *map(_rate, chance.false),
        text.signed(chance.true, p.metric),
        *map(_rate, chance.found),
    ]


def _method(study: Study) -> str:
    pairs = "seed by seed" if study.paired else "as groups of seeds"
    seeds = "its seeds of each arm"
    if study.manifest.looks:
        seeds = "all planned seeds of each arm, looked at as planned"
    return (
        f"{DRAWS:,} studies like this one were drawn from normal distributions ({seeds}, "
        f"their spread, their correlations over seeds as measured) and decided as this page "
        f"decides: compared {pairs}, Holm over the predictions on results. False: how often one is "
        f"called supported where every difference lies at its margin (an *equal* under collapse of "
        f"the variant: so far outside that the other seeds look equal). If true: the same where "
        f"every prediction is true, by {EFFECT:g} standard deviations over seeds beyond its "
        f"margin, or for *equal* at no difference. Collapse: one seed in {1 / RATE:g} ends at the "
        f"metric's worst value, or {DEPTH:g} standard deviations away where it has none, and the "
        f"mean over all seeds is the truth that is asked about: where none of a variant's few "
        f"seeds happens to collapse, it looks better than it is, and no test can see that. A dash: "
        f"fewer than 3 seeds or no spread, so no verdict."
    )


def _rate(rate: float) -> str:
    """`0.05`, three digits as the draws know them."""
    return text.NONE if math.isnan(rate) else f"{rate:.3f}"


def data(study: Study) -> dict[str, Any]:
    """The table for programs."""
    found = selftest(study)
    return {
        "draws": DRAWS,
        "scenes": [scene.value for scene in Scene],
        "any_false": list(found.any_false),
        "predictions": [
            {
                "metric": chance.prediction.metric,
                "variant": chance.prediction.variant,
                "baseline": chance.prediction.baseline,
                "true": chance.true,
                "false": plain(chance.false),
                "found": plain(chance.found),
            }
            for chance in found.chances
        ],
    }
