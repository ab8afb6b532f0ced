"""The parity command: every known op passes, and a fault anywhere is seen."""

import ast
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from analysis import stats
from analysis.stats import aggregates, differences, exact, families
from harness import kl
from harness.algorithms.a_star_po import AStarPo
from harness.algorithms.cispo import Cispo
from harness.algorithms.dr_grpo import DrGrpo
from harness.algorithms.gspo import Gspo
from harness.algorithms.ppo import Ppo
from harness.algorithms.reinforce_plus_plus import ReinforcePlusPlus
from harness.algorithms.remax import ReMax
from harness.algorithms.rloo import Rloo
from harness.commands import parity, parity_ops
from harness.commands.parity_ops import OPS
from harness.maths import returns, tensor_ops
from harness.maths.tensor_ops import Reduction
from harness.measure import evaluation
from harness.rewards import cosine, overlong
from harness.rewards.binary import Binary
from harness.tasks import in_text, numbers
from harness.tasks.countdown import Countdown
from harness.types import Grade
from harness.windows.adaptive import Adaptive

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
MAX_ADAPTER_LINES = 10


def cases_of(op: str) -> list[dict[str, Any]]:
    return parity.load(GOLDEN / f"{op}.json")[1]


def write_op(folder: Path, op: str, cases: Any) -> Path:
    path = folder / f"{op}.json"
    path.write_text(json.dumps({"op": op, "reference": "", "notes": "", "cases": cases}))
    return path


def failing(op: str) -> list[str]:
    return [c["name"] for c in cases_of(op) if parity.run_case(op, c).failure]


@pytest.mark.parametrize("op", OPS)
def test_known_op_passes(op: str) -> None:
    results = {case["name"]: parity.run_case(op, case) for case in cases_of(op)}
    assert len(results) >= 6
    assert {name: r.failure for name, r in results.items() if r.failure} == {}


def test_command_prints_one_line_per_op_and_a_summary() -> None:
    names = ",".join(OPS)
    command = [sys.executable, "-m", "harness.parity", "tests/golden", "--ops", names]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    *lines, summary = done.stdout.splitlines()
    counts = {op: len(cases_of(op)) for op in OPS}
    printed = [line.split() for line in lines]
    expected = [[op, f"{counts[op]}/{counts[op]}", "max", "error"] for op in sorted(OPS)]
    assert [words[:4] for words in printed] == expected
    assert all(float(words[4]) < 1e-3 for words in printed)
    assert summary == f"{sum(counts.values())} passed, 0 failed"


