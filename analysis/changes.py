"""What one revision of a manifest changes in the one before, in words."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from analysis.ablation import Ablation, Prediction
from analysis.fixed import plain
from analysis.manifest import Job, Manifest
from analysis.quantity import Kind as Read
from analysis.until import Look, Until

SHORT = 8  # characters of a hash
UNSET = "unset"
NAMED = 3  # trials that are named one by one; of more, the first and how many


class Kind(Enum):
    """What a change touches: what is claimed, what is asked for, or what the trials are made of.

    LOOK: nothing of these; a planned look was taken.
    """

    CLAIM = "claim"
    PLAN = "plan"
    CONTENT = "content"
    LOOK = "look"


@dataclass(frozen=True)
class Change:
    """One difference between two revisions."""

    kind: Kind
    text: str


def changes(before: Manifest, after: Manifest) -> list[Change]:
    """Every difference that makes a revision; no time, commit or command line is one."""
    found = [Change(Kind.CLAIM, text) for text in _claims(before.ablation, after.ablation)]
    found += [Change(Kind.PLAN, text) for text in _plan(before, after)]
    found += [Change(Kind.CONTENT, text) for text in _content(before, after)]
    return found + [Change(Kind.LOOK, text) for text in _looks(before.looks, after.looks)]


def named(p: Prediction) -> str:
    """A prediction's subject, `dr_grpo − grpo on eval/accuracy`."""
    words = p.reads.words
    return f"{p.variant} {sign(p)} {p.baseline} on {p.metric}{f' ({words})' if words else ''}"


def sign(p: Prediction) -> str:
    """How the variant is set against the baseline: times by their ratio, all else by difference."""
    return "/" if p.reads.kind is Read.TIME else "−"


def _claims(a: Ablation, b: Ablation) -> list[str]:
    """What is said beforehand about the result. Without a prediction a question is but a label."""
    found = _fields("primary", plain(a.primary), plain(b.primary))
    found += _field("paired", a.paired, b.paired)
    found += _until(a.until, b.until)
    if a.predictions or b.predictions:
        for key in ("question", "hypothesis", "baseline"):
            found += _field(key, getattr(a, key), getattr(b, key))
    return found + _predictions(a.predictions, b.predictions)


def _until(a: Until | None, b: Until | None) -> list[str]:
    """How many seeds there will be is part of a claim where its own results decide that."""
    if a is None or b is None:
        words = [UNSET if x is None else f"decided, at {x.at} seeds" for x in (a, b)]
        return _field("seeds until", *words)
    return _fields("seeds", plain(a), plain(b))


def _looks(before: Sequence[Look], after: Sequence[Look]) -> list[str]:
    """Looks that were taken, or taken anew; what was planned of them is `until`'s."""
    found = []
    for number, look in enumerate(after, start=1):
        old = before[number - 1] if number <= len(before) else None
        known = old is not None and old.taken
        if look.taken and look != old:
            count = f"{len(look.decided)} of {len(look.levels)} predictions decided"
            again = " (anew)" if known else ""
            found.append(f"look {number} of {len(after)} at {look.seeds} seeds{again}: {count}")
        elif known and not look.taken:
            found.append(f"look {number} of {len(after)} taken back")
    return found


def _predictions(a: Sequence[Prediction], b: Sequence[Prediction]) -> list[str]:
    """Predictions that are in one of two lists; their order says nothing."""
    gone = [(i, p) for i, p in enumerate(a, start=1) if p not in b]
    new = [(i, p) for i, p in enumerate(b, start=1) if p not in a]
    if len(gone) == len(new):
        return [
            text
            for (number, old), (_, now) in zip(gone, new, strict=True)
            for text in _fields(f"prediction {number} ({named(old)})", plain(old), plain(now))
        ]
    return [f"prediction {i} removed ({_whole(p)})" for i, p in gone] + [
        f"prediction {i} added ({_whole(p)})" for i, p in new
    ]


