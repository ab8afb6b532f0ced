"""What a right answer to Countdown is, once more and by other means than the grader's.

Slower and without most of its limits; shares no parsing code with it. For audits, not for rewards.
"""

import ast
import re
from fractions import Fraction
from itertools import combinations, permutations

from harness.tasks.countdown import Countdown, CountdownAnswer
from harness.tasks.expressions import MAX_CHARACTERS
from harness.tasks.templates import ANSWER, Compact


def right(task: Countdown, answer: CountdownAnswer, response: str, finished: bool) -> bool:
    """Whether a response answers a problem, read off Python's own syntax tree."""
    head, closed = response, finished
    if not isinstance(task.template, Compact):
        head, tag, _ = response.rpartition("</answer>")
        closed = tag != ""
    mark = ANSWER if isinstance(task.template, Compact) else "<answer>"
    content = head.rpartition(mark)[2]
    if not closed or mark not in head or len(content) > MAX_CHARACTERS:
        return False
    if re.search(r"[^-+*/() \t\r\n0-9]|(?<![0-9])0[0-9]", content):
        return False
    numbers: list[int] = []
    try:
        value = _value(ast.parse(" ".join(content.split()), mode="eval").body, numbers)
    except (SyntaxError, ZeroDivisionError):
        return False
    given, chosen = sorted(answer.numbers), sorted(numbers)
    sizes = range(1, len(given) + 1) if task.at_most_once else [len(given)]
    allowed = {part for size in sizes for part in combinations(given, size)}
    return value == answer.target and tuple(chosen) in allowed


def _value(node: ast.expr, numbers: list[int]) -> Fraction:
    match node:
        case ast.Constant(value=int(number)):
            numbers.append(number)
            return Fraction(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, numbers)
        case ast.BinOp(left=left, op=operator, right=right):
            return applied(operator, _value(left, numbers), _value(right, numbers))
    raise SyntaxError


def applied(operator: ast.operator, a: Fraction, b: Fraction) -> Fraction:
    """One of the four operations, exactly.

    Raises:
        SyntaxError: another operator.
        ZeroDivisionError: as arithmetic has it.
    """
    match operator:
        case ast.Add():
            return a + b
        case ast.Sub():
            return a - b
        case ast.Mult():
            return a * b
        case ast.Div():
            return a / b
    raise SyntaxError


def solution(answer: CountdownAnswer) -> str | None:
    """The first right answer that combining any two numbers in any way leads to."""

    def combined(parts: list[tuple[Fraction, str]]) -> str | None:
        if len(parts) == 1:
            return parts[0][1] if parts[0][0] == answer.target else None
        for i, j in permutations(range(len(parts)), 2):
            (a, left), (b, right) = parts[i], parts[j]
            rest = [part for k, part in enumerate(parts) if k not in (i, j)]
            made = {"+": a + b, "-": a - b, "*": a * b} | ({"/": a / b} if b else {})
            for sign, value in made.items():
                found = combined([*rest, (value, f"({left}{sign}{right})")])
                if found is not None:
                    return found
        return None

    found = combined([(Fraction(number), str(number)) for number in answer.numbers])
    return found and found[1:-1]
