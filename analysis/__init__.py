"""MLflow -> tidy frames -> statistics -> figures -> report. Never imports torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.power import plan_power
    from analysis.reading.loader import load

# What notebooks use, and the module of each: importing the package alone stays light.
_HOMES = {"load": "analysis.reading.loader", "plan_power": "analysis.power"}
__all__ = ["load", "plan_power"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
