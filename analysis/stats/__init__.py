"""Statistics on arrays that hold one value per seed; pure functions.

The seed is the replicate: every `n` counts seeds, never prompts or tokens. Arrays are shape (n,),
finite, in the metric's unit; where a docstring says (..., n), leading axes are studies that are
computed at once, which is how the calibration runs what the report runs. Nothing here raises on
few or equal values: what cannot be computed is NaN, and NaN never decides anything.

- Fewer than 2 seeds in an arm: no spread, so no interval and no p-value.
- Fewer than 3, or an arm whose seeds all give the same value: no verdict, whatever the means are
  (`verdicts.decide`). Seeds that change nothing usually mean that the seed is not used, and then
  they are one replicate and not n.
"""

from analysis.stats.aggregates import (
    RESAMPLES,
    iqm,
    iqm_interval,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
)
from analysis.stats.curves import first_reached, mean_height
from analysis.stats.differences import (
    Difference,
    Terms,
    by_prompt,
    correlation,
    hedges_g,
    hedges_g_interval,
    paired,
    paired_terms,
    welch,
    welch_terms,
)
from analysis.stats.exact import permutation_p, sign_flip_p
from analysis.stats.families import ALPHA, benjamini_hochberg, holm, local_alphas
from analysis.stats.intervals import (
    LEVEL,
    Estimate,
    FloatArray,
    mean_interval,
    no_spread,
)
from analysis.stats.power import (
    POWER,
    Resolution,
    attainable,
    detectable,
    expected_attainable,
    expected_detectable,
)
from analysis.stats.simultaneous import Simultaneous, dunnett, games_howell
from analysis.stats.spending import At, Looks, crossing, needed, spent
from analysis.stats.stopping import decide_in_looks
from analysis.stats.studies import decided, decided_in_looks
from analysis.stats.survival import Times, restricted_mean, survival
from analysis.stats.unusual import Rule, Sign, unusual
from analysis.stats.variance import VarianceSplit, split
from analysis.stats.verdicts import (
    DECIDED,
    MIN_SEEDS_VERDICT,
    Claim,
    Outcome,
    Verdict,
    decide,
    directed_p,
    timed,
)

MIN_SEEDS_CONFIRM = 5  # below this a study is a screening: at n = 3 only d > 3 sd is detectable

__all__ = [
    "ALPHA",
    "DECIDED",
    "LEVEL",
    "MIN_SEEDS_CONFIRM",
    "MIN_SEEDS_VERDICT",
    "POWER",
    "RESAMPLES",
    "At",
    "Claim",
    "Difference",
    "Estimate",
    "FloatArray",
    "Looks",
    "Outcome",
    "Resolution",
    "Rule",
    "Sign",
    "Simultaneous",
    "Terms",
    "Times",
    "VarianceSplit",
    "Verdict",
    "attainable",
    "benjamini_hochberg",
    "by_prompt",
    "correlation",
    "crossing",
    "decide",
    "decide_in_looks",
    "decided",
    "decided_in_looks",
    "detectable",
    "directed_p",
    "dunnett",
    "expected_attainable",
    "expected_detectable",
    "first_reached",
    "games_howell",
    "hedges_g",
    "hedges_g_interval",
    "holm",
    "iqm",
    "iqm_interval",
    "local_alphas",
    "mean_height",
    "mean_interval",
    "needed",
    "no_spread",
    "optimality_gap",
    "paired",
    "paired_terms",
    "performance_profile",
    "permutation_p",
    "probability_of_improvement",
    "restricted_mean",
    "sign_flip_p",
    "spent",
    "split",
    "survival",
    "timed",
    "unusual",
    "welch",
    "welch_terms",
]
