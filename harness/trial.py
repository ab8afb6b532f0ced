"""From a typed config to a finished trial: the one place where everything is assembled."""

import copy
import dataclasses
import json
import logging
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch

from harness import checkpoint, files, loop, provenance
from harness.config import TrialConfig, digest, resolved, trial_name
from harness.critic import Critic
from harness.evaluation import Evaluator, kinds
from harness.grading import Grader
from harness.kl import KlController, KlInReward
from harness.models.loading import Source
from harness.policy import Policy
from harness.preflight import check_context, check_sampling, evaluation_sampling
from harness.rollout.collect import Collector
from harness.rollout.engine import Engine
from harness.rollout.reference import ReferenceScores
from harness.schema import METRICS, Metric
from harness.tasks import sets
from harness.tracking import Run
from harness.update import Models

# A killed driver's trial lives on for about two seconds; its successor waits for the lock.
LOCK_WAIT_S = 30.0

# The resolved config, beside a trial's checkpoints.
CONFIG_FILE = "trial.json"

Observer = Callable[[int, float, Mapping[str, float]], None]


def prepare(config: TrialConfig) -> tuple[Path, Source]:
    """Check all that can be checked before a trial leaves a trace, and make its base model.

    Raises:
        ConfigError: the runs folder, the task or the model cannot be had.
    """
    check_sampling(config)
    config.task.held_out()
    config.model.check(config.task)
    runs = files.writable_folder(Path(config.runs), "runs")
    source = config.model.prepare(config.task, str(runs))
    check_context(config, source)
    return runs, source


def trial_folder(config: TrialConfig) -> Path:
    """Where a trial's checkpoints, lock and log are."""
    return Path(config.runs).expanduser().absolute() / "checkpoints" / trial_name(config)


def clear(config: TrialConfig) -> None:
    """Throw away what a trial has: checkpoints and record."""
    folder = trial_folder(config)
    if folder.exists():
        with files.locked(folder / "lock", LOCK_WAIT_S):
            for path in folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != "lock":  # others may be waiting for this very file
                    path.unlink()
    if (folder.parents[1] / "mlflow.db").exists():
        config.tracking.forget(config, folder.parents[1])


def run_trial(config: TrialConfig, observe: Observer) -> dict[str, float]:
    """Run a trial to its end, from its newest checkpoint if it has one.

    Args:
        config: the trial.
        observe: called after every recorded step with step, used share of the budget and metrics.

    Returns:
        Metrics of the last step.

    Raises:
        ConfigError: the request cannot be run; nothing was written.
    """
    folder = trial_folder(config)
    finished = checkpoint.final_result(folder)
    if finished is not None:
        config.tracking.settle(config, folder.parents[1])
        return finished
    torch.set_num_threads(config.trainer.threads)
    runs, source = prepare(config)
    facts = _facts(config, source)
    config.tracking.prepare(config, runs)
    with files.locked(folder / "lock", LOCK_WAIT_S), _log_file(folder), _terminable():
        finished = checkpoint.final_result(folder)  # another process may just have done it
        if finished is not None:
            return finished
        (folder / CONFIG_FILE).write_text(json.dumps(resolved(config), indent=1))
        with config.tracking.run(config, runs, facts) as run:
            run.text("prompt.txt", config.task.held_out()[0].text)
            parts = assemble(config, source, folder, run, observe)
            with closing(parts.engine):
                loop.resume(parts)
                return loop.train(parts)


def assemble(
    config: TrialConfig, source: Source, folder: Path, run: Run, observe: Observer
) -> loop.Parts:
    """The parts of a trial, each built from its own piece of the config."""
    tokenizer = source.load_tokenizer()
    pool, held_out = config.task.pool(), config.task.held_out()
    engine = config.rollout.engine(source, tokenizer, pool + held_out)
    models = _models(config, source)
    grader = Grader(task=config.task, limits=config.grading, folder=folder)
    evaluator = Evaluator(
        engine=engine,
        rollout=config.rollout,
        task=config.task,
        grader=grader,
        policy=models.policy,
        reference=models.reference,
        temperature=config.evaluation.temperature,
        pass_k=config.evaluation.pass_k,
        seed=config.seed,
    )
    return loop.Parts(
        config=config,
        pool=pool,
        engine=engine,
        models=models,
        tokenizer=tokenizer,
        collector=_collector(config, source, engine, grader, models),
        evaluator=evaluator,
        window=copy.deepcopy(config.window),  # controllers move; a config stays as it is
        curriculum=copy.deepcopy(config.curriculum),
        kl=KlController(getattr(config.algorithm, "kl", None) or KlInReward()),
        run=run,
        folder=folder,
        declared=declared_metrics(config),
        observe=observe,
    )


