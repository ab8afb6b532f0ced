"""The audit of graders that read numbers: GSM8K's two methods, and products.

No file is needed: gold answers are a few whole numbers. Of products only wrong accepts count, for
they are to be written plainly.
"""

from collections.abc import Iterator

from harness.commands.tally import Tally
from harness.maths import streams
from harness.tasks import adversarial_numbers
from harness.tasks.adversarial import CORRECT, NONE
from harness.tasks.gsm8k import Gsm8k, Method
from harness.tasks.multiplication import Multiplication
from harness.tasks.number_oracle import worth
from harness.tasks.templates import Hashes
from harness.types import Prompt

# Two and three digits; one ends in 0, one in 1 as 21st does.
GOLD = (18, 36, 250, 121)
STRICT, FLEXIBLE = (Gsm8k(template=Hashes(), method=method) for method in Method)
PRODUCTS = Multiplication(template=Hashes())
# Mutations of one fuzzed number, at most, and uniform numbers that one reads.
MUTATIONS = 3
DRAWS = 3 + 3 * MUTATIONS
FRAGMENTS = (
    *"0123456789.,-/%$e^*{}()!+\\ ",
    *("\u2212", "²", "⁴", "½", "٣", "\u200b", "kg", "th", "e4", "{,}", "\\,", "10^", " × 10^"),
    *("\\frac{", "}{", "\\boxed{", "$", "**", "1/", "/2", " 1/2", "%", "€", "000", ",000"),
)


def on_the_set() -> dict[str, Tally]:
    """The set for each gold number and grader: a failure is a verdict that differs."""
    tallies: dict[str, Tally] = {}
    for gold in GOLD:
        text = _prompt(str(gold))
        for category, content, is_right in adversarial_numbers.cases():
            response = f"so\n#### {adversarial_numbers.filled(content, gold)}"
            found = {
                task.method.value: task.grade(text, response, finished=True).correct
                for task in (STRICT, FLEXIBLE)
            }
            if not is_right:
                found["product"] = PRODUCTS.grade(_prompt(gold), response, finished=True).correct
            for name, correct in found.items():
                failure = f"{category}: {name}: {response[-60:]!a} for {gold} is {correct}"
                verdict = CORRECT if correct else NONE
                tally = tallies.setdefault(category, Tally())
                tally.count(verdict, "" if correct == is_right else failure)
    return tallies


def on_fuzz(seed: int, count: int) -> Tally:
    """Fuzzed numbers: a failure is one that strict accepts and that is worth another number."""
    tally = Tally()
    for gold, content in fuzzed(seed, range(count)):
        grade = STRICT.grade(_prompt(str(gold)), f"so\n#### {content}", finished=True)
        wrong = grade.correct and worth(content) != gold
        failure = f"numbers, fuzzed: {content!a} for {gold} is accepted" if wrong else ""
        tally.count(CORRECT if grade.correct else NONE, failure)
    return tally


def fuzzed(seed: int, items: range) -> Iterator[tuple[int, str]]:
    """(gold, content): cases of the set about some gold number, mutated up to MUTATIONS times."""
    cases = [case for case in adversarial_numbers.cases() if len(case.content) < 60]
    right = [case for case in cases if case.right]
    for which, kind, case, *rest in streams.uniforms(
        seed, "audit/numbers", 0, items, DRAWS
    ).tolist():
        gold = GOLD[int(which * len(GOLD))]
        chosen = right if kind < 0.5 else cases
        text = adversarial_numbers.filled(chosen[int(case * len(chosen))].content, gold)
        for i in range(0, len(rest), 3):
            kind, at, what = rest[i : i + 3]
            place = int(at * (len(text) + 1))
            piece = "" if kind < 0.2 else FRAGMENTS[int(what * len(FRAGMENTS))]
            if kind < 0.7:
                text = text[:place] + piece + text[place + (kind < 0.35) :]
        yield gold, text


def _prompt(answer: str | int) -> Prompt:
    return Prompt(text="", item=0, problem="", difficulty=1, answer=answer)
