"""What reading a large store costs: `python -m tests.benchmarks loader [RUNS]`.

A store of RUNS (200) trials x 40 metrics x 500 steps, 4 million points, written by SQL. Each way of
reading it runs in a process of its own: `analysis.load`, the same from its cache, a whole report,
and MLflow's own loop of `get_metric_history`, of which one run in ten is measured. CPU seconds and
peak memory include the imports, but those of the loop do not.

It fails where loading is not ten times cheaper than MLflow's loop, or a goal below is missed.
"""

import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from analysis.ablation import Ablation, Variant
from analysis.fixed import plain
from analysis.manifest import Job, Manifest
from analysis.revisions import line, manifest_path, sealed
from harness.config import Budget
from harness.schema import EVAL, METRICS
from harness.tracking.store import open_store
from tests.benchmarks import resident

NAME = "large"
RUNS, STEPS, VARIANTS, SHARE = 200, 500, 8, 10
# Evaluations, what figures and gates read, and then others.
READ = ("actor/grad_norm", "critic/score/mean", "actor/entropy", "budget/tokens", "budget/updates")
KEYS = list(dict.fromkeys([*EVAL, *READ, *METRICS]))[:40]
START = 1_800_000_000_000  # ms, after the manifest
CREATED = "2027-01-14T08:00:00+00:00"
# Goals at 200 runs: CPU seconds, MiB, and how many times cheaper than MLflow's loop.
LOAD_S, REPORT_S, MEMORY_MIB, RATIO = 15.0, 60.0, 2048, 10.0
INDEXES = (
    "CREATE INDEX index_metrics_run_uuid ON metrics (run_uuid)",
    'CREATE INDEX index_metrics_run_uuid_key_step ON metrics (run_uuid, "key", step)',
)


def trials(count: int) -> list[Job]:
    """VARIANTS variants, seed-major."""
    numbers = (divmod(i, VARIANTS) for i in range(count))
    return [
        Job(f"v{v}__s{s}__abababab", f"v{v}", s, "ab" * 32, "cd" * 32, "same") for s, v in numbers
    ]


def write_manifest(runs: Path, jobs: Sequence[Job]) -> None:
    labels = list(dict.fromkeys(job.variant for job in jobs))
    ablation = Ablation(
        NAME, "?", "?", labels[0], [Variant(label) for label in labels], [],
        sorted({job.seed for job in jobs}), Budget(amount=STEPS),
    )  # fmt: skip
    manifest = Manifest(
        ablation, list(jobs), CREATED, "e" * 64, "f" * 40, False, "f" * 64, "d" * 64, "command"
    )
    data = plain(manifest)
    path = manifest_path(runs, NAME)
    path.parent.mkdir(parents=True)
    path.write_bytes(line(Manifest(**{**vars(manifest), "seal": sealed(data)})))


def value(key: str, run: int, step: int) -> float:
    """Some number of the kind that the metric is; no two runs have the same."""
    if key.startswith("budget/"):
        return float(step * (100 + run if key == "budget/tokens" else 1))
    return 0.3 + 0.5 * step / STEPS + ((run * 7919 + step * 104729) % 1009) / 1e4


def points(jobs: Sequence[Job]) -> Iterator[tuple[str, float, int, str, int, int]]:
    """Rows of MLflow's table in the order in which trials would write them."""
    for run in range(len(jobs)):
        for step in range(STEPS):
            time_ms = START + run * 1_000_000 + step * 1000
            for key in KEYS:
                yield key, value(key, run, step), time_ms, f"{run:032x}", step, 0


