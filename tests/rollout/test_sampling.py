"""`choose` against the definition: probabilities by exp, sums in fractions, sets by enumeration."""

import itertools
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.rollout.sampling import choose
from harness.types import Sampling

SETTINGS = settings(max_examples=120, deadline=None, derandomize=True)
# Closer than this to the border of an interval, float64 may decide either way.
BORDER = 1e-9
FIRST, LAST = 2.0**-54, 1 - 2.0**-53  # the smallest and largest number that a stream yields

LOGITS = st.lists(st.one_of(st.floats(-12, 12), st.just(-math.inf)), min_size=1, max_size=6).filter(
    lambda row: max(row) > -math.inf
)
SAMPLINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.3, 0.7, 1.0, 1.9]),
    top_k=st.sampled_from([0, 0, 1, 2, 3, 9]),
    top_p=st.sampled_from([1.0, 1.0, 0.05, 0.5, 0.8, 0.97]),
    max_new_tokens=st.just(1),
)


def normalized(weights: list[Fraction]) -> list[Fraction]:
    total = sum(weights)
    return [weight / total for weight in weights]


def slow_nucleus(p: list[Fraction], mass: Fraction) -> set[int]:
    """The smallest set whose mass reaches `mass`; among equally small ones the heaviest."""
    for size in range(1, len(p) + 1):
        sets = itertools.combinations(range(len(p)), size)
        heaviest = max(sets, key=lambda chosen: sum(p[i] for i in chosen))
        reached = sum(p[i] for i in heaviest)
        assume(abs(reached - mass) > BORDER)
        if reached >= mass:
            return set(heaviest)
    return set(range(len(p)))


def slow_distribution(row: list[float], sampling: Sampling) -> list[Fraction]:
    """Exact probabilities under temperature, then top_k, then top_p."""
    finite = [x for x in row if x > -math.inf]
    if sampling.top_k or sampling.top_p < 1:
        gaps = [abs(a - b) for a, b in itertools.combinations(finite, 2)]
        assume(min(gaps, default=1) > 1e-6)  # ties are another test's
    scaled = [(x - max(row)) / sampling.temperature for x in row]
    p = normalized([Fraction(math.exp(x)) for x in scaled])
    if sampling.top_k:
        kept = sorted(range(len(row)), key=lambda i: -row[i])[: sampling.top_k]
        p = normalized([w if i in kept else Fraction(0) for i, w in enumerate(p)])
    if sampling.top_p < 1:
        nucleus = slow_nucleus(p, Fraction(sampling.top_p))
        p = normalized([w if i in nucleus else Fraction(0) for i, w in enumerate(p)])
    return p


def picked(row: list[float], u: list[float], sampling: Sampling) -> tuple[list[int], Tensor]:
    """The same logits with each uniform number."""
    logits_RV = torch.tensor(row, dtype=torch.float64).expand(len(u), -1)
    tokens_R, logprobs_R = choose(logits_RV, torch.tensor(u, dtype=torch.float64), sampling)
    return tokens_R.tolist(), logprobs_R


@SETTINGS
@given(LOGITS, SAMPLINGS, st.floats(FIRST, LAST))
def test_inverse_of_the_cumulative_distribution(
    row: list[float], sampling: Sampling, u: float
) -> None:
    p = slow_distribution(row, sampling)
    below = [sum(p[:i], Fraction(0)) for i in range(len(p) + 1)]
    assume(min(abs(b - Fraction(u)) for b in below[1:-1] or [Fraction(-1)]) > BORDER)
    expected = next(i for i in range(len(p)) if below[i] < Fraction(u) < below[i + 1])
    (token,), logprob = picked(row, [u], sampling)
    assert token == expected
    assert logprob.item() == pytest.approx(math.log(p[token]), abs=1e-5)


@SETTINGS
@given(LOGITS, SAMPLINGS)
def test_every_kept_token_is_reached_and_no_other(row: list[float], sampling: Sampling) -> None:
    """The middle of each token's interval gives that token; the ends give kept tokens."""
    p = slow_distribution(row, sampling)
    kept = [i for i in range(len(p)) if p[i] > 10 * BORDER]
    middles = [float(sum(p[:i], Fraction(0)) + p[i] / 2) for i in kept]
    tokens, logprobs = picked(row, [*middles, FIRST, LAST], sampling)
    assert tokens[:-2] == kept
    assert all(p[token] > 0 for token in tokens)
    expected = torch.tensor([math.log(p[token]) for token in tokens])
    torch.testing.assert_close(logprobs, expected, rtol=1e-5, atol=1e-5)


