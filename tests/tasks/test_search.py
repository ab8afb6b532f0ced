"""Search traces: what the writer writes, and what is read back from hand-labelled ones."""

import dataclasses
import re
from collections.abc import Iterator
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.maths import streams
from harness.tasks.expressions import parse
from harness.tasks.search import Persona, TraceWriter, chain_value, read
from harness.tasks.templates import Compact
from harness.types import Behaviour

SETTINGS = settings(max_examples=80, deadline=None, derandomize=True)
PATIENT = Persona(patient_share=1.0, patient_stop=0.0, max_attempts=8)
OPERATORS = st.sampled_from(["+-", "+", "*", "+-*/"])
NUMBERS = st.lists(st.integers(1, 12), min_size=2, max_size=3)


def attempts_of(trace: str) -> list[tuple[str, str]]:
    """(worked chain, verdict) of each attempt before the answer."""
    return re.findall(r"([^;!A]+)([;!])", trace.partition("A")[0])


def facts_of(chain: str) -> Iterator[tuple[int, str, int, int]]:
    """Each two-operand fact: the left side is the number before the operator."""
    first, *rest = re.findall(r"^-?\d+|[-+*/]\d+=-?\d+", chain)
    left = int(first)
    for fact in rest:
        right, result = fact[1:].split("=")
        yield left, fact[0], int(right), int(result)
        left = int(result)


def result_of(chain: str) -> int:
    return int(chain.rpartition("=")[2])


def reachable(numbers: list[int], operators: str) -> set[Fraction]:
    """Values of left-to-right expressions whose steps are all integers."""
    found = {(Fraction(x), tuple(numbers[:i] + numbers[i + 1 :])) for i, x in enumerate(numbers)}
    for _ in numbers[1:]:
        found = {
            (value, left[:i] + left[i + 1 :])
            for total, left in found
            for i, number in enumerate(left)
            for value in steps(total, Fraction(number), operators)
            if value.denominator == 1
        }
    return {value for value, _ in found}


def steps(left: Fraction, right: Fraction, operators: str) -> list[Fraction]:
    made = {"+": left + right, "-": left - right, "*": left * right}
    if right:
        made["/"] = left / right
    return [made[operator] for operator in operators if operator in made]


def written(
    writer: TraceWriter, numbers: list[int], target: int, seed: int = 0, item: int = 0
) -> str:
    uniforms = streams.uniforms(seed, "t", 0, [item], writer.draws(numbers))[0].tolist()
    return Compact().response(*writer.write(numbers, target, uniforms))


@SETTINGS
@given(NUMBERS, OPERATORS, st.integers(0, 30), st.integers(0, 999))
def test_what_every_trace_is(numbers: list[int], operators: str, target: int, seed: int) -> None:
    trace = written(TraceWriter(operators, Persona()), numbers, target, seed)
    attempts = attempts_of(trace)
    body, _, answer = trace.rpartition("A")
    assert body == "".join(chain + verdict for chain, verdict in attempts)
    assert 1 <= len(attempts) <= Persona().max_attempts
    for chain, verdict in attempts:
        facts = list(facts_of(chain))
        assert len(facts) == len(numbers) - 1
        for left, operator, right, result in facts:
            assert [Fraction(result)] == steps(Fraction(left), Fraction(right), operator)
        assert sorted([facts[0][0], *(fact[2] for fact in facts)]) == sorted(numbers)
        assert (verdict == "!") == (result_of(chain) == target)
    values = [result_of(chain) for chain, _ in attempts]
    assert len(set(values)) == len(values)
    assert [verdict for _, verdict in attempts[:-1]] == [";"] * (len(attempts) - 1)
    parsed = parse(answer)
    assert parsed is not None
    assert parsed.value == values[-1]
    assert list(parsed.numbers) == [int(x) for x in re.findall(r"\d+", answer)]
    assert sorted(parsed.numbers) == sorted(numbers)


def test_the_answer_of_mixed_operators_is_worth_what_the_chain_is() -> None:
    # (1 + 2) * 3 = 9: without the parentheses the answer would be worth 7.
    writer = TraceWriter("+*", PATIENT)
    answers = {written(writer, [1, 2, 3], 9, item=i).rpartition("A")[2] for i in range(40)}
    assert answers == {"(1+2)*3", "(2+1)*3"}


@SETTINGS
@given(NUMBERS, OPERATORS, st.integers(0, 30), st.integers(0, 999))
def test_a_patient_searcher_ends_with_a_hit_or_when_nothing_is_left(
    numbers: list[int], operators: str, target: int, seed: int
) -> None:
    attempts = attempts_of(written(TraceWriter(operators, PATIENT), numbers, target, seed))
    values = reachable(numbers, operators)
    if attempts[-1][1] == ";":
        assert len(attempts) == min(PATIENT.max_attempts, len(values))
    if target in values and len(values) <= PATIENT.max_attempts:
        assert attempts[-1][1] == "!"
    assert {result_of(chain) for chain, _ in attempts} <= values


