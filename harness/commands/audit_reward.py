"""`python -m harness.audit_reward [fuzz=N] [KEY=VALUE ...]`: can the grader be fooled?

Grades the adversarial set (harness.tasks.adversarial) on problems of the task, then N fuzzed
responses, of which every accepted one is checked by an oracle that shares no code with the grader;
the same then with written numbers (harness.tasks.adversarial_numbers), whatever the task.
Exit code 1 when a verdict differs or a wrong answer is accepted, 2 when the request is wrong.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from itertools import islice

from rich.console import Console
from rich.table import Table

from harness.cli import EXIT_USER_ERROR, composed
from harness.commands import audit_numbers
from harness.commands.tally import Tally
from harness.errors import ConfigError
from harness.machine import terminal
from harness.maths import streams
from harness.tasks import adversarial
from harness.tasks.adversarial import COMPACT, CORRECT, FORMATTED, NONE, TAGGED, Case
from harness.tasks.countdown import Countdown, CountdownAnswer
from harness.tasks.oracle import right, solution
from harness.tasks.templates import ANSWER, Compact
from harness.types import Prompt

EXIT_FOOLED = 1
FUZZED = 20_000
# Problems that the adversarial set and the fuzzed responses are about.
PROBLEMS = 8
# Mutations of one fuzzed response, at most, and uniform numbers that one reads.
MUTATIONS = 4
DRAWS = 3 + 4 * MUTATIONS
# Failures that are printed.
SHOWN = 10
# What a mutation inserts, beside the problem's numbers, its target and a right answer.
FRAGMENTS = (
    *"0123456789+-*/() =.A;!,\n\x00",
    *("**", "//", "--", "()", ")(", ".0", "e0", "\u2212", "\u202e", "٣", "=="),
    *("<answer>", "</answer>", "</answer><answer>", "Assistant:", "/0", "*1", "+0", "-(", "(-"),
)
# Prompts and a right answer to each.
Problems = Sequence[tuple[Prompt, str]]


# --- responses ------------------------------------------------------------------------------------


def solved(prompts: Sequence[Prompt]) -> list[tuple[Prompt, str]]:
    """The first PROBLEMS problems that have a solution and no 0, with it."""
    plain = (prompt for prompt in prompts if 0 not in prompt.answer.numbers)
    tried = ((prompt, solution(prompt.answer)) for prompt in plain)
    return list(islice(((prompt, text) for prompt, text in tried if text), PROBLEMS))


def placeholders(task: Countdown, answer: CountdownAnswer, text: str) -> dict[str, str]:
    """What the placeholders of the adversarial set stand for; `text` is a right answer."""
    total, target = sum(answer.numbers), answer.target
    symbols = re.findall(r"[0-9]+|[^0-9]", text)
    plus = "+".join(map(str, answer.numbers))
    wrong, value = (plus, total) if total != target else (f"-({plus})", -total)
    names = {
        "right": text,
        "wrong": wrong,
        "spaced": " ".join(symbols),
        "lines": "\n".join(symbols),
        "tabs": "\t".join(symbols),
        "a": answer.numbers[0],
        "b": answer.numbers[1],
        "rest": "+".join(map(str, answer.numbers[1:])),
        "sum": plus,
        "target": target,
        "above": target + 1,
        "value": value,
        "open": ANSWER if _compact(task) else "<answer>",
        "close": "" if _compact(task) else "</answer>",
    }
    return {f"{{{name}}}": str(value) for name, value in names.items()}


def _compact(task: Countdown) -> bool:
    return isinstance(task.template, Compact)


def filled(response: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        response = response.replace(name, value)
    return response


def fuzzed(
    names: Sequence[dict[str, str]], seed: int, items: range
) -> Iterator[tuple[int, str, bool]]:
    """(problem, response, finished): right answers to some problem, mutated up to MUTATIONS times.

    `names` are the placeholders of each problem.
    """
    count = len(names)
    for u in streams.uniforms(seed, "audit/fuzz", 0, items, DRAWS).tolist():
        which, other, cut, *rest = u
        problem = int(which * count)
        # One in eight begins as the answer to another problem.
        source = names[int(other * 8 * count) if other < 1 / 8 else problem]
        text = filled("a thought {open}{right}{close}", source)
        start = text.rindex(source["{right}"])
        pieces = (*FRAGMENTS, *source.values())
        for i in range(int(rest[0] * (MUTATIONS + 1))):
            kind, at, what = rest[4 * i + 1 : 4 * i + 4]
            # Around the answer, where it matters.
            place = start - 3 + int(at * (len(text) - start + 4))
            piece = "" if kind < 0.3 else pieces[int(what * len(pieces))]
            text = text[:place] + piece + text[place + (kind < 0.65) :]
        yield problem, text, cut < 0.95


# --- the audit ------------------------------------------------------------------------------------


def verdict(task: Countdown, prompt: Prompt, response: str, finished: bool) -> str:
    grade = task.grade(prompt, response, finished)
    return CORRECT if grade.correct else FORMATTED if grade.formatted else NONE


def on_the_set(task: Countdown, problems: Problems) -> dict[str, Tally]:
    """The adversarial set on each problem: a failure is a verdict that differs."""
    other = TAGGED if _compact(task) else COMPACT
    tallies: dict[str, Tally] = {}
    for prompt, text in problems:
        names = placeholders(task, prompt.answer, text)
        for case in (case for case in adversarial.cases() if case.templates != other):
            response = filled(case.response, names)
            found = verdict(task, prompt, response, case.finished)
            failure = "" if found == case.verdict else _shown(case, prompt, response, found)
            tallies.setdefault(case.category, Tally()).count(found, failure)
    return tallies


def _shown(case: Case, prompt: Prompt, response: str, found: str) -> str:
    return f"{case.category}: {prompt.problem}: {response[-120:]!a} {found}, not {case.verdict}"


def on_fuzz(task: Countdown, problems: Problems, seed: int, count: int) -> Tally:
    """Fuzzed responses: a failure is one that the grader and the oracle see differently."""
    tally = Tally()
    names = [placeholders(task, prompt.answer, text) for prompt, text in problems]
    for problem, response, finished in fuzzed(names, seed, range(count)):
        prompt = problems[problem][0]
        found = verdict(task, prompt, response, finished)
        failure = ""
        if (found == CORRECT) != right(task, prompt.answer, response, finished):
            failure = f"fuzzed: {prompt.problem}: {response[-120:]!a} {found}, oracle differs"
        tally.count(found, failure)
    return tally


def problems_of(task: object) -> tuple[Countdown, Problems]:
    """A task that the adversarial set is about, and the problems that it is tried on.

    Raises:
        ConfigError: the task or its template is another one, or its problems have no solution.
    """
    if not isinstance(task, Countdown):
        raise ConfigError(
            f"the adversarial set is about Countdown, not {type(task).__name__}; "
            f"choose task=countdown or task=countdown_tinyzero"
        )
    if not _compact(task) and task.template.answer("<answer>1</answer>", True) != "1":
        raise ConfigError(
            f"the adversarial set knows answers in tags and the compact template, not "
            f"{type(task.template).__name__}; choose task/template=tinyzero_base"
        )
    problems = solved(task.pool())
    if not problems:
        raise ConfigError("task: none of its problems has a solution")
    return task, problems


def main() -> int:
    """Run the command; returns the exit code."""
    arguments = sys.argv[1:]
    console = terminal.console()
    try:
        amounts = [a.removeprefix("fuzz=") for a in arguments if a.startswith("fuzz=")]
        if any(re.fullmatch("[0-9]{1,9}", amount) is None for amount in amounts):
            raise ConfigError(f"fuzz must be a whole number, received {amounts[-1]!r}")
        config = composed([a for a in arguments if not a.startswith("fuzz=")])
        task, problems = problems_of(config.task)
        tallies = on_the_set(task, problems)
        count = int(amounts[-1]) if amounts else FUZZED
        tallies["fuzzed"] = on_fuzz(task, problems, config.seed, count)
        tallies |= audit_numbers.on_the_set()
        tallies["numbers, fuzzed"] = audit_numbers.on_fuzz(config.seed, count)
    except ConfigError as error:
        terminal.complain(error)
        return EXIT_USER_ERROR
    return _report(console, tallies)


def _report(console: Console, tallies: dict[str, Tally]) -> int:
    table = Table("category", "cases", "accepted", "as expected")
    for column in table.columns[1:]:
        column.justify = "right"
    for category, tally in tallies.items():
        style = "bold red" if tally.failures else None
        expected = tally.cases - len(tally.failures)
        table.add_row(category, *map(str, (tally.cases, tally.accepted, expected)), style=style)
    console.print(table)
    failures = [failure for tally in tallies.values() for failure in tally.failures]
    for failure in failures[:SHOWN]:
        console.print(failure)
    total = sum(tally.cases for tally in tallies.values())
    console.print(f"{total - len(failures):,} of {total:,} responses graded as expected")
    return EXIT_FOOLED if failures else 0
