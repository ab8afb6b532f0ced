"""Reproducibility checklist, filled in from the record (after Pineau et al. 2021)."""

from dataclasses import dataclass
from typing import Any

from analysis import cost, stats, text
from analysis.fixed import plain
from analysis.study import Study

# What a cell says where the record has it and where it has not; the page colours them.
YES, NO = "OK", "MISSING"
# What the values of trainer.old_logprobs mean.
OLD = {
    "trainer": "the trainer's own before the first update",
    "sampler": "the rollout engine's, without a pass of the trainer's",
}


@dataclass(frozen=True)
class Item:
    """One question of the checklist; `evidence` is Markdown."""

    question: str
    there: bool
    evidence: str


def items(study: Study) -> list[Item]:
    """Every question, in the order of the list."""
    return [*_plan(study), *_code(study), *_data(study), *_results(study)]


def _plan(study: Study) -> list[Item]:
    plan = study.manifest.ablation
    predicted = len(plan.predictions)
    return [
        Item("A hypothesis was written down", bool(plan.hypothesis.strip()), "see Predictions"),
        Item(
            "Predictions with margins were sealed",
            bool(predicted and study.manifest.seal),
            f"{predicted}, seal {text.code(study.manifest.seal[: text.SHORT_HASH])}",
        ),
        Item(
            "Metric and checkpoint were chosen beforehand",
            True,
            f"{text.code(plan.primary.metric)}, {plan.primary.checkpoint.value}",
        ),
    ]


def _code(study: Study) -> list[Item]:
    manifest = study.manifest
    commits = sorted(set(study.finished["git_commit"].drop_nulls()) - {""})
    short = text.codes([commit[: text.SHORT_HASH] for commit in commits])
    clean = bool(commits) and not manifest.git_dirty and not study.finished["git_dirty"].any()
    versions = [f"{key} {value}" for key, value in sorted(manifest.versions.items())]
    trainer = study.config.get("trainer", {})
    every = trainer.get("check_sync_every")
    # A record that is older than the key is of trials that had no other.
    old = OLD[trainer.get("old_logprobs", "trainer")] if study.config else ""
    return [
        Item("The code's commit is known", len(commits) == 1, short),
        Item("Without uncommitted changes", clean, "of the plan and of every trial"),
        Item("A hash of the sources", bool(manifest.code_hash), text.code(manifest.code_hash)),
        Item("Versions of the libraries", bool(versions), text.codes(versions)),
        Item("The command", bool(manifest.command), text.code(manifest.command)),
        Item("The sampler had the trained weights", every is not None, _checks(every)),
        Item("Whose log-probs the ratios are taken against", bool(old), old),
        Item("All settings are stored with each run", bool(study.config), "config.yaml"),
    ]


def _checks(every: int | None) -> str:
    """What was compared after the updates: harness.learner.sync."""
    if every is None:
        return ""
    often = "each sync" if every == 1 else f"every {every} steps"
    return f"version and checksum at each sync, sampled log-probs at {often}"


def _data(study: Study) -> list[Item]:
    manifest = study.manifest
    seeds = text.prose(str(manifest.ablation.seeds))
    digest = text.code(manifest.task_digest)
    return [
        Item("The base model's hash", bool(manifest.model_hash), text.code(manifest.model_hash)),
        Item("The held-out set's digest", bool(manifest.task_digest), digest),
        Item("Responses are stored", bool(study.tables), f"{len(study.tables)} trials"),
        Item("The seeds", bool(manifest.ablation.seeds), seeds),
    ]


def _results(study: Study) -> list[Item]:
    done, planned = len(study.finished), len(study.trials)
    counts = [len(study.values(study.primary, label)) for label in study.labels]
    return [
        Item("Every planned trial has a result", done == planned, f"{done} of {planned}"),
        Item(
            f"At least {stats.MIN_SEEDS_CONFIRM} seeds per variant",
            min(counts) >= stats.MIN_SEEDS_CONFIRM,
            f"fewest: {min(counts)}",
        ),
        Item("Intervals over seeds", min(counts) > 1, "95 % t, or the level of the verdict"),
        Item("The compute that it took", done > 0, cost.sentence(study)),
    ]


def section(study: Study) -> str:
    """The list as a table."""
    rows = [
        [item.question, YES if item.there else NO, item.evidence or text.NONE]
        for item in items(study)
    ]
    found = text.table(["what", "in the record", "which"], rows)
    return f"## Reproducibility checklist\n\n{found}"


def data(study: Study) -> list[dict[str, Any]]:
    """The list for programs; evidence as the page has it, in Markdown."""
    return [plain(item) for item in items(study)]
