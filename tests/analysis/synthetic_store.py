"""A small, real MLflow store with planted results, as a sweep would leave it."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import numpy as np
import pandas as pd
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from analysis import deciding
from analysis.ablation import Ablation, Prediction, Primary, Relation, Variant
from analysis.fixed import plain
from analysis.manifest import Job, Manifest
from analysis.revisions import line, manifest_path, sealed
from analysis.tuned import Tuned
from analysis.until import Look, Until
from harness.config import Budget, digest
from harness.tracking.record import RECORD
from harness.tracking.store import open_store

STEPS = 30
EVERY = 10
ITEMS = 24
STARTED_MS = 1_800_000_000_000  # 2027-01-15, after the manifest
CREATED = "2027-01-14T08:00:00+00:00"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
VERSIONS = {"torch": "2.13.0", "transformers": "5.17.0"}
# What a trial's record says of where its numbers come from, as the manifest has it.
FACTS = {
    "code_hash": "e" * 64,
    "model_hash": "f" * 64,
    "task_digest": "d" * 64,
    "eval_digest": "9" * 64,
    "template_hash": "8" * 16,
    "decoding": '{"temperature": 1.0, "top_p": 1.0}',
    "threads": "1",
    "torch": "2.13.0+cpu",
    "libraries": json.dumps(VERSIONS),
    "hardware": "EPYC",
}


@dataclass(frozen=True)
class Trial:
    """One planned trial and what became of it; status None: it never started."""

    variant: str
    seed: int
    accuracy: float
    status: str | None = "FINISHED"
    commit: str = COMMIT
    wrong_length: float = 75.0
    steps: int = STEPS
    tokens_per_step: int = 9_000
    mismatch: float = 1e-6
    content: str = "as planned"
    accepted: str = ""
    accepted_as: str = ""
    facts: dict[str, str] = field(default_factory=dict)
    """Tags that differ from FACTS and the others."""
    shifts: dict[str, float] = field(default_factory=dict)
    """Metric -> what is added to it after step 0."""
    without: str = "nothing"
    """A metric that is not logged."""
    on_disk: bool = True
    ended_ms: int = 0
    """When the run ended; a second after its start unless set."""

    @property
    def name(self) -> str:
        """Trial name as the harness makes it."""
        return f"{self.variant}__s{self.seed}__{'ab' * 4}"


@dataclass(frozen=True)
class Plan:
    """One ablation and its trials."""

    name: str
    trials: list[Trial]
    predictions: list[Prediction] = field(default_factory=list)
    primary: Primary = field(default_factory=Primary)
    factors: list[str] = field(default_factory=lambda: ["algorithm"])
    deviations: list[str] = field(default_factory=list)
    paired: bool = False
    differs: dict[str, Any] = field(
        default_factory=lambda: {"algorithm.normalize_std": [False, True]}
    )
    own: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Variants that differ from the baseline in something else; in nothing: an A/A."""
    created: str = CREATED
    until: Until | None = None
    """Then trials are those of all seeds, started or not."""
    looks: list[Look] = field(default_factory=list)
    """Looks that were taken."""


def prediction(relation: Relation, metric: str, margin: float) -> Prediction:
    """A prediction about grpo against reinforce."""
    return Prediction(metric, "grpo", relation, "reinforce", "dividing by std | scales", margin)


def manifest(plan: Plan) -> Manifest:
    """What the sweep would have written: the first revision, sealed."""
    labels = list(dict.fromkeys(t.variant for t in plan.trials))
    ablation = Ablation(
        name=plan.name,
        question="Does dividing the advantage by the group's spread help?",
        hypothesis="It weighs easy and hard prompts up, so accuracy rises.",
        baseline=labels[0],
        variants=[Variant(label, [f"algorithm={label}"]) for label in labels],
        factors=plan.factors,
        seeds=list(dict.fromkeys(t.seed for t in plan.trials)),
        budget=Budget(amount=max(t.steps for t in plan.trials)),
        primary=plan.primary,
        predictions=plan.predictions,
        paired=plan.paired,
        until=plan.until,
    )
    differs = {label: plan.own.get(label, plan.differs) for label in labels} | {labels[0]: {}}
    jobs = [
        Job(
            t.name,
            t.variant,
            t.seed,
            "ab" * 32,
            digest(differs[t.variant] and [t.variant, differs[t.variant]]),
            f"{t.name} as planned",
            differs=differs[t.variant],
        )
        for t in plan.trials
    ]
    written = Manifest(
        ablation,
        jobs,
        plan.created,
        FACTS["code_hash"],
        COMMIT,
        False,
        FACTS["model_hash"],
        FACTS["task_digest"],
        command=f"python -m harness -m ablation={plan.name}",
        deviations=plan.deviations,
        versions=VERSIONS,
        looks=[*plan.looks, *deciding.design(ablation)[len(plan.looks) :]],
    )
    return seal(written)


