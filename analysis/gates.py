"""Trust gates: what a reviewer would ask before believing the numbers, computed."""

from dataclasses import dataclass
from enum import Enum

import polars as pl

from analysis import seal, stats, tuning
from analysis.ablation import Checkpoint
from analysis.study import FINISHED, Study

# A budget is overshot by less than one step; a step is rarely more than 5 % of a budget.
BUDGET_TOLERANCE = 0.05
# Beyond this, "at equal updates" and "at equal tokens" can give different answers.
TOKEN_TOLERANCE = 0.10
# Mean |log-prob difference| of a step: what rounding in bfloat16 stays below, and a trial's own
# default of trainer.mismatch.warn.
MISMATCH_TOLERANCE = 0.05
PROMPT_COLUMNS = ["item", "problem", "prompt"]


class Level(Enum):
    """Outcome of a gate."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Gate:
    """One question, its outcome and the facts behind it."""

    question: str
    level: Level
    detail: str


def gates(study: Study) -> list[Gate]:
    """Every gate, in the order of the report."""
    return [
        _seeds(study),
        _balanced(study),
        _complete(study),
        _collapsed(study),
        _strangers(study),
        _spread(study),
        _content(study),
        _commit(study),
        _factors(study),
        _deviations(study),
        _budget(study),
        _tokens(study),
        _sampler(study),
        _held_out(study),
        _rule(study),
        _sealed(study),
        _tuned(study),
    ]


def _gate(question: str, good: bool, otherwise: Level, detail: str) -> Gate:
    return Gate(question, Level.OK if good else otherwise, detail)


def _seeds(study: Study) -> Gate:
    counts = {label: len(study.values(study.primary, label)) for label in study.labels}
    fewest = min(counts.values())
    level, note = Level.OK, ""
    if fewest < stats.MIN_SEEDS_CONFIRM:
        level, note = Level.WARN, "; fewer than 5 is a screening, not a confirmation"
    if fewest < stats.MIN_SEEDS_VERDICT:
        level, note = Level.FAIL, "; fewer than 3 gives no verdict"
    return Gate("Enough seeds per variant", level, _listed(counts) + note)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{label}: {n}" for label, n in counts.items())


def _balanced(study: Study) -> Gate:
    done = study.finished
    sets = {
        label: sorted(done.filter(pl.col("variant") == label)["seed"]) for label in study.labels
    }
    same = all(seeds == sets[study.baseline] for seeds in sets.values())
    detail = "; ".join(f"{label}: {seeds}" for label, seeds in sets.items())
    return _gate("Same seeds in every variant", same, Level.WARN, detail)


def _complete(study: Study) -> Gate:
    done, planned = len(study.finished), len(study.trials)
    detail = f"{done} of {planned} planned trials have a result"
    return _gate("All planned trials finished", done == planned, Level.FAIL, detail)


def _collapsed(study: Study) -> Gate:
    """Some collapses are a finding; where each trial of a variant has, nothing was compared."""
    fallen = study.collapsed
    detail = "; ".join(f"{trial}: {found.reason}" for trial, found in fallen.items())
    question = "No trial collapsed"
    if not fallen:
        return Gate(question, Level.OK, "no finished trial has lost its gradient and its accuracy")
    left = study.finished.filter(~pl.col("trial").is_in(list(fallen)))
    gone = set(study.finished["variant"]) - set(left["variant"])
    return Gate(question, Level.FAIL if gone else Level.WARN, detail)


def _strangers(study: Study) -> Gate:
    detail = ", ".join(study.strangers) or "every run in the store belongs to the plan"
    if study.strangers:
        detail = f"left out, since the manifest does not plan them: {detail}"
    return _gate("No runs outside the plan", not study.strangers, Level.WARN, detail)


def _spread(study: Study) -> Gate:
    frozen = [
        label
        for label in study.labels
        if len(x := study.values(study.primary, label)) > 1 and stats.no_spread(x)
    ]
    detail = "results differ between seeds"
    if frozen:
        detail = f"all seeds give the same result in {', '.join(frozen)}: is the seed used?"
    return _gate("Seeds make a difference", not frozen, Level.WARN, detail)


def _content(study: Study) -> Gate:
    """Whether what ran is what the plan means today: code, weights and data, by their hashes."""
    question = "Code, weights and data are the plan's"
    done = study.finished
    others = done.filter(pl.col("identity") != pl.col("planned"))
    taken_as = pl.col("accepted_as").str.split(" ").list.contains(pl.col("planned"))
    kept = others.filter(taken_as)
    unknown = done.filter((pl.col("identity") == "") | (pl.col("planned") == ""))
    changed = others.filter(~taken_as)
    if not changed.is_empty() or not unknown.is_empty():
        names = sorted({*changed["trial"], *unknown["trial"]})
        return Gate(question, Level.FAIL, f"made of other content: {', '.join(names)}")
    if not kept.is_empty():
        rows = zip(kept["trial"], kept["accepted"], strict=True)
        detail = "; ".join(f"{trial}: {what}" for trial, what in rows)
        return Gate(question, Level.WARN, f"kept by accept_stale although changed since: {detail}")
    taken = done.filter(pl.col("origin") != "")
    origins = ", ".join(f"{t} is {o}" for t, o in zip(taken["trial"], taken["origin"], strict=True))
    note = f"; found under other names: {origins}" if origins else ""
    return Gate(question, Level.OK, f"{len(done)} results, each of the planned identity{note}")


def _commit(study: Study) -> Gate:
    done = study.finished
    commits = sorted(set(done["git_commit"]) - {""})
    question = "One commit, clean tree"
    short = ", ".join(commit[:12] for commit in commits) or "unknown"
    if len(commits) > 1:
        return Gate(question, Level.WARN, f"trials ran on different commits: {short}")
    if not commits:
        return Gate(question, Level.WARN, "no trial recorded a commit")
    dirty = bool(done["git_dirty"].any()) or study.manifest.git_dirty
    note = " with uncommitted changes" if dirty else ""
    return _gate(question, not dirty, Level.WARN, short + note)


def _factors(study: Study) -> Gate:
    factors = study.manifest.ablation.factors
    undeclared = sorted(
        key
        for key in {key for job in study.manifest.jobs for key in job.differs}
        if not any(key == factor or key.startswith(f"{factor}.") for factor in factors)
    )
    detail = f"declared: {', '.join(factors) or 'none'}"
    if undeclared:
        detail += f"; undeclared differences: {', '.join(undeclared)}"
    return _gate("Only declared factors differ", not undeclared, Level.FAIL, detail)


def _deviations(study: Study) -> Gate:
    found = study.manifest.deviations
    detail = "; ".join(found) or "none"
    return _gate("No deviations from the ablation file", not found, Level.WARN, detail)


def _used(study: Study, metric: str) -> pl.DataFrame:
    """Largest value of a budget metric per trial: trial, variant, value."""
    done = study.finished["trial"].to_list()
    rows = study.metrics.filter((pl.col("metric") == metric) & pl.col("trial").is_in(done))
    return rows.group_by("trial", "variant").agg(pl.col("value").max()).sort("trial")


def _budget(study: Study) -> Gate:
    unit = study.manifest.ablation.budget.unit.value
    used = _used(study, f"budget/{unit}")["value"].to_numpy()
    question = "Equal budget"
    if len(used) == 0:
        return Gate(question, Level.FAIL, f"no trial logged budget/{unit}")
    low, high = float(used.min()), float(used.max())
    amount = f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"
    good = high <= low * (1 + BUDGET_TOLERANCE)
    return _gate(question, good, Level.FAIL, f"{amount} {unit} per trial")


def _tokens(study: Study) -> Gate:
    used = _used(study, "budget/tokens").group_by("variant").agg(pl.col("value").mean())
    means = dict(zip(used["variant"], used["value"], strict=True))
    detail = ", ".join(f"{x}: {means[x]:,.0f}" for x in study.labels if x in means)
    good = not means or max(means.values()) <= min(means.values()) * (1 + TOKEN_TOLERANCE)
    if not good:
        detail += "; read the comparison at equal tokens as well"
    return _gate("Like numbers of sampled tokens", good, Level.WARN, detail or "not logged")


def _sampler(study: Study) -> Gate:
    question = "Responses are the trained model's own"
    worst = _used(study, "rollout/mismatch/mean")
    if worst.is_empty():
        return Gate(question, Level.WARN, "the sampler's log-probs were not compared")
    trial, _, mean = worst.sort("value").row(-1)
    detail = f"sampler and trainer differ by at most {mean:.2g} per token in the mean ({trial})"
    return _gate(question, mean <= MISMATCH_TOLERANCE, Level.WARN, detail)


def _held_out(study: Study) -> Gate:
    question = "Same held-out prompts, same order"
    tables = list(study.tables.values())
    without = sorted(set(study.finished["trial"]) - set(study.tables))
    if not tables:
        return Gate(question, Level.WARN, "no evaluation table is stored")
    first = tables[0].select(PROMPT_COLUMNS)
    differ = [
        trial
        for trial, table in study.tables.items()
        if not table.select(PROMPT_COLUMNS).equals(first)
    ]
    if differ:
        return Gate(question, Level.FAIL, f"not the first trial's prompts: {', '.join(differ)}")
    detail = f"{len(first)} prompts in {len(tables)} trials"
    if without:
        detail += f"; no table for {', '.join(without)}"
    return _gate(question, not without, Level.WARN, detail)


def _rule(study: Study) -> Gate:
    question = "Metric and checkpoint declared before the run"
    primary = study.manifest.ablation.primary
    detail = f"{primary.metric} at the {primary.checkpoint.value} checkpoint"
    if primary.checkpoint is Checkpoint.BEST:
        detail += ": a maximum over noisy checkpoints is biased upwards"
        return Gate(question, Level.WARN, detail)
    return Gate(question, Level.OK, detail)


def _sealed(study: Study) -> Gate:
    """FAIL takes the claims' worth away; WARN leaves it, but not the nominal error rates."""
    found = seal.judged(study)
    question = "Predictions sealed before the runs"
    if found.grave or found.slight:
        level = Level.FAIL if found.grave else Level.WARN
        return Gate(question, level, "; ".join([*found.grave, *found.slight]))
    return Gate(question, Level.OK, found.fact)


def _tuned(study: Study) -> Gate:
    found = tuning.judged(study)
    question = "Equal tuning budget per arm, fresh seeds"
    if found.grave or found.slight:
        level = Level.FAIL if found.grave else Level.WARN
        return Gate(question, level, "; ".join([*found.grave, *found.slight]))
    return Gate(question, Level.OK, found.fact)


def unfinished(study: Study) -> pl.DataFrame:
    """Rows of `study.trials` without a result."""
    return study.trials.filter(pl.col("status") != FINISHED)
