"""A plot of one's own from the trials of an ablation: accuracy against length, a dot per trial.

python plot_frames.py RUNS NAME
"""

import sys

import polars as pl
from matplotlib import pyplot as plt

import analysis

runs, name = sys.argv[1:]
data = analysis.load(runs, name)
last = (
    data.metrics.filter(pl.col("metric").is_in(["eval/accuracy", "eval/response_length/mean"]))
    .sort("step")
    .group_by("variant", "seed", "metric", maintain_order=True)
    .agg(pl.col("value").last())
    .pivot("metric", index=["variant", "seed"], values="value")
)
print(last)
for (variant,), rows in last.group_by(["variant"], maintain_order=True):
    plt.scatter(rows["eval/response_length/mean"], rows["eval/accuracy"], label=variant)
plt.xlabel("mean response length (tokens)")
plt.ylabel("held-out accuracy")
plt.legend()
plt.savefig("accuracy_by_length.svg")
