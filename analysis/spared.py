"""How many trials a plan with looks needs, by simulation: what large effects spare."""

import numpy as np

from analysis import stats
from analysis.ablation import Ablation, Relation
from analysis.designs import subjects
from analysis.stats import Claim, Looks

DRAWS, SEED = 2_000, 20_261  # a mean is then known to 2 % or so, and the same every time
SIZES = (0.0, 1.0, 2.0, 3.0)  # that a preview tells, in standard deviations over seeds


def mean_trials(ablation: Ablation, size: float, draws: int = DRAWS) -> float:
    """Trials that a study gets on average until its predictions are decided.

    Args:
        ablation: with `until`.
        size: how far the truth of each prediction lies on its side of the margin, in standard
            deviations over seeds, which are alike in all arms; for equal the margin itself, at no
            difference. At 0 an equal has the truth at a margin of one standard deviation.
        draws: simulated studies; arms are normal and independent.
    """
    until = ablation.until
    assert until is not None
    rng = np.random.default_rng(SEED)
    keys = subjects(ablation.predictions)
    noise = {key: rng.normal(size=(draws, until.max)) for key in keys}
    arms = []
    for p in ablation.predictions:
        equal = p.relation is Relation.EQUAL
        margin = (size or 1.0) if equal else 0.0
        shift = {Relation.GREATER: size, Relation.LESS: -size, Relation.EQUAL: 0.0 if size else 1.0}
        x = noise[p.metric, p.variant] + shift[p.relation]
        arms.append((p, margin, x, noise[p.metric, p.baseline]))
    stages = [
        [Claim(p.relation, margin, x[:, :n], y[:, :n], ablation.paired) for p, margin, x, y in arms]
        for n in until.at
    ]
    _, _, when = stats.decided_in_looks(Looks.of(until), stages)
    seeds = np.array([*until.at, until.max])[when]
    total = 0.0
    for label in ablation.labels:
        own = [i for i, p in enumerate(ablation.predictions) if label in (p.variant, p.baseline)]
        total += float(np.mean(seeds[:, own].max(axis=1))) if own else until.min
    return total
