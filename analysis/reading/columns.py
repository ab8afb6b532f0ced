"""Columns of the frames that are read from a store."""

import polars as pl

from harness.machine.provenance import FACTS

NO_SEED = -1  # of a run without a usable seed tag; seeds themselves are never negative

RUNS = {
    "run_id": pl.String,
    "trial": pl.String,
    "variant": pl.String,
    "seed": pl.Int64,
    "status": pl.String,
    "attempt": pl.Int64,
    "started_ms": pl.Int64,
    "ended_ms": pl.Int64,
    "seal": pl.String,
    "identity": pl.String,
    "accepted": pl.String,
    "accepted_as": pl.String,
    "origin": pl.String,
    "git_commit": pl.String,
    "git_dirty": pl.Boolean,
    "config": pl.String,
    **dict.fromkeys(FACTS, pl.String),
    "record": pl.String,
    "experiment": pl.String,
    "lifecycle": pl.String,
}
# RUNS of every attempt: whether it is the one of its trial that counts.
ATTEMPTS = {**RUNS, "counts": pl.Boolean}
METRICS = {
    "run_id": pl.String,
    "trial": pl.String,
    "variant": pl.String,
    "seed": pl.Int64,
    "metric": pl.String,
    "step": pl.Int64,
    "value": pl.Float64,
}
# What a source yields, and what is left of it when each step has one value.
RAW = {
    "metric": pl.String,
    "step": pl.Int64,
    "timestamp": pl.Int64,
    "value": pl.Float64,
    "is_nan": pl.Boolean,
}
POINTS = {"run_id": pl.String, "metric": pl.String, "step": pl.Int64, "value": pl.Float64}
# Of one held-out prompt in one evaluation.
EVALS = {
    "run_id": pl.String,
    "trial": pl.String,
    "variant": pl.String,
    "seed": pl.Int64,
    "step": pl.Int64,
    "item": pl.Int64,
    "problem": pl.String,
    "difficulty": pl.Int64,
    "part": pl.String,
    "correct": pl.Boolean,
    "formatted": pl.Boolean,
    "error": pl.String,
    "length": pl.Int64,
    "truncated": pl.Boolean,
}
SAMPLES = {
    "run_id": pl.String,
    "trial": pl.String,
    "variant": pl.String,
    "seed": pl.Int64,
    "step": pl.Int64,
    "item": pl.Int64,
    "prompt": pl.String,
    "response": pl.String,
    "correct": pl.Boolean,
}
