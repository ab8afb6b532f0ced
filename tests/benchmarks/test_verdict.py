"""The benchmarks' verdict, on real but tiny measurements; nothing here is judged by a clock."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from tests.benchmarks import __main__ as command
from tests.benchmarks import verdict
from tests.benchmarks.verdict import Found, Ratio, quotient

HERE = Path(__file__).parent
Bench = Callable[..., ModuleType]


def bytes_of(side: int) -> list[float]:
    """What a square matrix takes, measured twice."""
    return [float(torch.zeros(side, side).nbytes) for _ in range(2)]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """bench(NAME, not_run, bounds): a benchmark, 64 x 64 beside 32 x 32: a ratio of 4."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "NAMES", [])

    def made(name: str, *not_run: str, quick: bool = True, **bounds: float) -> ModuleType:
        module = ModuleType(f"tests.benchmarks.{name}", "Two matrices.")
        sides = {"large": bytes_of(64), "small": bytes_of(32)}
        ratios = () if not_run else (quotient("large / small", sides, unit="B", **bounds),)
        vars(module).update(measure=lambda arguments: [Found(ratios, not_run)], QUICK=quick)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        command.NAMES.append(name)
        return module

    return made


@pytest.mark.parametrize(
    ("bounds", "code", "word"),
    [
        ({"least": 4.0}, 0, "kept   large / small: 4.00 (>= 4.00)"),
        ({"least": 4.1}, 1, "MISSED large / small: 4.00 (>= 4.10)"),
        ({"most": 4.0}, 0, "kept   large / small: 4.00 (<= 4.00)"),
        ({"most": 3.9}, 1, "MISSED large / small: 4.00 (<= 3.90)"),
        ({}, 0, "told   large / small: 4.00   "),
    ],
)
def test_a_missed_bound_is_the_exit_code(
    bench: Bench, capsys: pytest.CaptureFixture[str], bounds: Any, code: int, word: str
) -> None:
    bench("tiny", **bounds)
    for arguments in (["tiny"], []):
        assert command.main(arguments) == code
        out = capsys.readouterr().out
        assert word in out
        assert "large 1.64e+04 (1.64e+04 to 1.64e+04, 2); small 4.1e+03" in out
    (written,) = json.loads(Path("runs/benchmarks/tiny.json").read_text())["ratios"]
    assert written["value"] == 4.0
    assert written["kept"] is (None if not bounds else code == 0)
    assert written["sides"] == {"large": [16384.0, 16384.0], "small": [4096.0, 4096.0]}


def test_one_missed_bound_of_many_is_enough(bench: Bench) -> None:
    bench("a", least=1.0)
    bench("b", least=5.0)
    bench("slow", quick=False, least=5.0)
    assert command.main(["a"]) == 0
    assert command.main([]) == 1
    assert {path.name for path in Path("runs/benchmarks").iterdir()} == {"a.json", "b.json"}


def test_what_cannot_run_is_not_passed(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench("there", least=1.0)
    bench("lacking", "TRL is not installed")
    assert command.main([]) == 0
    assert "not run lacking: TRL is not installed" in (out := capsys.readouterr().out)
    assert out.splitlines()[-1] == "1 kept, 0 missed, 1 not run"
    assert command.main(["lacking"]) == verdict.NOT_RUN
    assert json.loads(Path("runs/benchmarks/lacking.json").read_text())["not_run"]


def test_no_number_keeps_no_bound() -> None:
    assert Ratio("x", math.nan, least=0.0).kept is False
    assert Ratio("x", math.nan, most=1.0).kept is False


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["nope"]) == 2
    assert "no benchmark 'nope'; there are engines, floor" in capsys.readouterr().err


def test_every_benchmark_that_judges_says_whether_it_is_quick() -> None:
    """Read from the source: importing them all takes seconds."""
    texts = {name: (HERE / f"{name}.py").read_text() for name in command.NAMES}
    judging = {name for name, text in texts.items() if "\ndef measure(" in text}
    assert judging == {"engines", "floor", "memory", "scaling", "sweep", "trl"}
    assert all("\nQUICK = " in texts[name] for name in judging)
