"""Frames: checkpoint rules, missing values, curves."""

import math

import polars as pl
import pytest

from analysis import frame
from analysis.ablation import Checkpoint, Primary
from analysis.frame import Axis
from analysis.reading import columns

Row = tuple[str, int, str, int, float]  # variant, seed, metric, step, value


def metrics(rows: list[Row]) -> pl.DataFrame:
    """A metrics frame; run and trial are named after variant and seed."""
    full = [(f"r-{v}{s}", f"{v}{s}", v, s, key, step, value) for v, s, key, step, value in rows]
    return pl.DataFrame(full, schema=columns.METRICS, orient="row")


def evaluations(seed: int, *accuracies: float) -> list[Row]:
    return [("a", seed, "eval/accuracy", 10 * i, x) for i, x in enumerate(accuracies)]


LAST, BEST = Primary(), Primary(checkpoint=Checkpoint.BEST)


@pytest.mark.parametrize(("primary", "expected"), [(LAST, 0.6), (BEST, 0.8)])
def test_result_follows_the_checkpoint_rule(primary: Primary, expected: float) -> None:
    results = frame.results(metrics(evaluations(0, 0.9, 0.8, 0.6)), primary)

    assert frame.values(results, "eval/accuracy", "a").tolist() == [expected]


def test_best_takes_the_earliest_of_equals() -> None:
    results = frame.results(metrics(evaluations(0, 0.1, 0.8, 0.8)), BEST)

    assert results["step"].to_list() == [10]


def test_the_base_is_never_a_result() -> None:
    assert frame.results(metrics(evaluations(0, 0.9)), BEST).is_empty()


def test_values_that_are_not_finite_are_missing() -> None:
    key = "eval/response_length/wrong"
    rows = [*evaluations(0, 0.3, 0.8), *evaluations(1, 0.3, 1.0)]
    rows += [("a", 0, key, 10, 70.0), ("a", 1, key, 10, math.nan)]
    results = frame.results(metrics(rows), LAST)

    assert frame.values(results, key, "a").tolist() == [70.0]
    assert frame.values(results, "eval/accuracy", "a").tolist() == [0.8, 1.0]


def test_base_counts_once_per_seed() -> None:
    # Seed 0 is measured by two variants, .30 and .40 -> .35; seed 1 by one.
    rows = [*evaluations(0, 0.3), ("b", 0, "eval/accuracy", 0, 0.4), *evaluations(1, 0.5)]

    assert frame.base_values(metrics(rows), "eval/accuracy").tolist() == [0.35, 0.5]


def line(seed: int, tokens: list[float], values: list[float]) -> list[Row]:
    return [
        row
        for step, (x, y) in enumerate(zip(tokens, values, strict=True))
        for row in (("a", seed, "budget/tokens", step, x), ("a", seed, "eval/kl", step, y))
    ]


def test_grid_interpolates_and_ends_with_the_shortest_line() -> None:
    # Seed 0 is y = x / 100 up to 200, seed 1 is y = 1 + x / 100 up to 400.
    rows = [*line(0, [0, 100, 200], [0, 1, 2]), *line(1, [0, 200, 400], [1, 3, 5])]
    grid = frame.on_grid(frame.seed_lines(metrics(rows), "eval/kl", Axis.TOKENS))

    assert (grid["x"].min(), grid["x"].max()) == (0, 200)
    expected = grid["x"] / 100 + (grid["seed"] == 1).cast(pl.Float64)
    assert grid["value"].to_list() == pytest.approx(expected.to_list())


def test_seeds_of_any_size_share_a_grid() -> None:
    seeds = [0, 2**40, 2**63 - 1]
    data = metrics([row for seed in seeds for row in line(seed, [0, 100], [0, 1])])
    grid = frame.on_grid(frame.seed_lines(data, "eval/kl", Axis.TOKENS))
    assert grid.schema["seed"] == pl.Int64
    assert sorted(set(grid["seed"])) == seeds


def test_what_has_no_finite_square_is_no_result() -> None:
    """A KL of 1e200 has diverged as one of infinity has: its variance is no number."""
    values = [0.1, 1e149, 1e150, -1e200, math.inf, math.nan]
    data = metrics([("a", seed, "eval/kl", 10, value) for seed, value in enumerate(values)])
    assert frame.finite(data)["value"].to_list() == [0.1, 1e149]


def test_lines_without_a_shared_range_have_no_grid() -> None:
    rows = [*line(0, [0, 100], [0, 1]), *line(1, [200, 300], [0, 1])]
    data = metrics(rows)

    assert frame.on_grid(frame.seed_lines(data, "eval/kl", Axis.TOKENS)).is_empty()
    assert math.isnan(frame.at_equal_tokens(data, "eval/kl")[0])


def test_mean_stops_where_the_shortest_trial_ended() -> None:
    data = metrics([*evaluations(0, 0.2, 0.4, 0.6), *evaluations(1, 0.4, 0.6)])
    band = frame.mean_band(frame.seed_lines(data, "eval/accuracy", Axis.STEPS))

    assert band["x"].to_list() == [0, 10]
    assert band["mean"].to_list() == pytest.approx([0.3, 0.5])
    assert band["n"].to_list() == [2, 2]


def test_missing_values_shrink_n_but_do_not_end_the_mean() -> None:
    data = metrics(
        [*evaluations(0, 0.2, 0.4), *evaluations(1, 0.4, math.nan), ("a", 1, "eval/kl", 10, 0.0)]
    )
    band = frame.mean_band(frame.seed_lines(data, "eval/accuracy", Axis.STEPS))

    assert band["n"].to_list() == [2, 1]
    assert math.isnan(band["low"][1])
