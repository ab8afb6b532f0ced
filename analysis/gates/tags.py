"""How tags are compared: what a declared factor explains, and what of two values differs."""

import json
from collections.abc import Sequence
from typing import Any

from analysis.study import Study


def explained(study: Study, label: str, factors: Sequence[str]) -> bool:
    """Whether the config of a variant differs from the baseline's in one of these keys.

    Args:
        factors: a key, with all below it, or the end of a key, `.name`.
    """
    keys = {key for job in study.manifest.jobs if job.variant == label for key in job.differs}
    return any(
        key.endswith(factor)
        if factor.startswith(".")
        else key == factor or key.startswith(f"{factor}.")
        for key in keys
        for factor in factors
    )


def split(value: str, wanted: str, shown: int) -> str:
    """`torch 2.14.0 where 2.13.0`: only what differs, where both are objects in JSON.

    Args:
        shown: characters of a value that is none.
    """
    own, other = (fields(text) for text in (value, wanted))
    if not own or not other:
        return f"{value[:shown]} where {wanted[:shown]}"
    keys = sorted(key for key in own.keys() | other.keys() if own.get(key) != other.get(key))
    return ", ".join(f"{k} {own.get(k, 'absent')} where {other.get(k, 'absent')}" for k in keys)


def fields(text: str) -> dict[str, Any]:
    """The object that a tag holds as JSON; {} for any other text."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