def test_a_fine_grid_reproduces_softmax() -> None:
    row, count = [0.3, -1.0, 2.0, 0.0, -4.0], 20_000
    tokens, _ = picked(row, [(i + 0.5) / count for i in range(count)], Sampling(max_new_tokens=1))
    total = sum(math.exp(x) for x in row)
    for token, x in enumerate(row):
        # An interval of length p holds p * count grid points, rounded down or up.
        assert abs(tokens.count(token) / count - math.exp(x) / total) <= 1 / count + 1e-12


@pytest.mark.parametrize(
    ("sampling", "p"),
    [
        # p = 1/8, 4/8, 2/8, 1/8 of the tokens 0 .. 3
        (Sampling(max_new_tokens=1), [0.125, 0.5, 0.25, 0.125]),
        (Sampling(max_new_tokens=1, top_k=1), [0, 1, 0, 0]),
        (Sampling(max_new_tokens=1, top_k=2), [0, 2 / 3, 1 / 3, 0]),
        (Sampling(max_new_tokens=1, top_p=0.7), [0, 2 / 3, 1 / 3, 0]),  # 1/2 < 0.7 <= 3/4
        (Sampling(max_new_tokens=1, top_p=0.8), [1 / 7, 4 / 7, 2 / 7, 0]),  # a tie: the first
        (Sampling(max_new_tokens=1, top_p=1e-9), [0, 1, 0, 0]),  # never empty
        (Sampling(max_new_tokens=1, top_k=2, top_p=0.6), [0, 1, 0, 0]),  # 2/3 of what top_k left
        (Sampling(max_new_tokens=1, temperature=0.5), [1 / 22, 16 / 22, 4 / 22, 1 / 22]),  # squared
    ],
    ids=str,
)
def test_by_hand(sampling: Sampling, p: list[float]) -> None:
    row, count = [math.log(x) for x in (1, 4, 2, 1)], 4_000
    tokens, logprobs = picked(row, [(i + 0.5) / count for i in range(count)], sampling)
    for token in range(4):
        assert abs(tokens.count(token) / count - p[token]) <= 1 / count + 1e-12
    expected = torch.tensor([math.log(p[token]) for token in tokens])
    torch.testing.assert_close(logprobs, expected, rtol=1e-5, atol=1e-6)


def test_top_k_keeps_all_that_tie_with_the_last_kept() -> None:
    tokens, _ = picked([0.0, 0.0, -1.0], [0.1, 0.9], Sampling(max_new_tokens=1, top_k=1))
    assert tokens == [0, 1]


def test_greedy_is_the_largest_logit_whatever_the_uniform() -> None:
    row = [0.0, math.log(3.0), -math.inf, 0.0]
    tokens, logprobs = picked(row, [FIRST, 0.5, LAST], Sampling(max_new_tokens=1, temperature=0.0))
    assert tokens == [1, 1, 1]
    # 3 / (1 + 3 + 0 + 1)
    assert logprobs.tolist() == pytest.approx([math.log(0.6)] * 3, abs=1e-6)


@pytest.mark.parametrize(
    "allowed", [c for n in range(1, 5) for c in itertools.combinations(range(4), n)]
)
@pytest.mark.parametrize("values", [(0.0, 0.0, 0.0, 0.0), (30.0, -700.0, 5.0, -30.0)])
def test_forbidden_tokens_are_never_chosen(
    allowed: tuple[int, ...], values: tuple[float, ...]
) -> None:
    row = [values[i] if i in allowed else -math.inf for i in range(4)]
    edges = [FIRST, 1e-12, 0.25, 0.5, 0.75, 1 - 1e-12, LAST]
    for temperature in (0.0, 0.5, 1.0):
        tokens, logprobs = picked(row, edges, Sampling(max_new_tokens=1, temperature=temperature))
        assert set(tokens) <= set(allowed)
        assert logprobs.isfinite().all()


@SETTINGS
@given(st.data(), SAMPLINGS)
def test_rows_do_not_see_each_other(data: st.DataObject, sampling: Sampling) -> None:
    rows = data.draw(st.integers(2, 40))
    cells = data.draw(st.lists(st.floats(-9, 9, width=32), min_size=27, max_size=27))
    draws = torch.Generator().manual_seed(rows)
    logits_RV = torch.randn(rows, 27, generator=draws) * torch.tensor(cells)
    uniforms_R = torch.rand(rows, generator=draws, dtype=torch.float64)
    tokens_R, logprobs_R = choose(logits_RV, uniforms_R, sampling)
    for i in range(rows):
        token, logprob = choose(logits_RV[i : i + 1], uniforms_R[i : i + 1], sampling)
        assert (token[0], logprob[0]) == (tokens_R[i], logprobs_R[i])


def test_a_border_belongs_to_the_next_token_that_is_allowed() -> None:
    # Intervals [0, 1/2) and [1/2, 1), exact in float64; the token between them is forbidden.
    tokens, _ = picked([0.0, -math.inf, 0.0], [0.5], Sampling(max_new_tokens=1))
    assert tokens == [2]
