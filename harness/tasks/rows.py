"""Files of questions: reading parquet and JSON lines, and TinyZero's row schema.

A row of the schema has `data_source`, `prompt` [{role, content}], `ability`, `reward_model`
{style, ground_truth} and `extra_info` {split, index, difficulty}.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from harness.errors import ConfigError
from harness.prompts import Prompt

if TYPE_CHECKING:  # it knows tensors; who grades needs none
    from harness.protocols import Task

Row = dict[str, Any]
SUFFIXES = (".parquet", ".jsonl")


def read(path: str, columns: Sequence[str], key: str) -> list[Row]:
    """The rows of a file, each with all the columns.

    Args:
        path: a parquet or JSON lines file.
        columns: those that every row must have.
        key: config key of the path, for messages.

    Raises:
        ConfigError: no such file, not of these kinds, broken, empty, or a column is missing.
    """
    file = Path(path).expanduser()
    if file.suffix not in SUFFIXES:
        raise ConfigError(f"{key} must end in {' or '.join(SUFFIXES)}, received {path!r}")
    if not file.is_file():
        raise ConfigError(f"{key}: there is no file {path!r}; set {key} to one that exists")
    rows = _parquet(file, key) if file.suffix == ".parquet" else list(_lines(file, key))
    if not rows:
        raise ConfigError(f"{key}: {path!r} has no rows")
    for i, row in enumerate(rows, 1):
        for column in columns:
            if row.get(column) is None:
                found = ", ".join(name for name, value in row.items() if value is not None)
                _refuse(f"{key}: row {i} of {path!r} has no {column!r}; its columns: {found}")
    return rows


def _refuse(message: str) -> NoReturn:
    raise ConfigError(" ".join(message.split()))


def _parquet(file: Path, key: str) -> list[Row]:
    import polars as pl  # slow to import, and graders read no files

    try:
        return pl.read_parquet(file).to_dicts()
    except (pl.exceptions.PolarsError, OSError) as error:
        _refuse(f"{key}: {str(file)!r} is no parquet file: {error}")


def _lines(file: Path, key: str) -> Iterator[Row]:
    """One object per line; blank lines are skipped."""
    for i, line in enumerate(file.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode())
        except ValueError as error:
            _refuse(f"{key}: line {i} of {str(file)!r} is no JSON: {error}")
        if not isinstance(row, dict):
            _refuse(f"{key}: line {i} of {str(file)!r} must be an object {{...}}, is {row!r:.40}")
        yield row


def ground_truths(path: str, names: Sequence[str], key: str) -> list[Mapping[str, Any]]:
    """`reward_model.ground_truth` of each row in TinyZero's schema: mappings with these names.

    Raises:
        ConfigError: the file cannot be read, or is not in the schema.
    """
    truths = []
    for i, row in enumerate(read(path, ["reward_model"], key), 1):
        model = row["reward_model"]
        truth = model.get("ground_truth") if isinstance(model, Mapping) else None
        if not isinstance(truth, Mapping) or any(truth.get(name) is None for name in names):
            _refuse(
                f"{key}: reward_model.ground_truth of row {i} of {path!r} must have "
                f"{' and '.join(names)}, is {truth!r:.60}"
            )
        truths.append(truth)
    return truths


def records(task: "Task") -> list[Row]:
    """Both sets of a task in TinyZero's schema."""
    source = getattr(task, "data_source", type(task).__name__.lower())
    sets = {"train": task.pool(), "test": task.held_out()}
    return [_record(source, split, prompt) for split, part in sets.items() for prompt in part]


def _record(source: str, split: str, prompt: Prompt) -> Row:
    answer = prompt.answer
    truth = answer if isinstance(answer, (str, int)) else dict(vars(answer))
    return {
        "data_source": source,
        "prompt": [{"role": "user", "content": prompt.text}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": truth},
        "extra_info": {"split": split, "index": prompt.item, "difficulty": prompt.difficulty},
    }


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as parquet.

    Raises:
        ConfigError: the file cannot be written.
    """
    import polars as pl

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(rows, infer_schema_length=None).write_parquet(path)
    except OSError as error:
        _refuse(f"--out: cannot write {str(path)!r}: {error.strerror or error}")
