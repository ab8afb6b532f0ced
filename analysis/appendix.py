"""The report's evidence: every seed, sample responses, versions."""

import math
from typing import Any

import polars as pl

from analysis import names, text
from analysis.drawing import bright
from analysis.study import Study
from analysis.tables import SIDE_BY_SIDE
from harness.machine import shown

SAMPLES = 10  # prompts shown; enough to see habits, few enough to be read
# Longer responses are cut in the middle of the report, not in the store.
SHOWN_CHARACTERS = 1500


def _run(row: dict[str, Any]) -> str:
    return text.code(row["run_id"] or "")


def every_seed(study: Study) -> str:
    """Results of the primary and of every predicted metric, seed by seed."""
    predicted = [p.metric for p in study.manifest.ablation.predictions]
    metrics = dict.fromkeys([study.primary, *predicted])
    parts = [part for metric in metrics for part in _seeds(study, metric)]
    return "\n\n".join(["## Every seed", *parts])


def _seeds(study: Study, metric: str) -> list[str]:
    """One row per seed, at most SIDE_BY_SIDE variants in one table."""
    rows = study.results.filter(pl.col("metric") == metric)
    known = {(v, s): x for v, s, x in rows.select("variant", "seed", "value").iter_rows()}
    seeds = sorted(set(study.trials["seed"]))
    parts = [f"### {text.prose(names.name(metric))}, every seed"]
    for start in range(0, len(study.labels), SIDE_BY_SIDE):
        labels = study.labels[start : start + SIDE_BY_SIDE]
        cells = [
            [str(s), *(text.number(known.get((v, s), math.nan), metric) for v in labels)]
            for s in seeds
        ]
        parts.append(text.table(["seed", *map(text.prose, labels)], cells))
    return parts


def samples(study: Study) -> str:
    """Responses of every variant to the same prompts, from each one's lowest seed."""
    title = "## Sample responses"
    tables = {
        label: table for label in bright(study) if (table := _lowest_seed(study, label)) is not None
    }
    if not tables:
        return f"{title}\n\nNo evaluation table is stored."
    first = next(iter(tables.values()))
    count = len(first)
    # Spread evenly over the held-out set, so that the choice cannot favour anyone.
    rows = sorted({i * count // SAMPLES for i in range(SAMPLES)}) if count else []
    note = (
        f"{len(rows)} of {count} held-out prompts, evenly spaced in the set; the last evaluation "
        f"of each variant's lowest seed, one sampled response each.{_left_out(study)}"
    )
    blocks = [
        f"#### Prompt {i + 1} of {count}\n\n{_beside(tables, first[i, 'item'], first[i, 'prompt'])}"
        for i in rows
    ]
    return "\n\n".join([title, note, *blocks])


def _left_out(study: Study) -> str:
    rest = len(study.labels) - len(bright(study))
    return f" The baseline and the best variant; {rest} others are in the store." if rest else ""


def _lowest_seed(study: Study, label: str) -> pl.DataFrame | None:
    """Last evaluation table of the variant's lowest seed that has one."""
    own = study.finished.filter(pl.col("variant") == label).sort("seed")
    return next((study.tables[t] for t in own["trial"] if t in study.tables), None)


def _beside(tables: dict[str, pl.DataFrame], item: object, prompt: object) -> str:
    """The prompt and one block per variant; the page puts those side by side."""
    blocks = [f"prompt: {_indented(str(prompt))}"]
    for label, table in tables.items():
        row = next(table.filter(pl.col("item") == item).iter_rows(named=True), None)
        if row is None:
            blocks.append(f"{shown.line(label)}: has no such item")
            continue
        facts = ["right" if row["correct"] else "wrong", f"{row['length']:.0f} tokens"]
        facts += ["cut by the budget"] if row["truncated"] else []
        head = f"{shown.line(label)} ({', '.join(facts)})"
        blocks.append(f"{head}\n  {_short(str(row['response']))}")
    return "\n\n".join(map(text.fenced, blocks))


def _short(response: str) -> str:
    more = len(response) - SHOWN_CHARACTERS
    cut = response if more <= 0 else f"{response[:SHOWN_CHARACTERS]} … ({more} characters more)"
    return _indented(cut)


def _indented(words: str) -> str:
    """Lines that cannot be taken for the report's own, which begin at the margin."""
    return words.replace("\n", "\n  ")


def provenance(study: Study) -> str:
    """Versions, hashes, and which run each number comes from."""
    manifest = study.manifest
    changed = " (uncommitted changes)" if manifest.git_dirty else ""
    facts = {
        "command": manifest.command,
        "manifest written": manifest.created,
        "git commit": manifest.git_commit + changed,
        "code hash": manifest.code_hash,
        "base model hash": manifest.model_hash,
        "held-out set digest": manifest.task_digest,
        **dict(sorted(manifest.versions.items())),
    }
    fallen = {trial: f", collapsed since step {x.since}" for trial, x in study.collapsed.items()}
    trials = [
        [
            text.code(r["trial"]),
            text.code(r["config_hash"][: text.SHORT_HASH]),
            _run(r),
            text.prose(r["status"]) + fallen.get(r["trial"], ""),
            str(r["attempt"] or 0),
        ]
        for r in study.trials.iter_rows(named=True)
    ]
    return "\n\n".join(
        [
            "## Versions and hashes",
            text.table(
                ["what", "value"],
                [[text.prose(key), text.code(value)] for key, value in facts.items()],
            ),
            text.table(["trial", "config hash", "MLflow run", "status", "attempt"], trials),
        ]
    )
