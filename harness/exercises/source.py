"""What the checker takes from a learner's file: imports, functions, classes and constants.

The rest of a notebook trains and draws; it is left out, so that a check takes seconds.
"""

import ast
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import ConfigError

KEPT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
# Lines that are IPython's and not Python's.
MAGIC = ("%", "!", "?")
WANTED = "name a notebook of analysis/notebooks/course, or a .py file with the same functions"


@dataclass(frozen=True)
class Source:
    """A file's code as one module.

    Attributes:
        text: each line of the file's code, empty where it is left out.
        functions: defined at the margin, in their order.
        starts: first line of each code cell in `text`; none for a .py file.
    """

    text: str
    functions: tuple[str, ...]
    starts: tuple[int, ...]

    def place(self, line: int) -> str:
        """Where the reader finds a line of `text`, both counted from 1."""
        before = [start for start in self.starts if start <= line]
        if not before:
            return f"line {line}"
        return f"line {line - before[-1] + 1} of code cell {len(before)}"


def read(path: Path) -> Source:
    """The code of a notebook or of a .py file.

    Raises:
        ConfigError: it cannot be read, is neither, or has a line that is no Python.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ConfigError(f"cannot read {str(path)!r} ({reason}); {WANTED}") from error
    cells = _cells(path, text)
    starts: list[int] = []
    lines: list[str] = []
    for cell in cells:
        starts.append(len(lines) + 1)
        lines += _pythonic(cell)
    if path.suffix != ".ipynb":
        starts = []
    whole = Source("\n".join(lines), (), tuple(starts))
    try:
        tree = ast.parse(whole.text)
    except SyntaxError as error:
        raise ConfigError(
            f"{str(path)!r} is no Python at {whole.place(error.lineno or 1)} ({error.msg}); "
            f"correct it and check again"
        ) from error
    functions = tuple(node.name for node in tree.body if isinstance(node, ast.FunctionDef))
    return Source(_without(lines, tree), functions, tuple(starts))


def _cells(path: Path, text: str) -> list[str]:
    """Code of each cell; a .py file is one."""
    if path.suffix == ".py":
        return [text]
    if path.suffix != ".ipynb":
        raise ConfigError(f"received {str(path)!r}, whose name ends in {path.suffix!r}; {WANTED}")
    try:
        cells: list[dict[str, Any]] = json.loads(text)["cells"]
        return ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{str(path)!r} is no notebook ({type(error).__name__}); {WANTED}"
        ) from error


def _pythonic(cell: str) -> list[str]:
    """The lines of a cell, IPython's own empty; all of them in a cell of another language."""
    lines = cell.splitlines()
    if cell.lstrip().startswith("%%"):
        return [""] * len(lines)
    return ["" if line.lstrip().startswith(MAGIC) else line for line in lines]


def _without(lines: list[str], tree: ast.Module) -> str:
    """The text without the statements that only run something."""
    keep = [False] * len(lines)
    for node in tree.body:
        if isinstance(node, KEPT) or _constant(node):
            decorators = getattr(node, "decorator_list", [])
            first = min([node.lineno, *(d.lineno for d in decorators)])
            keep[first - 1 : node.end_lineno] = [True] * ((node.end_lineno or first) - first + 1)
    return "\n".join(line if kept else "" for line, kept in zip(lines, keep, strict=True))


def _constant(node: ast.stmt) -> bool:
    """NAME = an expression that calls nothing."""
    if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
        return False
    calls = (ast.Call, ast.Await, ast.ListComp, ast.GeneratorExp, ast.Subscript)
    return not any(isinstance(child, calls) for child in ast.walk(node))
