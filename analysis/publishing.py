"""A report is written, and the store that holds its trials gets a copy of it."""

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analysis import text
from analysis.report import Report, build
from harness.tracking import reports

# The files of a report that is looked at in MLflow.
KINDS = ("*.html", "*.md", "*.json", "*.svg")


def published(runs: Path, name: str) -> Report:
    """Write `runs/reports/<name>/` (`report.build`), and let the store have it.

    The copy is the run NAME of the experiment `reports`: page and figures as artifacts, verdicts,
    gates, results and differences as metrics. It is made from what lies in the folder.

    Raises:
        ConfigError, StoreError: as `build`; the store cannot be written.
    """
    built = build(runs, name)
    reports.publish(runs, copied(built.html.parent))
    return built


def copied(folder: Path) -> reports.Copied:
    """What the store is told of a report."""
    data = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    paths = sorted(path for kind in KINDS for path in folder.glob(kind))
    return reports.Copied(
        name=data["name"],
        about=_about(data),
        note=_note(data),
        tags={"seal": data["seal"], "revision": str(data["revision"]), "primary": _primary(data)},
        metrics={key: value for key, value in _numbers(data) if math.isfinite(value)},
        files={path.name: path.read_text(encoding="utf-8") for path in paths},
    )


def _primary(data: dict[str, Any]) -> str:
    return str(data["primary"]["metric"])


def _numbers(data: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """What a table of reports shows: counts of verdicts and gates, results, and differences."""
    verdicts = Counter(each["verdict"] for each in data["predictions"])
    gates = Counter(gate["level"] for gate in data["gates"])
    yield from ((f"verdicts/{word}", float(n)) for word, n in verdicts.items())
    yield from ((f"gates/{level}", float(n)) for level, n in gates.items())
    for each in data["results"]:
        label = _key(each["variant"])
        yield f"seeds {label}", float(each["n"])
        yield f"result {label}", _number(each["mean"])
    for number, each in enumerate(data["predictions"], 1):
        yield f"prediction {number}/p", _number(each["p"])
        for part in ("value", "low", "high"):
            yield f"prediction {number}/{part}", _number(each["difference"][part])


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _key(label: str) -> str:
    """A label in the characters that MLflow knows; it has none for = and +."""
    return label.replace("=", ":").replace("+", " ")


def _about(data: dict[str, Any]) -> str:
    """Above the trials' runs."""
    return (
        f"{text.prose(data['question'])}\n\nOne run is one trial. *Model training* at the top left "
        f"shows them as a table: *Group by* `variant` puts the seeds of a variant together. Means "
        f"there have no interval; the report has, in the experiment `{reports.EXPERIMENT}`."
    )


def _note(data: dict[str, Any]) -> str:
    """Of the report's run: the question, and what became of each prediction."""
    lines = [
        f"{number}. {text.code(each['variant'])} against {text.code(each['baseline'])} on "
        f"{text.code(each['metric'])}, {each['relation']}: **{each['verdict']}**"
        for number, each in enumerate(data["predictions"], 1)
    ]
    withheld = [f"No verdict is given: {text.prose(data['withheld'])}."] if data["withheld"] else []
    page = "The page is report.html among the artifacts."
    return "\n\n".join([text.prose(data["question"]), "\n".join(lines), *withheld, page])
