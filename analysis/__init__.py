"""MLflow -> tidy frames -> statistics -> figures -> report. Never imports torch.

For notebooks (`analysis/notebooks/` shows each at work):

- `read(runs, name)`: a planned ablation: its frames, verdicts, gates and the report's figures.
- `load(store, name)`: the frames of any store; `grouped(data, by=...)`: its runs in groups.
- `curves(frame, metric, x="tokens")`: learning curves of either, as a figure.
- `compare(results, metric, baseline)`: every variant against one, as a frame.
- `spreads`, `power_table`, `power_curves`: how many seeds a plan needs; `Prediction`, `Relation`:
  what a plan says.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.ablation import Prediction, Relation
    from analysis.comparing import compare
    from analysis.planned import read
    from analysis.planning import power_curves, power_table, spreads
    from analysis.plotting import curves
    from analysis.reading.loader import load
    from analysis.unplanned import grouped

# The module of each: importing the package alone stays light.
_HOMES = {
    "Prediction": "analysis.ablation",
    "Relation": "analysis.ablation",
    "compare": "analysis.comparing",
    "curves": "analysis.plotting",
    "grouped": "analysis.unplanned",
    "load": "analysis.reading.loader",
    "power_table": "analysis.planning",
    "power_curves": "analysis.planning",
    "read": "analysis.planned",
    "spreads": "analysis.planning",
}
__all__ = [
    "Prediction",
    "Relation",
    "compare",
    "curves",
    "grouped",
    "load",
    "power_curves",
    "power_table",
    "read",
    "spreads",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
