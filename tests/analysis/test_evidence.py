"""Where more evidence is cheapest: the split of the stored tables, and the ways to a margin."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
import synthetic_store as store

from analysis import evidence, stats
from analysis.ablation import Prediction, Relation
from analysis.components import Parts, parts
from analysis.findings import findings
from analysis.needs import Need, least, needs
from analysis.study import Study

PROMPTS = 200
METRIC = "eval/accuracy"
WITHIN = store.prediction(Relation.EQUAL, METRIC, 0.03)


def planted(study: Study, seed_sd: float, k: int | None, seed: int = 3) -> Study:
    """Five seeds of each arm on 200 prompts: the same chance of .7 but for the seed.

    Args:
        k: samples per prompt of which the right ones are stored; None: only `correct`.
    """
    rng = np.random.default_rng(seed)
    rows, tables, trials = [], {}, []
    template = study.trials.filter(pl.col("status") == "FINISHED").head(1)
    for variant in ("reinforce", "grpo"):
        for number in range(5):
            chance = 0.7 + seed_sd * rng.normal()
            correct = rng.random(PROMPTS) < chance
            names = [f"{i}" for i in range(PROMPTS)]
            table: dict[str, Any] = {"item": np.arange(PROMPTS), "problem": names, "prompt": names}
            table["correct"] = correct
            if k is not None:
                right = rng.binomial(k, chance, PROMPTS)
                table |= {"samples": np.full(PROMPTS, k), "samples_right": right}
            trial = f"{variant}__s{number}__abababab"
            tables[trial] = pl.DataFrame(table)
            trials.append(
                template.with_columns(
                    trial=pl.lit(trial), variant=pl.lit(variant), seed=pl.lit(number, pl.Int64)
                )
            )
            values = {METRIC: correct.mean(), "eval/response_length/mean": 40.0}
            values |= {"budget/tokens": 90_000.0, "budget/seconds": 60.0}
            rows += [("id", trial, variant, number, key, 30, v) for key, v in values.items()]
            # Evaluations at 0 and 30 measure more; at 10 and 20 they take 2 s for 200 prompts.
            rows += [
                ("id", trial, variant, number, "timing_s/testing", step, seconds)
                for step, seconds in ((0, 9.0), (10, 2.0), (20, 2.0), (30, 9.0))
            ]
    metrics = pl.DataFrame(rows, schema=study.metrics.schema, orient="row")
    return dataclasses.replace(
        study,
        trials=pl.concat(trials),
        metrics=metrics,
        results=metrics.filter(pl.col("step") == 30),
        tables=tables,
    )


def need(study: Study, asked: Callable[..., Study], p: Prediction) -> Need:
    own = asked(study, predictions=[p])
    return needs(own, findings(own))[0]


def test_components_are_those_of_the_counts(sound: Study) -> None:
    study = planted(sound, 0.02, k=16)
    found = parts(study, METRIC, "grpo")
    counts = np.stack([study.tables[f"grpo__s{i}__abababab"]["samples_right"] for i in range(5)])
    split = stats.split(counts, 16)
    assert found is not None
    assert found.sampling == split.sampling == pytest.approx(0.21, abs=0.01)  # .7 * .3
    assert (found.prompts, found.samples) == (200, 1)
    assert found.interaction == max(split.interaction, 0.0)
    # The seed's own part: the variance of the metric less what 200 prompts with 1 response leave.
    values = study.values(METRIC, "grpo")
    noise = (found.interaction + found.sampling) / 200
    assert found.seed == pytest.approx(max(np.var(values, ddof=1) - noise, 0.0))
    # pass@k's mean accuracy is of 16 responses; it has no result here, so nothing is said.
    assert parts(study, "eval/avg_at_k", "grpo") is None


def test_one_response_per_prompt_leaves_the_interaction_in_sampling(sound: Study) -> None:
    found = parts(planted(sound, 0.02, k=None), METRIC, "grpo")
    assert found is not None
    assert math.isnan(found.interaction)
    assert found.sampling == pytest.approx(0.21, abs=0.03)
    assert parts(planted(sound, 0.02, k=None), "eval/kl", "grpo") is None


def test_noise_of_prompts_and_responses() -> None:
    own = Parts(0.0, 0.5, 0.02, 0.16, 200, 1)
    assert own.noise(200, 1) == pytest.approx(0.18 / 200)
    assert own.noise(100, 8) == pytest.approx((0.02 + 0.02) / 100)
    assert dataclasses.replace(own, interaction=math.nan).noise(100, 8) == pytest.approx(0.0002)


def test_where_sampling_is_all_more_responses_are_cheaper_than_seeds(
    sound: Study, asked: Callable[..., Study]
) -> None:
    study = planted(sound, 0.0, k=16)
    found = need(study, asked, WITHIN)
    assert not found.reached
    ways = {way.what: way for way in found.ways}
    assert [way.what for way in found.ways][-1] == "seeds"
    samples, seeds = ways["samples"], ways["seeds"]
    assert samples.needed is not None
    assert seeds.needed is not None
    # 10 trials x 200 prompts x what is more than 1 response, of 40 tokens and .01 s each.
    more = 10 * 200 * (samples.needed - 1)
    assert samples.tokens == pytest.approx(more * 40)
    assert samples.seconds == pytest.approx(more * 0.01)
    # Two arms, seeds beyond 5, of 90,000 tokens and 60 s each.
    assert seeds.tokens == pytest.approx(2 * (seeds.needed - 5) * 90_000)
    assert seeds.seconds == pytest.approx(2 * (seeds.needed - 5) * 60)
    # Prompts divide the sampling noise like responses do.
    assert ways["prompts"].needed == pytest.approx(200 * samples.needed, rel=0.5)


def test_where_seeds_differ_nothing_else_helps(sound: Study, asked: Callable[..., Study]) -> None:
    found = need(planted(sound, 0.04, k=16), asked, WITHIN)
    assert [(way.what, way.needed is None) for way in found.ways] == [
        ("seeds", False), ("prompts", True), ("samples", True),
    ]  # fmt: skip
    page = evidence.section(
        asked(planted(sound, 0.04, k=16), predictions=[WITHIN]),
        findings(asked(planted(sound, 0.04, k=16), predictions=[WITHIN])),
    )
    assert "not by prompts alone, up to 100,000" in page


@pytest.mark.parametrize(("sds", "expected"), [(3.18, 3), (2.07, 5), (1.37, 10)])
def test_seeds_needed_are_those_of_the_attainable_margin(
    sound: Study, asked: Callable[..., Study], sds: float, expected: int
) -> None:
    """Attainable at 80 %: 3.18, 2.07 and 1.37 sd at 3, 5 and 10 seeds (second_look's table)."""
    p = store.prediction(Relation.EQUAL, "eval/kl", sds * 1.004)
    rows = sound.results.filter(pl.col("metric") == "eval/kl")
    # Three seeds of each arm, mean 0 and standard deviation 1.
    unit = rows.with_columns(value=(pl.col("seed") - 1).cast(pl.Float64))
    found = need(dataclasses.replace(sound, results=unit), asked, p)
    assert found.reached == (expected == 3)
    assert [way.needed for way in found.ways] == ([] if expected == 3 else [expected])


def test_what_cannot_be_said_is_said(sound: Study, asked: Callable[..., Study]) -> None:
    zero = need(sound, asked, store.prediction(Relation.GREATER, METRIC, 0.0))
    assert zero.reason == "its margin is 0, so there is no size to reach"
    alike = dataclasses.replace(sound, results=sound.results.with_columns(value=pl.lit(0.5)))
    assert need(alike, asked, WITHIN).reason == "the spread over seeds is unknown"
    study = asked(dataclasses.replace(sound, tables={}), predictions=[WITHIN])
    assert "The spread is not split" in evidence.section(study, findings(study))


def test_pairs_need_fewer_seeds_where_they_go_together(
    sound: Study, asked: Callable[..., Study]
) -> None:
    p = store.prediction(Relation.EQUAL, METRIC, 0.02)
    rows = sound.results.with_columns(
        value=pl.when((pl.col("variant") == "grpo") & (pl.col("seed") == 1))
        .then(pl.col("value") + 0.002)
        .otherwise(pl.col("value"))
    )
    study = dataclasses.replace(sound, results=rows)  # both arms rise by .01 per seed or so
    apart, together = (need(asked(study, paired=way), asked, p) for way in (False, True))
    assert together.reached
    assert not apart.reached


def test_page_and_data_agree(sound: Study, asked: Callable[..., Study]) -> None:
    study = asked(planted(sound, 0.0, k=16), predictions=[WITHIN])
    found = findings(study)
    page, data = evidence.section(study, found), evidence.data(study, found)
    assert [row["variant"] for row in data["variance"]] == ["reinforce", "grpo"]
    first = data["needs"][0]["ways"][0]
    assert f"{first['needed']:,} " in page
    assert f"(+{first['tokens']:,.0f} tokens, {first['seconds'] / 60:,.1f} min)" in page
    assert "| 200 prompts, 1 response each |" in page


def test_least_is_the_first_that_is_enough() -> None:
    for wanted in (3, 4, 17, 100):
        assert least(3, 100, lambda n, w=wanted: n >= w) == wanted  # type: ignore[misc]
    assert least(3, 100, lambda n: n > 100) is None