def seal(written: Manifest, before: Manifest | None = None, **changed: Any) -> Manifest:
    """A revision with its seal, after another one."""
    chained = dataclasses.replace(
        written,
        revision=before.revision + 1 if before else 1,
        previous=before.seal if before else "",
        **changed,
    )
    return dataclasses.replace(chained, seal=sealed(plain(chained)))


def save(runs: Path, revisions: list[Manifest]) -> Path:
    """Write a manifest's file."""
    path = manifest_path(runs, revisions[0].ablation.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(map(line, revisions)))
    return path


def write(runs: Path, plans: list[Plan]) -> MlflowClient:
    """Manifests and an MLflow store under `runs`."""
    runs.mkdir(parents=True, exist_ok=True)
    client = open_store(runs)
    for plan in plans:
        planned = manifest(plan)
        save(runs, [planned])
        location = (runs.resolve() / "artifacts" / plan.name).as_uri()
        experiment = client.create_experiment(plan.name, artifact_location=location)
        for number, trial in enumerate(plan.trials):
            if trial.status is not None:
                write_trial(client, experiment, planned, trial, number)
            if trial.status is not None and trial.on_disk:
                (runs / "checkpoints" / trial.name).mkdir(parents=True, exist_ok=True)
                # Empty: the store below is not made from it, and nothing is published over it.
                (runs / "checkpoints" / trial.name / RECORD).touch()
    return client


def write_trial(
    client: MlflowClient, experiment: str, planned: Manifest, trial: Trial, number: int
) -> str:
    """One run of a revision: tags, metrics, config and evaluation tables; its id."""
    tags = {
        "trial": trial.name,
        "variant": trial.variant,
        "algorithm": trial.variant,
        "task": "countdown",
        "model": "tiny",
        "seed": str(trial.seed),
        "ablation": planned.ablation.name,
        "seal": planned.seal,
        "identity": f"{trial.name} {trial.content}",
        "accepted": trial.accepted,
        "accepted_as": trial.accepted_as,
        "config_hash": "ab" * 32,
        "group_hash": "cd" * 32,
        "git_commit": trial.commit,
        "git_dirty": "false",
        "attempt": "1",
        **FACTS,
        **trial.facts,
    }
    start = STARTED_MS + number
    run = client.create_run(experiment, start_time=start, tags=tags, run_name=trial.name)
    run_id: str = run.info.run_id
    rows = [
        Metric(key, value, start + step, step) for key, step, value in metric_rows(trial, number)
    ]
    for i in range(0, len(rows), 1000):
        client.log_batch(run_id, metrics=rows[i : i + 1000], params=[Param("p", "1")] * (i == 0))
    client.log_batch(run_id, tags=[RunTag("host", "test")])
    # Written as MLflow writes them, which takes it four queries a file.
    folder = Path(unquote(urlparse(run.info.artifact_uri).path))
    (folder / "eval").mkdir(parents=True)
    (folder / "config.yaml").write_text(f"seed: {trial.seed}\nevaluation:\n  pass_k: 16\n")
    for step in sorted({0, trial.steps}):
        rows = table(trial, step).to_json(orient="split", index=False)
        (folder / "eval" / f"step_{step:06d}.json").write_text(rows)
    client.set_terminated(run_id, status=trial.status, end_time=trial.ended_ms or start + 1000)
    return run_id


def metric_rows(trial: Trial, number: int) -> list[tuple[str, int, float]]:
    """(key, step, value) of one trial: a saturating curve from .334 to the planted accuracy."""
    rng = np.random.default_rng(number)
    rows: list[tuple[str, int, float]] = []
    for step in range(trial.steps + 1):
        done = step / max(trial.steps, 1)
        level = 0.334 + (trial.accuracy - 0.334) * (1 - np.exp(-4 * done)) / (1 - np.exp(-4))
        rows += [("budget/updates", step, step), ("budget/seconds", step, 0.5 * step)]
        rows += [("budget/tokens", step, float(step * trial.tokens_per_step))]
        if step:
            rows += [
                ("critic/score/mean", step, float(level + rng.normal(0, 0.03))),
                ("actor/grad_norm", step, 0.25),
                ("actor/entropy", step, float(0.5 - 0.3 * done + rng.normal(0, 0.01))),
                ("response_length/mean", step, 23 + 15 * done),
                ("rollout/mismatch/mean", step, trial.mismatch if step == 2 else 1e-7),
            ]
        if step % EVERY == 0:
            wrong = 40 + (trial.wrong_length - 40) * done + (trial.seed if step else 0)
            rows += [
                ("eval/accuracy", step, float(level)),
                ("eval/kl", step, 0.08 * done + 0.002 * trial.seed * done),
                ("eval/entropy", step, 0.5 - 0.3 * done),
                ("eval/response_length/mean", step, 23.4 + 14 * done),
                ("eval/response_length/right", step, 28 + 5 * done + 0.2 * trial.seed * done),
                ("eval/response_length/wrong", step, wrong),
                ("eval/truncated", step, 0.06 * done),
                ("eval/error_rate", step, 0.0),
                ("eval/behaviour/attempts", step, 1.6 + 1.3 * done),
                ("eval/behaviour/give_up_rate", step, 0.51 - 0.47 * done),
                ("eval/behaviour/computed_rightly", step, 0.988 - 0.02 * done),
                ("eval/behaviour/success_per_attempt", step, 0.21 + 0.1 * done),
            ]
        if step in (0, trial.steps):
            rows += [
                ("eval/greedy_accuracy", step, float(level) + 0.08 * (1 - done)),
                ("eval/pass_at_k", step, 0.82 + 0.1 * done),
                ("eval/accuracy_no_early_stop", step, 0.334 + 0.2 + 0.3 * done),
            ]
    return [
        (key, step, value + (trial.shifts.get(key, 0.0) if step else 0.0))
        for key, step, value in rows
        if key != trial.without
    ]


