"""How fast Countdown is graded and made: `python -m tests.benchmarks grading`.

Goals, on one core: 50,000 graded responses per second, 100,000 solvable problems in 20 s.
"""

import time
from collections.abc import Sequence

from harness.config import Grading
from harness.maths import streams
from harness.rollout.grading import Examiner
from harness.tasks.countdown import Countdown
from harness.tasks.search import apply
from harness.tasks.templates import TinyZeroBase
from harness.types import Prompt

RESPONSES = 100_000
LENGTH = 300
ROLLOUT = 256
ROUNDS = 3
PROBLEMS = 100_000
THOUGHT = "Let me try {} first. That is too much, so the largest number has to be taken away. "
# How a response ends; {right} is a right answer to its problem. Three in eight are right.
ENDINGS = (
    "<answer>{right}</answer>",
    "<answer> {right} </answer>\n",
    "<answer>({right})</answer> as asked.",
    "<answer>{a}+{b}+{c}*{d}</answer>",
    "<answer>({a}-{b})/({c}+{d})</answer>",
    "<answer>{right} = {target}</answer>",
    "<answer>{a}+{b}</answer>",
    "so the answer is {right}",
)


def solution(numbers: Sequence[int], target: int) -> str | None:
    """A left-to-right expression with the target as its value, every step in parentheses."""

    def extended(text: str, value: int, rest: tuple[int, ...]) -> str | None:
        if not rest:
            return text if value == target else None
        for i, number in enumerate(rest):
            for sign in "+-*/":
                made = apply(sign, value, number)
                if made is None:
                    continue
                left = f"({text})" if sign in "*/" and not text.isdigit() else text
                found = extended(f"{left}{sign}{number}", made, rest[:i] + rest[i + 1 :])
                if found is not None:
                    return found
        return None

    numbers = tuple(numbers)
    starts = ((str(x), x, numbers[:i] + numbers[i + 1 :]) for i, x in enumerate(numbers))
    return next((found for start in starts if (found := extended(*start))), None)


def task_of(size: int) -> Countdown:
    return Countdown(
        template=TinyZeroBase(),
        counts=[4],
        low=1,
        high=99,
        operators="+-*/",
        target_low=10,
        target_high=100,
        train_size=size,
        eval_size=512,
        hold_out=16,
    )


def responses(prompts: Sequence[Prompt]) -> list[tuple[Prompt, str]]:
    """RESPONSES pairs, in a fixed order that mixes the endings."""
    kinds = (streams.uniforms(0, "benchmark", 0, [0], RESPONSES)[0] * len(ENDINGS)).astype(int)
    solved = [solution(p.answer.numbers, p.answer.target) or "" for p in prompts]
    made = []
    for index, kind in enumerate(kinds.tolist()):
        prompt = prompts[index % len(prompts)]
        right = solved[index % len(prompts)]
        names = dict(zip("abcd", prompt.answer.numbers, strict=True))
        end = ENDINGS[kind].format(right=right, target=prompt.answer.target, **names)
        thought = THOUGHT.format(right) * 4
        made.append((prompt, thought[: LENGTH - len(end)] + end))
    return made


def grading() -> None:
    task = task_of(1000)
    pairs = responses(task.pool())
    best, right, formatted = float("inf"), 0, 0
    for _ in range(ROUNDS):
        start = time.process_time()
        grades = [task.grade(prompt, response, True) for prompt, response in pairs]
        best = min(best, time.process_time() - start)
        right = sum(grade.correct for grade in grades)
        formatted = sum(grade.formatted for grade in grades)
    print(
        f"grading    {RESPONSES / best:,.0f} responses per CPU second "
        f"({best:.2f} CPU s for {RESPONSES:,} of {LENGTH} characters, best of {ROUNDS}; "
        f"{right / RESPONSES:.0%} right, {formatted / RESPONSES:.0%} formatted)"
    )


def examining() -> None:
    """The same in the process that grades, as a trial does it."""
    task = task_of(1000)
    rows = [(prompt, response, True) for prompt, response in responses(task.pool())]
    start = time.perf_counter()
    examiner = Examiner(task, Grading())
    examiner.answers(rows[:1], 0)
    ready = time.perf_counter() - start
    spent = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        examiner.answers(rows[:ROLLOUT], 0)
        spent.append(time.perf_counter() - start)
    start = time.perf_counter()
    examiner.answers(rows, 0)
    passed = time.perf_counter() - start
    examiner.close()
    print(
        f"examining  {RESPONSES / passed:,.0f} responses per second through the process that "
        f"grades, {1e3 * min(spent):.1f} ms for {ROLLOUT}; it is ready after {ready:.2f} s"
    )


def making() -> None:
    start, wall = time.process_time(), time.perf_counter()
    task = task_of(PROBLEMS)
    pool, held_out = task.pool(), task.held_out()
    spent, passed = time.process_time() - start, time.perf_counter() - wall
    shared = {p.problem for p in pool} & {p.problem for p in held_out}
    unsolved = sum(solution(p.answer.numbers, p.answer.target) is None for p in pool + held_out)
    print(
        f"making     {len(pool):,} training and {len(held_out):,} held-out problems in "
        f"{spent:.1f} CPU s ({passed:.1f} s); {len({p.text for p in pool}):,} distinct prompts, "
        f"{len(shared)} shared with the held-out set, {unsolved} without a solution"
    )


def main(arguments: Sequence[str]) -> int:
    """Run all; returns the exit code."""
    grading()
    examining()
    making()
    return 0