def _models(config: TrialConfig, source: Source) -> Models:
    """What is trained, from the base model, and the base itself."""
    settings = (config.rollout.temperature, config.trainer.token_budget)
    policy = Policy(source.model(), *settings, optimizer=config.trainer.optimizer)
    return Models(
        policy=policy,
        reference=Policy(source.model(), *settings),
        critic=_critic(config, source, policy),
        importance_cap=config.trainer.importance_cap,
    )


def _collector(
    config: TrialConfig, source: Source, engine: Engine, grader: Grader, models: Models
) -> Collector:
    """What carries out rollout plans, and keeps the base's own responses."""
    depends_on = {
        "model": source.hash,
        "task": config.task.digest,
        "reward": resolved(config.reward),
        "sampling": dataclasses.asdict(config.rollout.sampling(config.rollout.max_new_tokens)),
    }
    reference = ReferenceScores(
        engine=engine,
        rollout=config.rollout,
        grader=grader,
        reward=config.reward,
        base_weights=models.reference.weights,
        policy_weights=models.policy.weights,
        folder=Path(config.runs).expanduser().absolute() / "reference_scores",
        identity=digest(depends_on)[:16],
    )
    return Collector(
        engine=engine,
        rollout=config.rollout,
        grader=grader,
        reward=config.reward,
        reference=reference,
        seed=config.seed,
    )


def _critic(config: TrialConfig, source: Source, policy: Policy) -> Critic | None:
    """The critic of an algorithm that reads values."""
    settings = getattr(config.algorithm, "critic", None)
    if settings is None:
        return None
    if settings.shared:
        backbone = policy.model.base_model
    else:
        path = source if settings.path is None else dataclasses.replace(source, path=settings.path)
        backbone = path.model().base_model
    rate = settings.learning_rate or config.trainer.optimizer.learning_rate
    optimizer = dataclasses.replace(config.trainer.optimizer, learning_rate=rate)
    return Critic(backbone, settings.shared, config.trainer.token_budget, optimizer)


def declared_metrics(config: TrialConfig) -> dict[str, Metric]:
    """The core's metrics and those that the plug-ins declare in `METRICS`."""
    plugins = (
        *(config.algorithm, config.reward, config.window, config.curriculum, config.task),
        *(KlController, ReferenceScores),
    )
    own = [getattr(plugin, "METRICS", {}) for plugin in plugins]
    own.append(kinds(config.task.held_out()))
    return {key: metric for metrics in (METRICS, *own) for key, metric in metrics.items()}


def _facts(config: TrialConfig, source: Source) -> dict[str, str]:
    """What a record must say about where its numbers come from."""
    commit, dirty = provenance.git_state()
    return {
        "git_commit": commit,
        "git_dirty": str(dirty).lower(),
        "code_hash": provenance.code_hash(),
        "model_hash": source.hash,
        "task_digest": config.task.digest,
        "eval_digest": sets.digest(config.task.held_out()),
        "template_hash": digest(resolved(getattr(config.task, "template", None)))[:16],
        "decoding": json.dumps(dataclasses.asdict(evaluation_sampling(config))),
        "threads": str(config.trainer.threads),
        "torch": torch.__version__,
    }


@contextmanager
def _log_file(folder: Path) -> Iterator[None]:
    """Everything that is logged goes to the trial's plain log file."""
    handler = logging.FileHandler(folder / "trial.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("harness")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.info("process %d starts", os.getpid())
    try:
        yield
    except Exception:
        logger.exception("the trial failed")
        raise
    finally:
        logger.removeHandler(handler)
        handler.close()


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the trial as Ctrl-C does, so that its record gets the right status."""
    try:
        before = signal.signal(signal.SIGTERM, _exit)
    except ValueError:  # not the main thread: the scheduler ends this trial in its own way
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit(number: int, frame: Any) -> None:
    sys.exit(128 + number)
