"""Metrics with unit and meaning, and the index of errors."""

import ast
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path

from docs.generator import choices
from harness import errors as catalogue
from harness import schema
from harness.schema import Metric

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = {
    "How far a trial is": schema.BUDGET,
    "Each step": schema.STEP,
    "Each evaluation, on the held-out set": schema.EVAL,
}
# A constant text of an error's message that says less than this says nothing to search for.
WORTH_SEARCHING = 12


def metrics() -> str:
    """Every metric key."""
    parts = ["# Metrics", choices.written_part("metrics")]
    for title, declared in SECTIONS.items():
        parts += [f"## {title}", table(declared)]
    kinds = {
        f"{kind}NAME": schema.of_kind(f"{kind.rpartition('/')[2]}NAME".replace("_", " "))
        for kind in schema.KINDS
    }
    parts += ["## Of a part or a difficulty", table(kinds)]
    for group, choice, own in _of_plug_ins():
        parts += [f"## Of `{group}={choice}`", table(own)]
    return "\n\n".join(parts)


def table(declared: Mapping[str, Metric]) -> str:
    """Metrics with unit and meaning."""
    lines = ["| metric | unit | meaning |", "|---|---|---|"]
    for key, metric in declared.items():
        clock = "; reads a clock" if metric.clock else ""
        unit = "share or number" if metric.unit == "1" else metric.unit
        lines.append(f"| `{key}` | {unit} | {choices.cell(metric.meaning)}{clock} |")
    return choices.stacked(lines)


def _of_plug_ins() -> Iterator[tuple[str, str, Mapping[str, Metric]]]:
    """(group, choice, metrics) of every plug-in that declares its own."""
    for group in choices.GROUPS:
        for choice in choices.choices(group):
            own = getattr(choices.target(choices.read(group, choice)), "METRICS", {})
            if isinstance(own, Mapping) and own:
                yield group, choice, own


def errors() -> str:
    """Kinds of errors with cause, exit code and remedy; then every message, to be searched."""
    kinds = [
        cls
        for cls in vars(catalogue).values()
        if inspect.isclass(cls) and issubclass(cls, catalogue.HarnessError)
    ][1:]
    said = list(messages())
    parts = ["# Errors", choices.written_part("errors")]
    for cls in kinds:
        own = sorted({text for name, text in said if name == cls.__name__})
        parts += [f"## {cls.__name__}", inspect.getdoc(cls) or ""]
        if own:
            parts += [_folded(f"Messages: {len(own)}", own)]
    return "\n\n".join(parts)


def _folded(title: str, lines: list[str]) -> str:
    body = "\n".join(f"    - {choices.cell(line).replace('`', '')}" for line in lines)
    return f'??? note "{title}"\n\n{body}'


def messages() -> Iterator[tuple[str, str]]:
    """(class, message) of every raise in the code; what is put in when it is raised is `…`."""
    for package in ("harness", "analysis", "sweeps"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                    yield from _message(node.exc)


def _message(call: ast.Call) -> Iterator[tuple[str, str]]:
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    if not call.args or not name.endswith("Error"):
        return
    text = "".join(_constant(part) for part in getattr(call.args[0], "values", [call.args[0]]))
    if len(text.replace("…", "").strip()) >= WORTH_SEARCHING:
        yield name, text


def _constant(part: ast.expr) -> str:
    return part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else "…"