def test_unknown_op_fails_with_all_its_cases(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = {"name": "any", "inputs": {}, "params": {}, "expected": {"x": 0}, "atol": 1, "rtol": 1}
    write_op(tmp_path, "no_such_op", [case, {**case, "name": "other"}])
    write_op(tmp_path, "entropy", cases_of("entropy"))
    assert parity.main([str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "no_such_op" in out
    assert "0/2" in out
    assert "any: unknown op" in out
    assert "other: unknown op" in out
    assert out.endswith("6 passed, 2 failed\n")


@pytest.mark.parametrize("op", OPS)
def test_perturbed_expected_value_fails_and_names_the_case(
    op: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = cases_of(op)
    victim = cases[0]
    for key in victim["expected"]:
        perturbed = json.loads(json.dumps(victim))
        perturbed["name"] = f"perturbed_{key}"
        by = -1e-3 if key in parity.LESS_IS_AS_GOOD else 1e-3
        perturbed["expected"][key] = nudged(perturbed["expected"][key], by)
        cases.append(perturbed)
    write_op(tmp_path, op, cases)
    assert parity.main([str(tmp_path)]) == 1
    out = capsys.readouterr().out
    for key in victim["expected"]:
        assert f"perturbed_{key}: {key}" in out
    assert f"{len(cases) - len(victim['expected'])}/{len(cases)}" in out


def nudged(value: Any, by: float) -> Any:
    """The nested list with its first number moved; the first position is never masked."""
    return [nudged(value[0], by), *value[1:]] if isinstance(value, list) else value + by


# One entry per op: where production code is broken, and how. An op without an entry fails below.
def population_std(x_B: Tensor, group_B: Tensor) -> Tensor:
    sizes_B = (group_B[:, None] == group_B[None, :]).sum(-1)
    return REAL_STD(x_B, group_B) * ((sizes_B - 1).clamp(min=1) / sizes_B).sqrt()


def in_a_row(lengths: list[int], parts: int, equal_size: bool) -> list[list[int]]:
    ends = [len(lengths) * i // parts for i in range(parts + 1)]
    return [list(range(a, b)) for a, b in itertools.pairwise(ends)]


def k3_of_the_other_direction(logprobs: Tensor, ref_logprobs: Tensor, kind: Any) -> Tensor:
    return REAL_KL(ref_logprobs, logprobs, kind)


def empty_rows_counted(values: Tensor, mask: Tensor, reduction: Reduction, counts: Any) -> Tensor:
    wrong = tensor_ops.Counts(counts.tokens, mask.shape[0], counts.budget)
    return REAL_REDUCED(values, mask, reduction, wrong)


def clip_sign(new: Tensor, old: Tensor, advantages: Tensor, *clips: Any, **more: Any) -> Any:
    return REAL_CLIPPED(new, old, -advantages, *clips, **more)


def unmasked_gae(rewards: Tensor, values: Tensor, mask: Tensor, *more: Any) -> Tensor:
    return REAL_GAE(rewards, values, torch.ones_like(mask), *more)


def first_digits(match: re.Match[str]) -> Fraction:
    """What many checkers do: digits, and whatever else stands there is passed over."""
    return Fraction("".join(re.findall("[0-9]", match[0])))


class MeanOfSequences:
    RESPONSE_MEAN = Reduction.SEQUENCE_MEAN


REAL_GAE, REAL_VALUE, REAL_SHAPED = returns.gae, returns.value_loss, cosine.shaped
REAL_LAST = in_text.last_number
REAL_STD, REAL_KL = tensor_ops.group_std, tensor_ops.kl_estimate
REAL_REDUCED, REAL_CLIPPED = tensor_ops.reduced, tensor_ops.clipped_policy_loss
Plant = tuple[object, str, Any]
PLANTED: dict[str, list[Plant]] = {
    "masked_mean": [(tensor_ops, "masked_mean", lambda values, mask: values.mean())],
    "masked_whiten": [(tensor_ops, "masked_mean", lambda values, mask: values.mean())],
    "entropy": [(tensor_ops, "entropy", lambda logits: -torch.log_softmax(logits, -1).mean(-1))],
    "kl_estimate": [(tensor_ops, "kl_estimate", k3_of_the_other_direction)],
    "aggregate": [(tensor_ops, "reduced", empty_rows_counted)],
    "policy_loss": [
        (tensor_ops, "clipped_policy_loss", clip_sign),
        (sys.modules[DrGrpo.__module__], "clipped_policy_loss", clip_sign),
        (tensor_ops, "log_ratio", lambda new, old: new - old),
        (tensor_ops, "reduced", empty_rows_counted),
    ],
    "group_advantage": [
        (tensor_ops, "group_std", population_std),
        (sys.modules[DrGrpo.__module__], "group_center", lambda x, group: x),
        (sys.modules[Rloo.__module__], "leave_one_out", tensor_ops.group_center),
        (sys.modules[ReinforcePlusPlus.__module__], "masked_whiten", lambda x, mask: x),
    ],
    "countdown_score": [
        (Countdown, "grade", lambda *_, finished: Grade(correct=True, formatted=True)),
        (Binary, "value", lambda self, grade: float(grade.correct)),
    ],
    "multiply_score": [
        (numbers, "integer", lambda content: 0),  # any content is an integer
        (Binary, "value", lambda self, grade: float(grade.correct)),
    ],
    "gsm8k_score": [
        (numbers, "number", lambda content: None),
        (in_text, "last_number", lambda text, finished: REAL_LAST(text.split(",")[0], True)),
    ],
    "gsm8k_numbers": [
        (numbers, "value", first_digits),
        (in_text, "last_number", lambda text, finished: numbers.number(text.split()[-1])),
    ],
}


PLANTED |= {
    "sequence_balance": [
        (sys.modules[OPS["sequence_balance"].__module__], "balanced", in_a_row),
    ],
    "cosine_reward": [
        (cosine, "shaped", lambda lengths, limit, a, b, e: REAL_SHAPED(lengths, limit, b, a, e)),
    ],
    "overlong_penalty": [
        (overlong, "overlong_penalty", lambda lengths, limit, buffer, factor: lengths * 0.0),
    ],
    "pass_at_k": [(evaluation, "pass_at_k", lambda n, c, k: 1 - (1 - c / n) ** k)],
    "gae": [
        (sys.modules[Ppo.__module__], "masked_whiten", lambda x, mask: x),
        (sys.modules[Ppo.__module__], "gae", unmasked_gae),
    ],
    "value_loss": [(returns, "value_loss", lambda v, old, r, clip: REAL_VALUE(v, old, r, None))],
    "adaptive_kl": [(kl, "MAX_ERROR", 1.0)],
    "length_adaptive_lambda": [(returns, "length_lambda", lambda mask, a: mask.sum(-1) * 0.0)],
    "remax": [(sys.modules[ReMax.__module__], "to_go", lambda rewards, mask: rewards * mask)],
    "v_star": [(returns, "v_star", lambda rewards, beta: rewards.mean(-1))],
    "a_star_po_loss": [
        (sys.modules[AStarPo.__module__], "Reduction", MeanOfSequences),
        (tensor_ops, "reduced", lambda *given: 2 * REAL_REDUCED(*given)),
    ],
    "reinforce_plus_plus": [
        (sys.modules[ReinforcePlusPlus.__module__], "masked_whiten", lambda x, mask: x),
    ],
    "gspo_loss": [
        (sys.modules[Gspo.__module__], "sequence_mean", lambda x, mask: (x * mask).sum(-1)),
    ],
    "cispo_loss": [(sys.modules[Cispo.__module__], "log_ratio", lambda new, old: old - new)],
    "dynamic_sampling_keep": [(tensor_ops, "has_signal", lambda x, group: x > 0)],
    "tis_weights": [(tensor_ops, "MAX_LOG_RATIO", 0.1)],
    "adaptive_window": [
        (Adaptive, "_wanted", lambda self, mean, rate: self.current + self.growth),
        (statistics, "fmean", lambda values: 0.0),
    ],
    "weighted_ce_weights": [(returns, "STD_EPSILON", 0.1), (returns, "MEAN_FLOOR", 9.0)],
}

PLANTED |= {
    "welch_t": [(differences, "welch_error", lambda a, b, n, m: (np.sqrt(a + b), n + m - 2.0))],
    "paired_t": [(differences, "paired_terms", differences.welch_terms)],
    "permutation_exact": [(exact, "_apart", lambda x, y, axis: np.max(x, axis) - np.max(y, axis))],
    "paired_sign_flip_exact": [
        (exact, "_apart", lambda x, y, axis: np.max(x, axis) - np.max(y, axis)),
    ],
    "holm": [(families, "_among", lambda p: p.shape[-1])],  # Bonferroni
    "benjamini_hochberg": [(stats, "benjamini_hochberg", stats.holm)],
    "iqm": [(aggregates, "TRIMMED", 0.1)],
    "optimality_gap": [(stats, "optimality_gap", lambda scores, top: top - np.mean(scores))],
    "performance_profile": [
        (stats, "performance_profile", lambda x, taus: (x[..., None] >= taus).mean((0, 1))),
    ],
    "probability_of_improvement": [
        (stats, "probability_of_improvement", lambda x, y: (x[:, None] > y[None]).mean()),
    ],
}


@pytest.mark.parametrize("op", OPS)
def test_a_bug_in_production_code_is_seen(op: str) -> None:
    assert op in PLANTED, f"plant a bug for the new op {op!r}: parity must see it"
    for owner, name, broken in PLANTED[op]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, name, broken)
            assert failing(op), f"{op} passes although {name} is broken"
    assert not failing(op)


def test_plugin_reduction_is_under_test() -> None:
    """The loss is divided as the plug-in says, not as the adapter would."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[DrGrpo.__module__], "Reduction", Rotated)
        assert failing("policy_loss") == ["sum_norm"]


class Rotated:
    CONSTANT_BUDGET = Reduction.TOKEN_MEAN


def test_adapters_are_short() -> None:
    sources = [f.read_text() for f in Path(parity_ops.__file__).parent.glob("*.py")]
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    assert {f.name for f in functions} >= set(OPS)
    assert [f.name for f in functions if code_lines(f) > MAX_ADAPTER_LINES] == []


def code_lines(function: ast.FunctionDef) -> int:
    """Lines from `def` to the end, the docstring left out."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    if ast.get_docstring(function) is None:
        return lines
    doc = function.body[0]
    return lines - ((doc.end_lineno or 0) - doc.lineno + 1)


def one_case(**changes: Any) -> dict[str, Any]:
    inputs = {"values": [[1.0, 5.0]], "mask": [[1, 0]]}
    case = {"name": "c", "inputs": inputs, "params": {}, "expected": {"mean": 1.0}}
    return {**case, "atol": 1e-6, "rtol": 1e-5, **changes}


@pytest.mark.parametrize(
    ("expected", "outputs", "reason"),
    [
        ({"mean": 1.0, "other": 0.0}, {"mean": 1.0}, "other is not produced"),
        ({"mean": 1.0}, {"mean": float("nan")}, "mean is nan"),
        ({"mean": 1.0}, {"mean": float("inf")}, "mean is inf"),
        ({"mean": [1.0, 2.0]}, {"mean": [1.0]}, "mean has another shape"),
        ({"mean": 1.0}, {"mean": [1.0]}, "mean has another shape"),
        ({"mean": [[1.0, 0.0]]}, {"mean": [[1.1, 0.0]]}, "mean[0, 0] is 1.1"),
        ({"mean": 1.0}, {"mean": None}, "TypeError"),
    ],
)
def test_what_fails(
    monkeypatch: pytest.MonkeyPatch, expected: Any, outputs: Any, reason: str
) -> None:
    monkeypatch.setitem(OPS, "masked_mean", lambda inputs, params: outputs)
    result = parity.run_case("masked_mean", one_case(expected=expected))
    assert reason in result.failure


def test_tolerance_is_absolute_plus_relative(monkeypatch: pytest.MonkeyPatch) -> None:
    # 0.1 + 0.05 * 10 = 0.6 around 10.
    case = one_case(expected={"mean": 10.0}, atol=0.1, rtol=0.05)
    for got, passes in ((10.59, True), (10.61, False), (9.41, True), (9.39, False)):
        monkeypatch.setitem(OPS, "masked_mean", lambda inputs, params, got=got: {"mean": got})
        result = parity.run_case("masked_mean", case)
        assert (result.failure == "") is passes
        assert result.error == pytest.approx(abs(got - 10))


def test_per_token_outputs_are_compared_where_the_mask_is_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = one_case(expected={"x": [[1.0, 0.0]]})
    monkeypatch.setitem(OPS, "masked_mean", lambda inputs, params: {"x": [[1.0, 77.0]]})
    assert parity.run_case("masked_mean", case).failure == ""
    unmasked = {**case, "inputs": {"mask": [[1, 1]]}}
    assert "x[0, 1] is 77" in parity.run_case("masked_mean", unmasked).failure


def test_an_adapter_that_raises_fails_its_case() -> None:
    result = parity.run_case("masked_mean", one_case(inputs={}))
    assert result.failure.startswith("KeyError")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "JSONDecodeError"),
        ("[]", "TypeError"),
        ('{"op": "entropy", "cases": []}', "at least one case"),
        ('{"cases": [1]}', "TypeError"),
        (json.dumps({"op": "entropy", "cases": [one_case(expected={})]}), "expects nothing"),
        (json.dumps({"op": "entropy", "cases": [one_case(atol=float("nan"))]}), "NaN"),
        (json.dumps({"op": "entropy", "cases": [one_case(expected={"x": "y"})]}), "ValueError"),
        (json.dumps({"op": "entropy", "cases": [one_case(inputs=None)]}), "TypeError"),
        (json.dumps({"op": None, "cases": [one_case()]}), "op name"),
    ],
)
def test_malformed_file_is_one_line(
    text: str, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "entropy.json").write_text(text)
    assert_refused([str(tmp_path)], ["entropy.json is not an op file", reason], capsys)


def test_bad_requests_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert_refused([], ["DIR", "usage"], capsys)
    assert_refused([str(tmp_path)], ["has no *.json", "tests/golden"], capsys)
    assert_refused([str(tmp_path / "absent")], ["absent", "is not a directory"], capsys)
    write_op(tmp_path, "entropy", cases_of("entropy"))
    assert_refused([str(tmp_path), "--ops", "entropy,gae"], ["'gae'", "valid: entropy"], capsys)
    assert_refused([str(tmp_path), "--what"], ["--what", "usage"], capsys)


def assert_refused(argv: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert parity.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    for word in words:
        assert word in captured.err
