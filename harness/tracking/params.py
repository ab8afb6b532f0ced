"""Params of a published run: they are columns of MLflow's table, and it groups by them."""

from typing import Any

from harness.config import IDENTITY_IRRELEVANT, flattened
from harness.machine import shown
from harness.tracking import Names
from harness.tracking.record import Record
from harness.typed import TARGET


def of(record: Record, names: Names) -> dict[str, str]:
    """Variant, seed, and what differs between the trials of the experiment.

    Where a plan says what differs, all else is equal in every row, and config.yaml has it; a trial
    without a plan has every key that decides a number. A plug-in that is exchanged has the name of
    its class in the column of its group.
    """
    labels = record.config.get("labels")
    own: dict[str, Any] = labels if isinstance(labels, dict) else {}
    flat = {k: v for k, v in flattened(deciding(record)).items() if k}
    differing = own.get("differing") if names.differing is None else names.differing
    if isinstance(differing, (list, tuple)):
        chosen = {key: flat[key] for key in ("seed", *map(str, differing)) if key in flat}
    else:
        chosen = {key: value for key, value in flat.items() if not key.endswith(TARGET)}
        chosen["algorithm"] = own.get("algorithm", "")
    found = {_column(key): _cell(key, value) for key, value in chosen.items()}
    return {"variant": names.variant, **found}


def deciding(record: Record) -> dict[str, Any]:
    """A record's config without what changes no number."""
    return {k: v for k, v in record.config.items() if k not in IDENTITY_IRRELEVANT}


def _column(key: str) -> str:
    """A key in the characters that MLflow knows."""
    return key.removesuffix(f".{TARGET}").replace("[", ".").replace("]", "")


def _cell(key: str, value: Any) -> str:
    words = str(value)
    return shown.storable(words.rpartition(".")[2] if key.endswith(f".{TARGET}") else words)