@pytest.mark.parametrize(
    ("persona", "rate"),
    [
        (Persona(patient_share=0.0, impatient_stop=0.7), 0.7),
        (Persona(patient_share=1.0, patient_stop=0.1, impatient_stop=1.0), 0.1),
        (Persona(patient_share=0.25, patient_stop=0.0, impatient_stop=1.0), 0.75),
    ],
    ids=["impatient", "patient", "mixed"],
)
def test_first_miss_ends_the_search_at_the_personas_rate(persona: Persona, rate: float) -> None:
    writer, count = TraceWriter("+-", persona), 3_000
    # 100 is out of reach, so that the first attempt always misses and others are left.
    traces = [written(writer, [7, 8, 3], 100, item=i) for i in range(count)]
    gave_up = sum(len(attempts_of(trace)) == 1 for trace in traces)
    deviation = (rate * (1 - rate) / count) ** 0.5
    assert abs(gave_up / count - rate) < 3 * deviation


def test_attempts_come_in_every_order() -> None:
    writer = TraceWriter("+-", PATIENT)
    # 7+8+3 = 18, 7+8-3 = 12, 7-8+3 = 2, 7-8-3 = -4, 8-7-3 = -2, 3-7-8 = -12, 8+3-7 = 4 and
    # 3+7-8 = 2, 3-8+7 = 2: seven values, reached by 24 expressions.
    firsts = [
        result_of(attempts_of(written(writer, [7, 8, 3], 100, item=i))[0][0]) for i in range(2_400)
    ]
    assert set(firsts) == {18, 12, 2, -4, -2, -12, 4}
    # 6 of the 24 (every order, + +) make 18: 600 expected, standard deviation 21.
    assert abs(firsts.count(18) - 600) < 64


def test_persona_of_no_attempts_is_refused() -> None:
    with pytest.raises(Exception, match=r"persona\.max_attempts must be at least 1, received 0"):
        Persona(max_attempts=0)


# response, target -> attempts, computed rightly, hits, misses (declared), retries, give-ups,
#                     answers, checked
LABELLED = [
    ("", 4, (0, 0, 0, 0, 0, 0, 0, 0)),
    ("A8-7+3", 4, (0, 0, 0, 0, 0, 0, 1, 0)),  # answer only
    ("8-7=1+3=4!A8-7+3", 4, (1, 1, 1, 0, 0, 0, 1, 1)),
    ("7+8=15-3=12;A7+8-3", 4, (1, 1, 0, 1, 0, 1, 1, 0)),  # gives up after a miss
    ("7+8=15-3=12;8-7=1+3=4!A8-7+3", 4, (2, 2, 1, 1, 1, 0, 1, 1)),
    ("7-8=-1+3=2;7+8=15-3=12;A7+8-3", 4, (2, 2, 0, 2, 1, 1, 1, 0)),
    ("7+8=14-3=11;A7+8-3", 4, (1, 0, 0, 1, 0, 1, 1, 0)),  # 7+8 is 15
    ("8-7=1+3=5;8-7=1+3=4!A8-7+3", 4, (2, 1, 1, 1, 1, 0, 1, 1)),  # the first is wrong
    # Wrong arithmetic that ends at the target: checked, by its own statement.
    ("7+8=15-3=4!A7+8-3", 4, (1, 0, 0, 0, 0, 0, 1, 1)),
    ("7+8=15-3=12!A7+8-3", 4, (1, 1, 0, 0, 0, 0, 1, 0)),  # false hit: it states 12
    # miss verdict on a hit, then gives up
    ("8-7=1+3=4;A8-7+3", 4, (1, 1, 1, 1, 0, 1, 1, 0)),
    ("8-7=1+3=4;7-8=-1+3=2;A7-8+3", 4, (2, 2, 1, 2, 1, 1, 1, 0)),
    ("7+8=15-3=12;8-7=1+", 4, (2, 1, 0, 1, 1, 0, 0, 0)),  # cut in an attempt
    ("7+8=15-3=12;8-7=1+3=4", 4, (2, 1, 0, 1, 1, 0, 0, 0)),  # cut before the verdict
    # cut after the verdict: no answer, no giving up, no retry
    ("7+8=15-3=12;", 4, (1, 1, 0, 1, 0, 0, 0, 0)),
    ("7+8=15-3=12;A", 4, (1, 1, 0, 1, 0, 1, 1, 0)),  # cut after the marker
    ("8-7=1+3=4!A8-7+3A7+8-3", 4, (1, 1, 1, 0, 0, 0, 1, 0)),  # two answers: the last is unchecked
    ("7+8=15-3=12;A7+8-3A8-7+3", 4, (1, 1, 0, 1, 0, 1, 1, 0)),
    # It gives up, goes on all the same, and finds it: no retry, for an answer came between.
    ("7+8=15-3=12;A7+8-3;8-7=1+3=4!A8-7+3", 4, (2, 2, 1, 1, 0, 1, 1, 1)),
    ("7+8-3;A7+8-3", 4, (1, 0, 0, 1, 0, 1, 1, 0)),  # no facts
    ("4!A4", 4, (1, 0, 0, 0, 0, 0, 1, 0)),  # a bare number is no fact
    ("?Q=;;A", 4, (1, 0, 0, 1, 0, 0, 1, 0)),  # junk; an empty attempt is none
    ("7+8=15-3=12;;8-7=1+3=4!", 4, (2, 2, 1, 1, 1, 0, 0, 0)),  # an empty one, then a retry
    ("!!!", 4, (0, 0, 0, 0, 0, 0, 0, 0)),
    # 6/4 is no integer; the check is by its own statement
    ("6/4=1+3=4!A6/4+3", 4, (1, 0, 0, 0, 0, 0, 1, 1)),
    ("6/3=2*2=4!A6/3*2", 4, (1, 1, 1, 0, 0, 0, 1, 1)),
    ("8-7=1+3=4!A3+8-7", 4, (1, 1, 1, 0, 0, 0, 1, 1)),  # the same, its terms in another order
    ("8-7=1+3=4!A7+8-3", 4, (1, 1, 1, 0, 0, 0, 1, 0)),  # finds one and answers another
    ("8-7=1+3=4!A", 4, (1, 1, 1, 0, 0, 0, 1, 0)),
    ("1+2=3*3=9!A(1+2)*3", 9, (1, 1, 1, 0, 0, 0, 1, 1)),
    ("1+2=3*3=9!A1+2*3", 9, (1, 1, 1, 0, 0, 0, 1, 0)),  # without its parentheses it is another
    # finds it, tries on, misses, answers what it had found
    ("8-7=1+3=4!7+8=15-3=12;A8-7+3", 4, (2, 2, 1, 1, 0, 1, 1, 0)),
]


