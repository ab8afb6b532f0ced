"""Terminals and logs: whatever a text holds, it is shown and never obeyed."""

import ast
import dataclasses
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from analysis.__main__ import main as analysis
from analysis.manifest import Job
from harness import cli
from harness.commands import audit_reward, data, evaluate, parity
from harness.distributed.ranks import ALONE
from harness.errors import ConfigError
from harness.machine import shown, terminal
from harness.machine.process import log_file
from harness.tracking.record import Status, read
from sweeps import screen
from sweeps.overview import Row, Seen
from sweeps.progress import drawn
from tests.hostile import HOSTILE
from tests.sweeps.test_commands import trial
from tests.test_structure import dotted, sources

TEXTS = pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
# Each runs in a process of its own: what a stream can hold is settled when Python starts.
ENCODINGS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "C": {"LANG": "C", "LC_ALL": "C"},
    "C without UTF-8": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}
SAYS = """
from rich.progress import BarColumn, Progress
from rich.table import Table
from harness.machine import terminal
from tests.hostile import HOSTILE
console = terminal.console()
table = Table("name", "text", title="hostile")
for name, text in HOSTILE.items():
    console.print(text)
    table.add_row(name, text)
console.print(table)
console.print(Progress(BarColumn()).make_tasks_table([]))
terminal.complain("|".join(HOSTILE.values()))
"""


def harmless(output: str) -> bool:
    """Nothing in it but printable characters and line feeds."""
    return all(c.isprintable() or c == "\n" for c in output)


def test_a_terminal_that_moves_no_cursor_is_written_to_as_a_file_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert terminal.console().is_terminal
    monkeypatch.setenv("TERM", "dumb")
    assert not terminal.console().is_terminal


@given(st.text())
def test_shown_is_printable_and_keeps_what_is(text: str) -> None:
    assert shown.line(text).isprintable()
    assert harmless(shown.block(text))
    assert shown.block(text).encode() == shown.block(shown.block(text)).encode()
    if text.isprintable():
        assert shown.block(text) == text


def test_shown_names_what_it_hides() -> None:
    assert shown.line("a\x1b[0m\0\u202e\ud800\r\n b\t\n c\rd") == (
        r"a\x1b[0m\x00\u202e\ud800 b c\rd"
    )
    assert shown.block("a\r\nb\tc") == "a\\r\nb\\tc"


@TEXTS
def test_console_prints_the_text_itself(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    console = terminal.console()
    console.print(text)
    assert capsys.readouterr().out == f"{shown.block(text)}\n"


@TEXTS
def test_cells_of_tables_hold_the_text_itself(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "4000")
    table = Table("head", title=text)
    table.add_column(text)
    table.add_row("x", text)
    terminal.console().print(table)
    out = capsys.readouterr().out
    assert harmless(out)
    for row in shown.block(text).splitlines():
        assert out.count(row.strip()) >= 3


@TEXTS
@pytest.mark.parametrize("complainer", ["harness", "data", "evaluate", "audit", "parity", "report"])
def test_every_command_complains_in_one_line(
    text: str,
    complainer: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*arguments: object) -> None:
        raise ConfigError(f"received {text}; choose another")

    module = {"data": data, "evaluate": evaluate, "audit": audit_reward}.get(complainer)
    if module is not None:
        monkeypatch.setattr(module, "composed", refuse)
        monkeypatch.setattr(sys, "argv", ["x", str(tmp_path)])
        (tmp_path / "config.json").touch()
        arguments = ["countdown", "--out", "x.parquet"]
        code = data.main(arguments) if complainer == "data" else module.main()
    elif complainer == "harness":
        monkeypatch.setattr(sys, "argv", ["harness"])
        monkeypatch.setattr(cli.hydra, "main", lambda **_: lambda _: refuse)
        code = cli.run()
    elif complainer == "parity":
        code = parity.main([f"{tmp_path}/{text}".replace("\0", "")])
    else:
        code = analysis(["report", text or "x", "--runs", str(tmp_path), "--nope"])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert harmless(err)
    if complainer not in ("parity", "report"):
        assert shown.line(f"received {text}; choose another") in err


def test_a_table_in_a_file_breaks_no_word(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    table = Table("metric", "meaning")
    table.add_row("eval/behaviour/well_formatted", "share of responses as asked for " * 5)
    terminal.console().print(table)
    assert "eval/behaviour/well_formatted" in capsys.readouterr().out


@TEXTS
def test_a_sweep_shows_names_and_errors(
    text: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a screen, of a trial that runs, and in lines, of one that has failed."""
    for key, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "4000"}.items():
        monkeypatch.setenv(key, value)
    found = read(trial(tmp_path, "t", 1, Status.FAILED, text))
    assert found is not None
    found = dataclasses.replace(found, error=text)
    job = Job("t" * 5000, text, 0, "", "")  # its name has no room, so that the label is shown
    console = terminal.console()
    console.print(drawn(Seen(text, [Row(job, found, "running")], None), console))
    screens = capsys.readouterr().out
    for line in (*screen.lines([Row(job, found, "failed")], 4000), screen.told(text, found, 1)):
        console.print(line)
    for line in screen.failures([Row(Job("t", text, 0, "", ""), found, "failed")]):
        console.print(line)
    lines = capsys.readouterr().out
    for out, times in ((screens, 2), (lines, 3)):
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out)  # what rich itself sends
        assert harmless(plain.replace("\r", ""))
        assert plain.count(shown.line(text)) >= times


@TEXTS
def test_log_shows_messages_and_errors(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest keeps what is logged, and cannot send a lone surrogate from one process to another.
    monkeypatch.setattr(logging.getLogger("harness"), "propagate", False)
    forged = f"{text}\n2026-01-01 00:00:00,000 INFO harness.loop: finished after step 9"

    def fail() -> None:
        with log_file(tmp_path, ALONE):
            logging.getLogger("harness").warning("%s", forged)
            raise ValueError(forged)

    with pytest.raises(ValueError, match="finished"):
        fail()
    log = (tmp_path / "trial.log").read_text("utf-8")
    assert harmless(log)
    entries = [line for line in log.split("\n") if re.match(r"\d{4}-", line)]
    assert [entry.split()[2] for entry in entries] == ["INFO", "WARNING", "ERROR"]
    for row in shown.block(text).split("\n"):
        assert log.count(row) >= 2


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_terminal_that_lacks_characters_gets_escapes(encoding: str) -> None:
    root = Path(__file__).parent.parent
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG"))}
    done = subprocess.run(
        [sys.executable, "-c", SAYS],
        env={**kept, "PYTHONPATH": str(root), **ENCODINGS[encoding]},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode("latin-1")
    assert len(done.stderr.splitlines()) == 1
    assert b"Traceback" not in done.stderr
    assert b"\x1b" not in done.stdout + done.stderr
    assert b"\0" not in done.stdout + done.stderr
    if encoding in ("ascii", "C without UTF-8"):
        assert (done.stdout + done.stderr).isascii()
        assert rb"gr\xf6\xdfer \u6f22\u5b57" in done.stdout


def test_no_module_prints_in_a_way_of_its_own() -> None:
    """Only harness.machine.terminal makes consoles and prints; so all output is escaped."""
    found = [
        f"{file}:{node.lineno} {dotted(node.func)}"
        for file, source in sources().items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        if dotted(node.func) in ("print", "Console", "sys.stdout.write", "sys.stderr.write")
        if file != "harness/machine/terminal.py"
    ]
    assert found == []