def table(trial: Trial, step: int) -> pd.DataFrame:
    """An evaluation table; some responses try to break Markdown and HTML."""
    right = np.arange(ITEMS) % 4 != 0
    return pd.DataFrame(
        {
            "item": np.arange(ITEMS),
            "problem": [f"{i % 9 + 1},8,3->{i}" for i in range(ITEMS)],
            "difficulty": np.arange(ITEMS) % 3,
            "prompt": [f"Q{i % 9 + 1} 8 3={i}?" for i in range(ITEMS)],
            "response": [
                f"7-8=-1+3=2;7+8=15-3=12; {step} {trial.variant} <script>alert({i})</script> ```|"
                for i in range(ITEMS)
            ],
            "correct": right,
            "length": np.where(right, 32, 96),
            "truncated": ~right,
        }
    )


# Accuracies of seeds 0, 1, 2. grpo - reinforce = .880 - .810 = +.070.
REINFORCE = [0.80, 0.81, 0.82]
GRPO = [0.87, 0.88, 0.89]


def arms(extra: list[Trial]) -> list[Trial]:
    """Three finished seeds of two variants, and then what else was planned."""
    base = [Trial("reinforce", s, a, wrong_length=70) for s, a in enumerate(REINFORCE)]
    other = [
        Trial("grpo", s, a, wrong_length=80, tokens_per_step=10_500) for s, a in enumerate(GRPO)
    ]
    return [trial for pair in zip(base, other, strict=True) for trial in pair] + extra


PREDICTIONS = [
    prediction(Relation.GREATER, "eval/accuracy", 0.02),
    prediction(Relation.LESS, "eval/response_length/wrong", 0.0),
    prediction(Relation.EQUAL, "eval/kl", 0.01),
    prediction(Relation.EQUAL, "eval/accuracy", 0.05),
]
FULL = Plan(
    "std_normalisation",
    arms([Trial("reinforce", 3, 0.5, status="FAILED"), Trial("grpo", 3, 0.5, status=None)]),
    PREDICTIONS,
)
SOUND = Plan("sound", arms([]), PREDICTIONS)
LENGTH_BIAS = Plan(
    "length_bias",
    [
        Trial(variant, seed, accuracy, steps=10)
        for variant, accuracies in (("grpo", REINFORCE), ("dr_grpo", GRPO))
        for seed, accuracy in enumerate(accuracies)
    ],
    [
        Prediction("eval/accuracy", "dr_grpo", Relation.GREATER, "grpo", "a reason", 0.02),
        Prediction("eval/kl", "dr_grpo", Relation.EQUAL, "grpo", "another", 0.01),
    ],
)
SINGLE = Plan("one_variant", [Trial("grpo", s, a) for s, a in enumerate(GRPO[:2])])
DEAD = Plan(
    "all_failed",
    [Trial("reinforce", 0, 0.5, status="KILLED"), Trial("grpo", 0, 0.5, status=None)],
)

RATE = "trainer.optimizer.learning_rate"
# Two attempts of 12 trials; 300 of 480 updates were spent.
GRPO_TUNED = Tuned(
    variant="grpo",
    space={RATE: "tag(log,interval(1e-4,1e-2))"},
    values={RATE: "0.0012"},
    winner=7,
    trial="grpo__s40__abababab",
    result=0.912,
    trials=24,
    finished=9,
    stopped=15,
    failed=0,
    repeated=0,
    ceiling=["20 updates"],
    updates=300.0,
    tokens=2_700_000.0,
    seeds=[40, 41],
    searcher="TPE, 4 at once",
    scheduler="ASHA, from 0.2 of the budget, 1 in 2 goes on",
    attempts=2,
    seal="5" * 64,
    code_hash="e" * 64,
    command="harness -m +ablation=sound sweep.stage=tune",
)
BASE_TUNED = dataclasses.replace(
    GRPO_TUNED, variant="reinforce", values={RATE: "0.0003"}, updates=310.0
)
