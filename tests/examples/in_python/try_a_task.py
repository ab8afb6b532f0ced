"""A task tried by hand: what it asks, whether a response is right, and how it searched."""

from harness.tasks.countdown import Countdown
from harness.tasks.templates import Compact
from harness.types import Behaviour, Grade, Prompt


def main() -> None:
    task = Countdown(template=Compact(), train_size=8, eval_size=4)
    prompt: Prompt = task.held_out()[0]
    print(prompt.text, prompt.answer)  # Q4 6 7=9?
    response = "4+6=10+7=17;6+7=13-4=9!A6+7-4"  # a miss, a hit, the answer
    grade: Grade = task.grade(prompt, response, finished=True)
    print(grade.correct, grade.formatted)
    read: Behaviour | None = task.behaviour(prompt, response)
    assert read is not None
    print(read.attempts, read.misses, read.retries, read.hits)  # 2 attempts: 1, then 1


main()