def _whole(p: Prediction) -> str:
    size = f"ratio {p.ratio}" if p.ratio else f"margin {p.margin}"
    return f"{named(p)} {p.relation.value}, {size}"


def _plan(before: Manifest, after: Manifest) -> list[str]:
    a, b = before.ablation, after.ablation
    found = _members("seeds", a.seeds, b.seeds)
    if a.budget != b.budget:
        budgets = [f"{x.budget.amount:,.10g} {x.budget.unit.value}" for x in (a, b)]
        found.append(f"budget {budgets[0]} -> {budgets[1]}")
    old, new = ({v.label: v.overrides for v in x.variants} for x in (a, b))
    found += _members("variants", list(old), list(new))
    for label in sorted(old.keys() & new.keys()):
        found += _field(f"variant {label}", old[label], new[label])
    for key in ("overrides", "factors"):
        found += _field(key, getattr(a, key), getattr(b, key))
    seals = ["".join(sorted({each.seal for each in m.tuned})) for m in (before, after)]
    return found + _hashes("tuning", *seals)


def _content(before: Manifest, after: Manifest) -> list[str]:
    """Configs, code, model and data, where the words of the question may have stayed."""
    groups = [{job.variant: job.group_hash for job in m.jobs} for m in (before, after)]
    found = [
        text
        for label in sorted(groups[0].keys() & groups[1].keys())
        for text in _hashes(f"config of {label}", groups[0][label], groups[1][label])
    ]
    found += _hashes("code", before.code_hash, after.code_hash)
    found += _hashes("base model", before.model_hash, after.model_hash)
    found += _hashes("data", before.task_digest, after.task_digest)
    old = {job.trial: job for job in before.jobs}
    pairs = [(old[job.trial], job) for job in after.jobs if job.trial in old]
    return [*sorted(found), *_trials("identity", pairs), *_trials("record", pairs)]


def _trials(key: str, pairs: Sequence[tuple[Job, Job]]) -> list[str]:
    """What changed in single trials, in one line where it is many of them."""
    moved = [(a, b) for a, b in pairs if getattr(a, key) != getattr(b, key)]
    found = [
        text
        for a, b in moved[: NAMED if len(moved) <= NAMED else 1]
        for text in _hashes(f"{key} of {a.trial}", getattr(a, key), getattr(b, key))
    ]
    return found if len(moved) <= NAMED else [f"{found[0]} and of {len(moved) - 1} trials more"]


def _members(what: str, a: Sequence[Any], b: Sequence[Any]) -> list[str]:
    """`seeds added: 3, 4`."""
    parts = {"added": [x for x in b if x not in a], "dropped": [x for x in a if x not in b]}
    return [f"{what} {how}: {', '.join(map(str, x))}" for how, x in parts.items() if x]


def _fields(what: str, a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """What differs; a key that only one of them has is unset in the other."""
    return [
        text
        for key in [*a, *(key for key in b if key not in a)]
        for text in _field(f"{what}: {key}", a.get(key, UNSET), b.get(key, UNSET))
    ]


def _field(what: str, a: Any, b: Any) -> list[str]:
    """`prediction 1: margin 0.02 -> 0.05`."""
    return [] if a == b else [f"{what} {_shown(a)} -> {_shown(b)}"]


def _hashes(what: str, a: str, b: str) -> list[str]:
    """A hash by its beginning; other words as they are."""
    if a == b:
        return []
    words = [x[:SHORT] if re.fullmatch("[0-9a-f]{16,}", x) else x or "unknown" for x in (a, b)]
    return [f"{what} {_shown(words[0])} -> {_shown(words[1])}"]


def _shown(value: Any) -> str:
    """A value; text in quotes unless it is one plain word, so that control characters show."""
    plain_word = not isinstance(value, str) or re.fullmatch(r"[\w./=+-]+", value)
    return str(value) if plain_word else repr(value)
