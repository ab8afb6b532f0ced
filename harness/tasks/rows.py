"""Files of questions: reading parquet and JSON lines, and TinyZero's row schema.

A row of the schema has `data_source`, `prompt` [{role, content}], `ability`, `reward_model`
{style, ground_truth} and `extra_info` {split, index, difficulty}.
"""

import codecs
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from harness.errors import ConfigError
from harness.prompts import Prompt

if TYPE_CHECKING:  # it knows tensors; who grades needs none
    from harness.protocols import Task

SUFFIXES = (".parquet", ".jsonl")
# Below it four bytes hold every whole number; above, the text of one names a neighbour.
EXACT_SINGLE = 2**24
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
# The schema's answer, as task=jsonl names it too.
GROUND_TRUTH = "reward_model.ground_truth"


@dataclass(frozen=True)
class Row:
    """One row of a file, and where it stands.

    Attributes:
        values: by column.
        place: which row of which file, for messages.
        key: config key of the file, for messages.
    """

    values: Mapping[str, Any]
    place: str
    key: str

    def value(self, column: str) -> Any:
        """What stands in a column; `a.b` is b in the mapping in column a.

        Raises:
            ConfigError: nothing does.
        """
        found: Any = self.values
        for name in [column] if column in self.values else column.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
        if found is None:
            known = ", ".join(name for name, value in self.values.items() if value is not None)
            _refuse(f"{self.key}: {self.place} has no {column!r}; its columns: {known}")
        return found

    def refuse(self, column: str, what: str) -> NoReturn:
        """Raise ConfigError: what is wrong with a cell, in one line."""
        _refuse(f"{self.key}: {self.place}, column {column!r}: {what}")


def read(path: str, key: str) -> list[Row]:
    """The rows of a file, in its order.

    Args:
        path: a parquet or JSON lines file.
        key: config key of the path, for messages.

    Raises:
        ConfigError: no such file, not of these kinds, broken, not in UTF-8, or empty.
    """
    file = Path(path).expanduser()
    if file.suffix not in SUFFIXES:
        raise ConfigError(f"{key} must end in {' or '.join(SUFFIXES)}, received {path!r}")
    if not file.is_file():
        raise ConfigError(f"{key}: there is no file {path!r}; set {key} to one that exists")
    try:
        found = _parquet(file, key) if file.suffix == ".parquet" else _lines(file, key)
    except OSError as error:
        raise ConfigError(f"{key}: cannot read {path!r}: {error.strerror or error}") from error
    rows = placed(found, path, key)
    if not rows:
        raise ConfigError(f"{key}: {path!r} has no rows")
    return rows


def placed(
    found: Iterable[tuple[int, Mapping[str, Any]]], origin: str, key: str, part: str = ""
) -> list[Row]:
    """Rows that know where they stand.

    Args:
        found: line and values of each; the two counts differ behind a blank line.
        origin: file or hub name.
        key: config key of the origin.
        part: split of a hub name.
    """
    behind = f" of {origin!r}{part and f' ({part})'}"
    return [
        Row(values, f"row {i}{'' if line == i else f' (line {line})'}{behind}", key)
        for i, (line, values) in enumerate(found, 1)
    ]


def _refuse(message: str) -> NoReturn:
    raise ConfigError(" ".join(message.split()))


def _parquet(file: Path, key: str) -> Iterable[tuple[int, Mapping[str, Any]]]:
    import polars as pl  # slow to import, and graders read no files

    try:
        frame = pl.read_parquet(file)
    except pl.exceptions.PolarsError as error:
        _refuse(f"{key}: {str(file)!r} is no parquet file: {error}")
    # By way of text, in which the 0.1 of four bytes is 0.1 and not 0.10000000149011612.
    single = pl.col(pl.Float32)
    near = pl.when(single.abs() < EXACT_SINGLE).then(single.cast(pl.String).cast(pl.Float64))
    return enumerate(frame.with_columns(near.otherwise(single.cast(pl.Float64))).to_dicts(), 1)


def _lines(file: Path, key: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """One object per line; blank lines are skipped, and so is a byte order mark."""
    content = file.read_bytes()
    if content.startswith(UTF_16):
        _refuse(f"{key}: {str(file)!r} is in UTF-16; save it as UTF-8")
    for i, line in enumerate(content.removeprefix(codecs.BOM_UTF8).split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"{key}: line {i} of {str(file)!r}"
        try:
            row = json.loads(line.decode(), object_pairs_hook=_object, parse_float=Decimal)
        except UnicodeDecodeError as error:
            byte = f"byte {error.start + 1}, {line[error.start]:#x}, is not UTF-8"
            _refuse(f"{where} is no JSON: {byte}; save the file as UTF-8")
        except (ValueError, InvalidOperation, RecursionError) as error:
            _refuse(f"{where} is no JSON: {error}")
        if not isinstance(row, dict):
            _refuse(f"{where} must be an object {{...}}, is {row!r:.40}")
        yield i, row


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, whose names must differ: the last of two alike would hide the first."""
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands twice in one object")
    return row


def records(task: "Task") -> list[dict[str, Any]]:
    """Both sets of a task in TinyZero's schema."""
    source = getattr(task, "data_source", type(task).__name__.lower())
    sets = {"train": task.pool(), "test": task.held_out()}
    return [_record(source, split, prompt) for split, part in sets.items() for prompt in part]


def _record(source: str, split: str, prompt: Prompt) -> dict[str, Any]:
    answer = prompt.answer
    truth = answer if isinstance(answer, (str, int)) else dict(vars(answer))
    return {
        "data_source": source,
        "prompt": [{"role": "user", "content": prompt.text}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": truth},
        "extra_info": {"split": split, "index": prompt.item, "difficulty": prompt.difficulty},
    }


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
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
