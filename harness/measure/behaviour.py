"""What responses do besides being right: how they search, check, repeat themselves or say nothing.

How a response searches is read by its task; the rest is the same for every task.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Sequence

from harness.blame import blamed
from harness.protocols import Task
from harness.types import Behaviour, Grade, Rollout

# A repeated piece has at least so many characters, and stands so many times.
MIN_PIECE, TIMES = 8, 3
_RULE = re.compile(rf"(?<![\W_])[\W_]{{{MIN_PIECE},80}}(?![\W_])")
# More than one step: 2+3+4=9, 2+3=5*4=20, but not 2+3=5.
_FOUR_NUMBERS = re.compile(r"(?:[0-9]++[^0-9]++){3}[0-9]")
# Where three characters in a row are one.
_THRICE = re.compile(r"(?=(.)\1\1)", re.DOTALL)


def behaviour_metrics(task: Task, rollout: Rollout, grades: Sequence[Grade]) -> dict[str, float]:
    """Behaviour over all responses of an evaluation; a share of nothing is left out."""
    rows = zip(rollout.prompts, rollout.texts, strict=True)
    with blamed("task", task, "behaviour"):
        read = [b for prompt, text in rows if (b := task.behaviour(prompt, text)) is not None]
    shares = _of_searches(read) if read else {}
    shares["empty"] = _share([not text.strip() for text in rollout.texts])
    shares["repetitive"] = _share([repetitive(text) for text in rollout.texts])
    shares["well_formatted"] = _share([grade.formatted for grade in grades])
    return {f"eval/behaviour/{name}": x for name, x in shares.items() if x is not None}


def repetitive(text: str) -> bool:
    """Whether a text repeats itself.

    It does when some piece of at least 8 characters stands three times in a row; or when the same
    attempt stands three times anywhere: a line, or a part of one between semicolons, with an equals
    sign and at least four numbers, white space aside. Up to 80 characters in a row that are neither
    letters nor digits are a gap, a rule or a table's: no repetition by themselves.
    """
    attempts = Counter(
        "".join(part.split())
        for part in re.split(r"[\n;]", text)
        if "=" in part and _FOUR_NUMBERS.search(part)
    )
    return max(attempts.values(), default=0) >= TIMES or _thrice_in_a_row(
        _RULE.sub(lambda rule: rule[0][: MIN_PIECE - 1], text)
    )


def _thrice_in_a_row(text: str) -> bool:
    """Whether a piece stands three times in a row.

    Such a stretch equals itself one piece further on, for two pieces. It holds three multiples of
    the piece's length, whose characters are equal: only there is looked further, which takes
    n log n steps for n characters.
    """
    for period in range(MIN_PIECE, len(text) // TIMES + 1):
        for match in _THRICE.finditer(text[::period]):
            here = match.start() * period
            there = here + period
            if (
                text[here : here + MIN_PIECE] == text[there : there + MIN_PIECE]
                or text[max(0, here - MIN_PIECE) : here] == text[there - MIN_PIECE : there]
            ) and _before(text, here, there) + _after(text, here, there) >= 2 * period:
                return True
    return False


def _after(text: str, here: int, there: int) -> int:
    """How many characters from `here` and from `there` on are equal, at most two pieces."""

    def equal(count: int) -> bool:
        return text[here : here + count] == text[there : there + count]

    return _most(equal, min(2 * (there - here), len(text) - there))


def _before(text: str, here: int, there: int) -> int:
    """How many characters before `here` and before `there` are equal, at most one piece."""

    def equal(count: int) -> bool:
        return text[here - count : here] == text[there - count : there]

    return _most(equal, min(there - here, here))


def _most(holds: Callable[[int], bool], limit: int) -> int:
    """The largest count up to `limit` for which it holds; it holds for 0 and for all smaller."""
    low = 0
    while low < limit:
        middle = (low + limit + 1) // 2
        low, limit = (middle, limit) if holds(middle) else (low, middle - 1)
    return low


def _of_searches(read: Sequence[Behaviour]) -> dict[str, float | None]:
    """Sums over the responses, divided."""
    total = Behaviour(
        **{f.name: sum(getattr(b, f.name) for b in read) for f in dataclasses.fields(Behaviour)}
    )
    return {
        "attempts": total.attempts / len(read),
        "give_up_rate": _ratio(total.give_ups, total.misses),
        "retry_rate": _ratio(total.retries, total.misses),
        "computed_rightly": _ratio(total.computed_rightly, total.attempts),
        "success_per_attempt": _ratio(total.hits, total.attempts),
        "checked": _ratio(total.checked, total.answers),
    }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _share(flags: Sequence[bool]) -> float | None:
    return _ratio(sum(flags), len(flags))
