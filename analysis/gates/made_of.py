"""Whether what ran is what the plan means, and the same in every arm but for the question."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from analysis.gates.gate import Gate, Level, about, arms
from analysis.gates.tags import explained, split
from analysis.study import Study
from harness.typed import FUNCTIONS, TARGET

SHOWN = 12  # characters of a hash


@dataclass(frozen=True)
class Tag:
    """One provenance tag.

    Attributes:
        words: what it is a hash or a list of.
        factors: config keys, or ends of keys, through which a declared factor may change it.
    """

    name: str
    words: str
    factors: tuple[str, ...]


EVALUATION = (
    Tag("decoding", "decoding", ("rollout", "evaluation")),
    Tag("eval_digest", "held-out set", ("task",)),
    Tag("template_hash", "prompt template", ("task",)),
)
SOURCES = (
    # Another class, or a function that is named, is other code; a number is none.
    Tag("code_hash", "code", (f".{TARGET}", *(f".{name}" for name in FUNCTIONS))),
    Tag("model_hash", "base model", ("model", "task")),
    Tag("task_digest", "task", ("task",)),
)


def content(study: Study) -> Gate:
    """Whether what ran is what the plan means today: code, weights and data, by their hashes."""
    question = "Code, weights and data are the plan's"
    done = study.finished
    others = done.filter(pl.col("identity") != pl.col("planned"))
    kept = others.filter(_accepted())
    unknown = done.filter((pl.col("identity") == "") | (pl.col("planned") == ""))
    changed = others.filter(~_accepted())
    if done.is_empty():
        return Gate(question, Level.WARN, "no trial has a result")
    if not changed.is_empty() or not unknown.is_empty():
        names = sorted({*changed["trial"], *unknown["trial"]})
        detail = f"made of other content: {', '.join(names)}"
        return about(study, question, Level.FAIL, detail, [*arms(changed), *arms(unknown)])
    if not kept.is_empty():
        rows = zip(kept["trial"], kept["accepted"], strict=True)
        detail = "; ".join(f"{trial}: {what}" for trial, what in rows)
        detail = f"kept by accept_stale although changed since: {detail}"
        return about(study, question, Level.WARN, detail, arms(kept))
    taken = done.filter(pl.col("origin") != "")
    origins = ", ".join(f"{t} is {o}" for t, o in zip(taken["trial"], taken["origin"], strict=True))
    note = f"; found under other names: {origins}" if origins else ""
    return Gate(question, Level.OK, f"{len(done)} results, each of the planned identity{note}")


def _accepted() -> pl.Expr:
    """Whether a result was kept as what is planned, although it was made of something else."""
    return pl.col("accepted_as").str.split(" ").list.contains(pl.col("planned"))


def config(study: Study) -> Gate:
    """Whether each run was configured as the plan says."""
    question = "Each trial ran with its planned config"
    done = study.finished
    known = done.filter(pl.col("config") != "")
    other = known.filter(pl.col("config") != pl.col("config_hash"))
    if not other.is_empty():
        detail = f"another config than planned: {', '.join(other['trial'])}"
        return about(study, question, Level.FAIL, detail, arms(other))
    if len(known) < len(done) or done.is_empty():
        lost = done.filter(pl.col("config") == "")
        names = ", ".join(lost["trial"]) or "no trial has a result"
        return about(study, question, Level.WARN, f"no config is recorded: {names}", arms(lost))
    return Gate(question, Level.OK, f"{len(done)} configs, by their hashes")


def evaluation(study: Study) -> Gate:
    """Decoding, held-out prompts and template: what is measured must be the same in every trial."""
    return _same(study, "Evaluated alike in every variant", EVALUATION, study.finished, {})


def sources(study: Study) -> Gate:
    """Code, base model and task of arms and plan; kept results are named by `content`."""
    manifest = study.manifest
    planned = {
        "code_hash": manifest.code_hash,
        "model_hash": manifest.model_hash,
        "task_digest": manifest.task_digest,
    }
    question = "Same code, base model and task but for the factors"
    return _same(study, question, SOURCES, study.finished.filter(~_accepted()), planned)


def _same(
    study: Study, question: str, tags: Sequence[Tag], done: pl.DataFrame, planned: dict[str, str]
) -> Gate:
    """Whether every trial has the baseline's tags, or its own arm's where a factor changes them.

    Args:
        tags: to compare.
        done: rows of `study.trials`.
        planned: what the manifest says of the baseline; tags that it does not name are compared
            between trials only.
    """
    odd, guilty, lost = list[str](), set[str](), dict[str, list[str]]()
    for tag in tags:
        rows = done["trial", "variant", tag.name].rows()
        if lacking := [trial for trial, _, value in rows if not value]:
            lost[tag.words] = lacking
        by_arm = {x: [v for _, arm, v in rows if arm == x and v] for x in study.labels}
        common = {x: Counter(values).most_common(1)[0][0] for x, values in by_arm.items() if values}
        base = planned.get(tag.name) or common.get(study.baseline, "")
        for trial, arm, value in rows:
            wanted = common.get(arm, "") if explained(study, arm, tag.factors) else base
            if value and wanted and value != wanted:
                odd.append(f"{tag.words} of {trial}: {split(value, wanted, SHOWN)}")
                guilty.add(arm)
    if odd:
        return about(study, question, Level.FAIL, "; ".join(odd), guilty)
    if lost or done.is_empty():
        detail = "; ".join(f"{words} not recorded: {', '.join(x)}" for words, x in lost.items())
        return Gate(question, Level.WARN, detail or "no trial has a result to compare")
    words = ", ".join(tag.words for tag in tags)
    return Gate(question, Level.OK, f"{words} of {len(done)} results agree")