def write_store(runs: Path, jobs: Sequence[Job]) -> None:
    client = open_store(runs)
    artifacts = (runs.resolve() / "artifacts" / NAME).as_uri()
    experiment = int(client.create_experiment(NAME, artifact_location=artifacts))
    with closing(sqlite3.connect(runs / "mlflow.db")) as db:
        for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -400000"):
            db.execute(f"PRAGMA {setting}")
        for index in INDEXES:
            db.execute(f"DROP INDEX {index.split()[2]}")
        rows = [
            (f"{i:032x}", job.trial, START, f"{artifacts}/{i:032x}/artifacts", experiment)
            for i, job in enumerate(jobs)
        ]
        db.executemany(
            "INSERT INTO runs (run_uuid, name, status, start_time, end_time, lifecycle_stage, "
            "artifact_uri, experiment_id, user_id, source_type) "
            "VALUES (?1, ?2, 'FINISHED', ?3, ?3, 'active', ?4, ?5, '', 'LOCAL')",
            rows,
        )
        db.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", points(jobs))
        db.execute(
            "INSERT INTO latest_metrics SELECT key, value, timestamp, step, is_nan, run_uuid "
            f"FROM metrics WHERE step = {STEPS - 1}"
        )
        tags = [
            (key, str(tag), f"{i:032x}")
            for i, job in enumerate(jobs)
            for key, tag in {
                "trial": job.trial, "variant": job.variant, "seed": job.seed, "identity": "same",
                "attempt": 1,
            }.items()
        ]  # fmt: skip
        db.executemany("INSERT INTO tags VALUES (?, ?, ?)", tags)
        for index in INDEXES:
            db.execute(index)
        db.commit()


# --- ways of reading: CPU seconds of each ---------------------------------------------------------


def loaded(runs: Path) -> float:
    import analysis

    assert not analysis.load(runs, NAME).metrics.is_empty()
    return time.process_time()


def reported(runs: Path) -> float:
    from analysis.report import build

    build(runs, NAME)
    return time.process_time()


def looped(runs: Path) -> float:
    """MLflow's own way: one run in SHARE, times SHARE."""
    client = open_store(runs, create=False)
    experiment = client.get_experiment_by_name(NAME).experiment_id
    began = time.process_time()
    for run in client.search_runs([experiment], max_results=RUNS * SHARE)[::SHARE]:
        for key in run.data.metrics:
            client.get_metric_history(run.info.run_id, key)
    return (time.process_time() - began) * SHARE


WAYS: dict[str, Callable[[Path], float]] = {"load": loaded, "report": reported, "loop": looped}


def measured(way: str, runs: Path, name: str = "") -> tuple[float, float]:
    """CPU seconds and peak MiB of a way in its own process."""
    command = [sys.executable, "-m", "tests.benchmarks", "loader", way, str(runs)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    cpu, peak = json.loads(done.stdout.splitlines()[-1])
    print(f"| {name or way} | {cpu:.1f} | {peak:.0f} |", flush=True)
    return cpu, peak


def one(way: str, runs: Path) -> int:
    """What `measured` starts."""
    cpu = WAYS[way](runs)
    print(json.dumps((cpu, resident.mib(resident.PEAK))))
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run it; returns the exit code."""
    if arguments and arguments[0] in WAYS:
        return one(arguments[0], Path(arguments[1]))
    count = int(arguments[0]) if arguments else RUNS
    folder = Path(tempfile.mkdtemp(prefix="loader-"))
    try:
        return compared(folder / "runs", trials(count))
    finally:
        shutil.rmtree(folder)


def compared(runs: Path, jobs: Sequence[Job]) -> int:
    runs.mkdir()
    began = time.perf_counter()
    write_manifest(runs, jobs)
    write_store(runs, jobs)
    print(
        f"{len(jobs) * len(KEYS) * STEPS:,} points written in {time.perf_counter() - began:.0f} s"
    )
    print("| way | CPU s | peak MiB |\n|---|---|---|")
    load, load_peak = measured("load", runs)
    measured("load", runs, "load, cached")
    shutil.rmtree(runs / "cache")
    report, report_peak = measured("report", runs)
    loop, _ = measured("loop", runs)
    goals = {
        f"load {RATIO:.0f} times cheaper than MLflow's loop ({loop / load:.1f})": loop
        >= RATIO * load,
        f"load in {LOAD_S:.0f} CPU s": load <= LOAD_S,
        f"report in {REPORT_S:.0f} CPU s": report <= REPORT_S,
        f"at most {MEMORY_MIB} MiB": max(load_peak, report_peak) <= MEMORY_MIB,
    }
    for goal, met in goals.items():
        print(f"{'met' if met else 'MISSED'}: {goal}")
    return 0 if all(goals.values()) else 1