@pytest.mark.parametrize(("response", "target", "expected"), LABELLED)
def test_read(response: str, target: int, expected: tuple[int, ...]) -> None:
    assert dataclasses.astuple(read(response, target)) == expected


@SETTINGS
@given(NUMBERS, OPERATORS, st.integers(0, 30), st.integers(0, 999))
def test_reading_counts_what_was_written(
    numbers: list[int], operators: str, target: int, seed: int
) -> None:
    trace = written(TraceWriter(operators, Persona()), numbers, target, seed)
    attempts = attempts_of(trace)
    hit = attempts[-1][1] == "!"
    assert read(trace, target) == Behaviour(
        attempts=len(attempts),
        computed_rightly=len(attempts),
        hits=int(hit),
        misses=len(attempts) - hit,
        retries=len(attempts) - 1,
        give_ups=int(not hit),
        answers=1,
        checked=int(hit),
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7-8=-1+3=2", 2),
        ("7+8=15", 15),
        ("-1+3=2", 2),  # a negative start
        ("7-8=-1-3=-4", -4),
        ("8*3=24/4=6", 6),
        ("007+8=15", 15),
        ("7+8=16", None),
        ("7+8=15-3=13", None),  # the last fact is wrong
        ("7+8=16-3=12", None),  # the first is wrong
        ("7+8", None),
        ("7+8=", None),
        ("7+8=15-3", None),
        ("7", None),  # no fact
        ("", None),
        ("=15", None),
        ("+7+8=15", None),
        ("7 + 8=15", None),
        ("7/2=3", None),
        ("7/0=0", None),
        ("7+-8=-1", None),
        ("7+8=15x", None),
        ("1234567+1=1234568", None),  # more digits than a task has
    ],
)
def test_chain_value(text: str, value: int | None) -> None:
    assert chain_value(text) == value


@SETTINGS
@given(st.text(st.sampled_from("0123456789+-*/=;!A ()"), max_size=60), st.integers(-9, 30))
def test_any_text_is_counted_consistently(text: str, target: int) -> None:
    b = read(text, target)
    assert b.hits <= b.computed_rightly <= b.attempts
    assert b.give_ups + b.retries <= b.misses <= b.attempts
    assert b.checked <= b.answers <= 1
    assert b.misses <= text.count(";")
