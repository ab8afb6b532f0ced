"""What the source documents claim, beside what was found here: the tables of why/claims.md.

The claims are written by hand (docs/generator/written/claims.yaml); numbers of ours that come from
a kept finding are read from it, so that a finding that is added or replaced fills its rows.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from analysis import kept, text
from analysis.estimates import estimate
from harness.algorithms.a_star_po_weighted import AStarPoWeighted

CLAIMS = Path(__file__).parent / "written" / "claims.yaml"
COLUMNS = ["claim", "ours, tiny", "runs it"]
# What stands where an ablation is there and its finding is not kept yet.
WAITS = "*not kept yet*"
# The A*-PO seed's training: steps, and passes over its pool. Prompts per step cancel.
STEPS, PASSES = 250, 3


def claims(folder: Path = kept.FOLDER, path: Path = CLAIMS) -> str:
    """The tables of claims, one for each document that makes them, in the order of the file.

    Args:
        folder: where findings are kept.
        path: the claims.
    """
    found = {finding["name"]: finding for finding in kept.everything(folder)}
    written = read(path)
    parts = []
    for source in dict.fromkeys(each["source"] for each in written):
        rows = [_row(each, found) for each in written if each["source"] == source]
        parts += [f"## {source}", text.table(COLUMNS, rows)]
    return "\n\n".join(parts)


def read(path: Path = CLAIMS) -> list[dict[str, Any]]:
    """The claims as they are written, each with its source and what stands beside it."""
    data: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return data


def _row(claim: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    read_off = claim.get("findings", [])
    ours = [f"{each['says']}: {_number(each, found)}" for each in read_off]
    ours += [claim["ours"]] if "ours" in claim else []
    names = dict.fromkeys(each["finding"] for each in read_off)
    runs = [f"`+ablation={name}`" for name in names]
    runs += [claim["runs"]] if "runs" in claim else []
    runs += [f"not run: `+recipe={claim['recipe']}`" if "recipe" in claim else claim["own_size"]]
    return [claim["claim"], "; ".join(ours), ", ".join(runs)]


def _number(asked: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> str:
    """A number of ours with interval, seeds and verdict."""
    finding = found.get(asked["finding"])
    if finding is None:
        return WAITS
    if "against" in asked:
        return _difference(asked, finding)
    if "gain" in asked:
        e = kept.estimated(finding["gains"][asked["gain"]]["gain"])
        return f"{text.change(e, 'eval/accuracy')}, {text.seeds(e.n)}"
    own = finding["seeds"][asked["metric"]][asked["level"]]
    e = estimate(np.array(list(own.values())), asked["metric"])
    return f"{text.estimate(e, asked['metric'])}, {text.seeds(e.n)}"


def _difference(asked: Mapping[str, Any], finding: Mapping[str, Any]) -> str:
    """What the finding says of variant minus baseline on a metric."""
    verdicts = zip(
        [*finding["predictions"], *finding["comparisons"]], finding["verdicts"], strict=True
    )
    names = (asked["metric"], asked["variant"], asked["against"])
    for made, verdict in verdicts:
        if (made["metric"], made["variant"], made["baseline"]) == names:
            seeds = " and ".join(map(str, verdict["n"]))
            return f"{verdict['difference']}, {seeds} seeds ({verdict['verdict']})"
    raise LookupError(f"{asked['finding']} says nothing on {', '.join(names)}")


def v_star() -> str:
    """What the cache of V* and the falling number of samples spare, counted in responses.

    Of the A*-PO seed's own schedule and number of passes. A prompt's first visit draws as many of
    the base's responses as its step asks for; a later visit draws what is lacking, with a cache,
    or all of them, without.
    """
    fixed = [5] * STEPS
    plan = AStarPoWeighted().rollout_plan
    falling = [plan(step / STEPS).reference_samples for step in range(STEPS)]
    plain = _responses(fixed, cached=False)
    rows = [
        [name, f"{count / STEPS:.2f}", f"{100 * (count / plain - 1):+.0f} %"]
        for name, count in (
            ("five samples, drawn at every visit", plain),
            ("five samples, kept", _responses(fixed, cached=True)),
            ("five, three, two, drawn at every visit", _responses(falling, cached=False)),
            ("five, three, two, kept", _responses(falling, cached=True)),
        )
    ]
    return text.table(["V\\*", "responses per prompt and visit", "against the first"], rows)


def _responses(samples: Sequence[int], cached: bool) -> int:
    """Responses of policy and base over a training of equal passes, one prompt a step."""
    pool = math.ceil(len(samples) / PASSES)
    known, drawn = [0] * pool, 0
    for step, wanted in enumerate(samples):
        prompt = step % pool
        drawn += max(0, wanted - known[prompt]) if cached else wanted
        known[prompt] = max(known[prompt], wanted)
    return drawn + len(samples)
