"""Whether there are enough seeds, the same in every arm, and whether they act as the test says."""

import numpy as np
import polars as pl
from scipy import stats as tests

from analysis import stats
from analysis.gates.gate import ALARM, Gate, Level, about
from analysis.study import Study


def enough(study: Study) -> Gate:
    """Below 3 seeds nothing is decided; below 5 the study is a screening."""
    counts = {label: len(study.values(study.primary, label)) for label in study.labels}
    few = [label for label, n in counts.items() if n < stats.MIN_SEEDS_VERDICT]
    level, note = Level.OK, ""
    if min(counts.values()) < stats.MIN_SEEDS_CONFIRM:
        level, note = Level.WARN, "; fewer than 5 is a screening, not a confirmation"
    if few:
        level, note = Level.FAIL, "; fewer than 3 gives no verdict"
    listed = ", ".join(f"{label}: {n}" for label, n in counts.items())
    return about(study, "Enough seeds per variant", level, listed + note, few)


def balanced(study: Study) -> Gate:
    """Whether every arm has its results at the same seeds, or at those that looks gave it."""
    done = study.finished
    sets = {
        label: sorted(done.filter(pl.col("variant") == label)["seed"]) for label in study.labels
    }
    detail = "; ".join(f"{label}: {seeds}" for label, seeds in sets.items())
    base = sets[study.baseline]
    due = {
        label: study.manifest.called(label) if study.manifest.looks else base
        for label in study.labels
    }
    others = [label for label in study.labels if sets[label] != due[label]]
    same = bool(base) and not others
    level = Level.OK if same else Level.WARN
    return about(study, "Same seeds in every variant", level, detail, others)


def spread(study: Study) -> Gate:
    """Whether the seed is used at all."""
    values = {label: study.values(study.primary, label) for label in study.labels}
    question = "Seeds make a difference"
    frozen = [label for label, x in values.items() if len(x) > 1 and stats.no_spread(x)]
    if frozen:
        detail = f"all seeds give the same result in {', '.join(frozen)}: is the seed used?"
        return about(study, question, Level.WARN, detail, frozen)
    single = [label for label, x in values.items() if len(x) < 2]
    if single:
        detail = f"fewer than two results in {', '.join(single)}: nobody has seen two differ"
        return about(study, question, Level.WARN, detail, single)
    return Gate(question, Level.OK, "results differ between seeds in every variant")


def pairing(study: Study) -> Gate:
    """Whether the test's assumption on seeds that are common to two arms holds.

    The paired test holds whatever they have in common. Welch's takes arms as independent: seeds
    that go together only cost it power, but where they go against each other (correlation -.5) its
    95 % interval covers 90 to 93 %. Pearson's test against a correlation of 0 or above, Holm over
    the arms: a false alarm in at most 5 % of studies.
    """
    question = "Seeds are compared as the test assumes"
    if study.paired:
        return Gate(question, Level.OK, "paired as declared; holds at any correlation")
    pairs = {x: study.common(study.primary, x, study.baseline) for x in study.others}
    known = {label: stats.correlation(x, y) for label, (x, y) in pairs.items()}
    tested = [label for label, rho in known.items() if rho == rho]
    shown = ", ".join(f"{label} {known[label]:+.2f}" for label in tested)
    if study.others and not tested:
        return Gate(question, Level.WARN, "no correlation over seeds is known: too few, or equal")
    p = [float(tests.pearsonr(*pairs[x], alternative="less").pvalue) for x in tested]
    adjusted = stats.holm(np.array(p)) if p else np.empty(0)
    against = [x for x, value in zip(tested, adjusted, strict=True) if value < ALARM]
    if against:
        detail = (
            f"seeds go against each other ({shown}), Welch's intervals are too narrow; declare "
            f"paired: true in the next plan"
        )
        return about(study, question, Level.WARN, detail, against)
    detail = f"arms as independent; correlation over seeds: {shown or 'one arm alone'}"
    return Gate(question, Level.OK, detail)
