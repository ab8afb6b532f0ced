"""Every task and every template teaches a sibling of the tiny model something: bases made in place.

Each trial warms a small base up on what the task itself writes, and RL must then raise its
held-out accuracy. The rises that are asked for are about half of those measured.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.maths import streams
from harness.models import vocabulary
from tests.conftest import harness

pytestmark = pytest.mark.learning

LEARNING = ("tracking=none", "evaluation.pass_k=0", "evaluation.every=0.5")
SUM_TO_TEN = (
    "task=sum_to_ten",
    "model.warm_up.steps=600",
    "rollout.max_new_tokens=48",
    "budget.amount=30",
)


def accuracies(folder: Path, *overrides: str) -> list[float]:
    """Held-out accuracy of one trial, from the base to the end."""
    done = harness(folder, *overrides, *LEARNING, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    log = next((folder / "runs" / "checkpoints").glob("*/trial.log")).read_text()
    lines = [line for line in log.splitlines() if " harness.loop: step " in line]
    steps = [json.loads(line[line.index("{") :]) for line in lines]
    found = [step["eval/accuracy"] for step in steps if "eval/accuracy" in step]
    print(*overrides, [round(accuracy, 3) for accuracy in found])  # shown by pytest -s
    return found


def rise(folder: Path, *overrides: str) -> float:
    found = accuracies(folder, *overrides)
    assert len(found) == 3
    return found[-1] - found[0]


def chat_tokenizer(folder: Path) -> Path:
    """A tokenizer with a chat template of its own, as instruct models bring one."""
    from harness.tasks.templates import Plain

    tokenizer = vocabulary.of(Plain(), [("Q1?", "A1")])
    tokenizer.chat_template = (
        "{% for message in messages %}<|{{ message.role }}|>\\n{{ message.content }}\\n"
        "{% endfor %}{% if add_generation_prompt %}<|assistant|>\\n{% endif %}"
    )
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("template", ["compact", "tinyzero_base", "few_shot", "hashes", "chat"])
def test_sum_to_ten_under_every_template(tmp_path: Path, template: str) -> None:
    chosen = [f"task/template={template}"]
    if template == "chat":
        chosen.append(f"task.template.tokenizer={chat_tokenizer(tmp_path / 'chat')}")
    assert rise(tmp_path, *SUM_TO_TEN, *chosen) > 0.15


def test_coin_reaches_what_can_be_known(tmp_path: Path) -> None:
    """The base is undecided; the best policy says heads, which is right 7 times in 10."""
    chosen = ("task=coin", "task/template=tinyzero_instruct", "model.warm_up.steps=100")
    found = accuracies(tmp_path, *chosen, "rollout.max_new_tokens=16", "budget.amount=20")
    assert found[0] < 0.6
    assert found[-1] > 0.62


def test_multiplication(tmp_path: Path) -> None:
    """The base answers two of five products at once, and wrongly; RL teaches to work them out."""
    chosen = ("task=multiplication", "rollout.max_new_tokens=48", "task.eval_size=256")
    # Four seeds rose by .086 to .140, after half as many steps by .051 to .066.
    assert rise(tmp_path, *chosen, "budget.amount=60") > 0.04


MIXTURE = (
    "task=mixture",
    *("~task@task.tasks.countdown", "~task@task.tasks.multiplication"),
    *("~task.weights.countdown", "~task.weights.multiplication"),
    *("+task@task.tasks.sums=sum_to_ten", "+task.weights.sums=3"),
    *("+task@task.tasks.coin=coin", "+task.weights.coin=1"),
    *("task.train_size=320", "task.eval_size=80", *SUM_TO_TEN[1:]),
)


@pytest.mark.parametrize(
    "curriculum",
    [
        ("curriculum=none",),
        ("curriculum=schedule", "curriculum.boundaries=[0.3,0.6]"),
        ("curriculum=success", "curriculum.threshold=0.3", "curriculum.min_steps=3"),
    ],
    ids=lambda chosen: chosen[0],
)
def test_a_mixture_under_every_curriculum(tmp_path: Path, curriculum: tuple[str, ...]) -> None:
    assert rise(tmp_path, *MIXTURE, *curriculum) > 0.1


def pears() -> list[dict[str, str]]:
    """Word problems of our own in GSM8K's format; every second answer rambles past the budget."""
    u_N3 = streams.uniforms(0, "tests/pears", 0, range(4000), 3)
    rows = []
    for i, (x, y, z) in enumerate((10 + u_N3 * 40).astype(int).tolist()):
        question = f"Ann has {x} pears, Bob {y} and Cid {z}. How many have they?"
        work = "hm, " * 12 * (i % 2) + f"{x}+{y}={x + y}+{z}={x + y + z}"
        rows.append({"question": question, "answer": f"{work}\n#### {x + y + z}"})
    return rows


def lines(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_word_problems_in_gsm8ks_format(tmp_path: Path) -> None:
    """Half of what the base says is cut by the budget; RL teaches to come to the point."""
    source = lines(tmp_path / "pears.jsonl", pears())
    chosen = ("task=gsm8k", f"task.source={source}", "task/template=hashes")
    warm_up = ("model.warm_up.steps=1500", "rollout.max_new_tokens=40", "budget.amount=30")
    assert rise(tmp_path, *chosen, *warm_up, "task.eval_size=128") > 0.15


GRADER = """
def grade(response, answer):
    return response.strip() == answer
"""


def test_questions_of_ones_own(tmp_path: Path) -> None:
    """Three of four marbles are red; nothing else is to be known."""
    (tmp_path / "marbles.py").write_text(GRADER)
    u_N = streams.uniforms(0, "tests/marbles", 0, range(1200), 1)[:, 0]
    rows = [
        {"prompt": f"Marble {i}:", "answer": "red" if u < 0.75 else "blue"}
        for i, u in enumerate(u_N.tolist())
    ]
    source = lines(tmp_path / "marbles.jsonl", rows)
    chosen = ("task=jsonl", f"task.path={source}", "task.grader=marbles.grade")
    warm_up = ("model.warm_up.steps=150", "rollout.max_new_tokens=8", "budget.amount=20")
    found = accuracies(tmp_path, *chosen, "task/template=plain", *warm_up)
    assert found[-1] > 0.69
    assert found[-1] - found[0] > 0.05
