"""Rewards by hand (arithmetic beside each), and through the real loop."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.errors import ConfigError
from harness.rewards.binary import Binary
from harness.rewards.cosine import Cosine
from harness.rewards.format_only import FormatOnly
from harness.rewards.minimum_length import MinimumLength
from harness.rewards.overlong import Overlong
from harness.rewards.partial_credit import PartialCredit
from harness.rewards.random import Random
from harness.rewards.sum import Sum
from harness.types import Grade, Graded, Prompt, Rollout, Scores
from tests.conftest import SMALL, harness

RIGHT = Grade(correct=True, formatted=True)
WRONG = Grade(correct=False, formatted=True)
NONE = Grade(correct=False, formatted=False)


def graded(
    lengths: list[int], grades: list[Grade], texts: list[str] | None = None, **changes: int
) -> Graded:
    rows, width = len(lengths), max(lengths)
    lengths_B = torch.tensor(lengths)
    prompt = Prompt(text="Q", item=0, problem="Q", difficulty=1, answer=None)
    rollout = Rollout(
        prompts=(prompt,) * rows,
        prompt_ids=((1,),) * rows,
        group_B=torch.zeros(rows, dtype=torch.long),
        tokens_BT=torch.zeros(rows, width, dtype=torch.long),
        mask_BT=torch.arange(width) < lengths_B[:, None],
        logprobs_BT=torch.zeros(rows, width),
        finished_B=torch.ones(rows, dtype=torch.bool),
        texts=tuple(texts or [""] * rows),
    )
    named = {"budget": 100, "seed": 0, "step": 0, "first": 0, **changes}
    return Graded(rollout=rollout, grades=tuple(grades), **named)


def rewards(reward: Any, *arguments: Any, **changes: int) -> list[float]:
    found: list[float] = reward.score(graded(*arguments, **changes)).rewards.tolist()
    return found


def test_binary_and_the_format_credit() -> None:
    assert rewards(Binary(), [3, 3, 3], [RIGHT, WRONG, NONE]) == [1.0, 0.0, 0.0]
    assert rewards(Binary(0.1), [3, 3, 3], [RIGHT, WRONG, NONE]) == [1.0, 0.1, 0.0]


CREDIT = [
    ("2 + 3 = 5</think><answer>5</answer>", RIGHT, 1.0),
    ("I see it.</think><answer>5</answer>", RIGHT, 0.8),
    ("2 + 3 = 6</think><answer>5</answer>", RIGHT, 0.8),  # a statement that is not true
    ("2 + 3 = 5 <answer>5</answer>", RIGHT, 0.6),  # the work is not closed
    ("I see it. <answer>5</answer>", RIGHT, 0.5),
    ("2 + 3 = 6</think><answer>6</answer>", WRONG, 0.3),  # an attempt, right or not
    ("2 + 3 = 6 <answer>6</answer>", WRONG, 0.0),
    ("I see it.</think><answer>6</answer>", WRONG, 0.0),
    ("2 + 3 = 5", NONE, 0.0),
    ("</think><answer>2 + 3 = 5</answer>", WRONG, 0.0),  # the answer is not the work
    ("7+8=15-3=12!A7+8-3", RIGHT, 1.0),  # templates without tags
    ("A7+8-3", RIGHT, 0.8),
    ("7+8=14-3=11;A7+8-3", WRONG, 0.3),
]


@pytest.mark.parametrize(("text", "grade", "value"), CREDIT)
def test_partial_credit(text: str, grade: Grade, value: float) -> None:
    assert rewards(PartialCredit(), [5], [grade], [text]) == [value]


def test_partial_credit_falls() -> None:
    with pytest.raises(ConfigError, match=r"reward\.correct must be at least 0.9, received 0.8"):
        PartialCredit(unformed=0.9)


def test_cosine_has_the_endpoints_that_its_names_say() -> None:
    # L/C = 0.01, 0.5, 0.99 of 100 tokens; cos 0.9995, 0, -0.9995
    found = rewards(Cosine(), [1, 50, 99], [RIGHT, RIGHT, RIGHT])
    assert found == pytest.approx([1.999753, 1.5, 1.000247], abs=1e-6)
    found = rewards(Cosine(), [1, 50, 99], [WRONG, WRONG, WRONG])
    assert found == pytest.approx([-9.997533, -5.0, -0.002467], abs=1e-6)
    assert rewards(Cosine(), [100, 101], [RIGHT, WRONG]) == [-10.0, -10.0]
    short, long = rewards(Cosine(), [1, 99], [RIGHT, RIGHT])
    assert short > long


def test_the_budget_and_not_the_window_shapes() -> None:
    """40 tokens fill a window of 40, and are two fifths of the budget of 100."""
    assert rewards(Cosine(), [40], [RIGHT])[0] == pytest.approx(1.654508)  # 1 + .5(1+cos .4pi)
    assert rewards(Overlong(), [40], [RIGHT]) == [0.0]


def test_overlong() -> None:
    # the last 20 of 100 tokens: 80 free, 90 half, 100 and more all of it
    found = rewards(Overlong(factor=0.5), [80, 81, 90, 100, 120], [RIGHT] * 5)
    assert found == pytest.approx([0.0, -0.025, -0.25, -0.5, -0.5])


def test_minimum_length() -> None:
    assert rewards(MinimumLength(tokens=8), [7, 8, 9], [RIGHT] * 3) == [-1.0, 0.0, 0.0]


def test_format_only_does_not_look_at_the_content() -> None:
    assert rewards(FormatOnly(), [1, 1, 1], [RIGHT, WRONG, NONE]) == [1.0, 1.0, 0.0]


def test_random_is_a_coin_of_its_own_for_every_seed_step_and_row() -> None:
    lengths, grades = [5] * 4000, [RIGHT, NONE] * 2000
    first = rewards(Random(), lengths, grades)
    assert first == rewards(Random(), lengths[::-1], grades[::-1])  # whatever the responses
    assert sum(first) == pytest.approx(2000, abs=4 * 31.6)  # sqrt(4000)/2 = 31.6
    for changes in ({"seed": 1}, {"step": 1}, {"first": 4000}):
        other = rewards(Random(), lengths, grades, **changes)
        assert sum(a == b for a, b in zip(first, other, strict=True)) == pytest.approx(
            2000, abs=130
        )
    assert sum(rewards(Random(chance=0.1), lengths, grades)) == pytest.approx(400, abs=80)


class Steps:
    """A process reward: one tenth for each token."""

    def score(self, graded: Graded) -> Scores:
        return Scores(rewards=graded.rollout.mask_BT.double() / 10)


def test_a_sum_and_its_parts() -> None:
    made = Sum(
        parts={"right": Binary(), "short": MinimumLength(tokens=3)}, weights={"short": 0.5}
    ).score(graded([2, 3], [RIGHT, WRONG]))
    assert made.rewards.tolist() == [0.5, 0.0]  # 1 - 0.5, 0
    assert {name: part.tolist() for name, part in made.parts.items()} == {
        "right": [1.0, 0.0],
        "short": [-0.5, 0.0],
    }


def test_a_sum_with_a_part_on_tokens_stands_on_tokens() -> None:
    made = Sum(parts={"right": Binary(), "steps": Steps()}, weights={"steps": 2.0}).score(
        graded([1, 3], [RIGHT, RIGHT])
    )
    assert made.rewards.tolist() == [[1.2, 0, 0], [0.2, 0.2, 1.2]]
    assert made.parts["steps"].tolist() == pytest.approx([0.2, 0.6])
    assert made.per_response_B.tolist() == pytest.approx([1.2, 1.6])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"parts": {}}, "reward.parts is empty"),
        ({"parts": {"a": 3}}, "must be a reward, received 3"),
        ({"parts": {"a": Binary()}, "weights": {"b": 1.0}}, "names no part; valid: a"),
    ],
)
def test_a_wrong_sum_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Sum(**wrong)


def test_every_choice_composes(composed: Callable[..., Any]) -> None:
    assert composed("reward=dapo").reward.parts["long"] == Overlong()
    assert composed("reward=tinyzero").reward == Binary(0.1)
    made = composed(
        "reward=sum",
        "+reward@reward.parts.correct=partial_credit",
        "+reward@reward.parts.short=minimum_length",
        "+reward.weights.short=0.25",
    ).reward
    assert made == Sum(
        parts={"correct": PartialCredit(), "short": MinimumLength()}, weights={"short": 0.25}
    )


PLUGIN = '''
from dataclasses import dataclass

from harness.types import Graded, Scores


@dataclass(frozen=True)
class PerToken:
    """Every token but the last is worth a quarter: the sum grows with the length."""

    def score(self, graded: Graded) -> Scores:
        rewards_BT = graded.rollout.mask_BT.double() / 4
        last_B = graded.rollout.lengths_B - 1
        rewards_BT[range(len(last_B)), last_B] = 0
        return Scores(rewards=rewards_BT)
'''


def test_a_reward_on_tokens_and_a_sum_in_a_real_trial(work: Path) -> None:
    """Both in one trial: a plug-in of another package beside the binary reward."""
    package = work / "mypkg"
    (package / "conf" / "reward").mkdir(parents=True)
    for folder in (package, package / "conf"):
        (folder / "__init__.py").touch()
    (package / "per_token.py").write_text(PLUGIN)
    (package / "conf" / "reward" / "per_token.yaml").write_text(
        "_target_: mypkg.per_token.PerToken\n"
    )
    done = harness(
        work,
        *(*SMALL, "tracking=none", "reward=sum", "hydra.searchpath=[pkg://mypkg.conf]"),
        *("+reward@reward.parts.right=binary", "+reward@reward.parts.tokens=per_token"),
        *("budget.amount=1", "evaluation.pass_k=0"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    log = next((work / "runs" / "checkpoints").glob("*/trial.log")).read_text()
    line = next(line for line in log.splitlines() if "loop: step 1 {" in line)
    step = json.loads(line[line.index("{") :])
    # A quarter for every token but the last of each response, and 1 for a right one.
    tokens = (step["response_length/mean"] - 1) / 4
    assert step["reward/part/tokens"] == pytest.approx(tokens)
    assert step["reward/part/right"] == step["reward/accuracy"]
    assert step["critic/score/mean"] == pytest.approx(tokens + step["reward/accuracy"])
    assert step["reward/no_signal_groups"] < 1
