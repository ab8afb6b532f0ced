"""A page for each algorithm: formula, paper, keys, and the tests that prove it."""

import ast
import functools
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from docs.generator import choices, listings
from harness.testing import AlgorithmContract

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "reference/algorithms"
# Used by nearly every algorithm: that they are right proves none in particular.
COMMON = {"Reduction", "on_tokens", "KL"}


def pages() -> dict[str, str]:
    """All pages by their place on the site."""
    names = choices.choices("algorithm")
    made = {f"{FOLDER}/{name}.md": page(name) for name in names}
    return {f"{FOLDER}/index.md": index(names), **made}


def index(names: list[str]) -> str:
    """The family in one table."""
    head = ["| `algorithm=` | what it is |", "|---|---|"]
    lines = [f"| [`{name}`]({name}.md) | {_title(_class(name))} |" for name in names]
    return "\n\n".join(
        ["# Algorithms", choices.written_part("algorithms"), "\n".join(head + lines)]
    )


def page(name: str) -> str:
    """One algorithm."""
    cls = _class(name)
    text = choices.about(cls)
    proved = [f"`{test}`" for test in tests_of(cls)]
    golden = [f"`tests/golden/{op}.json`, {source}" for op, source in ops_of(cls)]
    checks = sum(name.startswith("test_") for name in vars(AlgorithmContract))
    exempt = sorted(getattr(cls, "exempt", ()))
    excused = f", except {', '.join(exempt)}, which it fails by its nature" if exempt else ""
    contract = f"the {checks} checks of `harness.testing.AlgorithmContract`{excused}"
    parts = [
        f"# `{name}`",
        text,
        choices.brought(choices.read("algorithm", name)),
        f"Source: `{cls.__module__.replace('.', '/')}.py`; `conf/algorithm/{name}.yaml`.",
        "## Keys",
        choices.table(choices.rows("algorithm.", choices.read("algorithm", name), cls)),
        "## What proves it",
        "Tests of its own, with the arithmetic in a comment:",
        _listed(proved) or "None beside those below.",
        "Numbers of reference implementations that it agrees with "
        "(`python -m harness.parity tests/golden`):",
        _listed(golden) or "None: no reference implementation gives numbers for it.",
        f"The contract of every algorithm: {contract} (`tests/algorithms/test_contract.py`).",
        _metrics(cls),
    ]
    return "\n\n".join(part for part in parts if part)


def _listed(items: list[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _class(name: str) -> type:
    cls = choices.target(choices.read("algorithm", name))
    assert cls is not None
    return cls


def _title(cls: type) -> str:
    return choices.cell((sys.modules[cls.__module__].__doc__ or "").partition("\n")[0])


def _metrics(cls: type) -> str:
    """Metrics that only this algorithm has."""
    own = getattr(cls, "METRICS", {})
    if not own:
        return ""
    return f"## Metrics of its own\n\n{listings.table(own)}"


def _names(node: ast.AST) -> set[str]:
    """All that is named inside: `Ppo`, `a.b` as a and b."""
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} | {
        n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)
    }


@functools.cache
def _functions(path: Path) -> dict[str, ast.FunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}


def tests_of(cls: type) -> Iterator[str]:
    """Tests in tests/algorithms that use a class, directly or through the file's helpers."""
    for path in sorted((ROOT / "tests" / "algorithms").glob("test_*.py")):
        if path.name == "test_contract.py":
            continue
        functions = _functions(path)
        helpers = {name for name, node in functions.items() if cls.__name__ in _names(node)}
        for name, node in functions.items():
            if name.startswith("test_") and _names(node) & {cls.__name__, *helpers}:
                yield f"{path.relative_to(ROOT).as_posix()}::{name}"


def ops_of(cls: type) -> Iterator[tuple[str, str]]:
    """Golden files of what an algorithm is made of, and the reference that made their numbers."""
    module = Path(str(importlib.import_module(cls.__module__).__file__))
    tree = ast.parse(module.read_text(encoding="utf-8"))
    used = {cls.__name__} | {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("harness.maths")
        for alias in node.names
    } - COMMON
    for path in sorted((ROOT / "harness" / "commands" / "parity_ops").glob("*.py")):
        for op, node in _functions(path).items():
            file = ROOT / "tests" / "golden" / f"{op}.json"
            if file.exists() and _names(node) & used:
                yield op, json.loads(file.read_text(encoding="utf-8"))["reference"]
