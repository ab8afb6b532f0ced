"""From a typed config to a finished trial: the one place where everything is assembled."""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path

from harness import loop, preflight, standing
from harness.config import TrialConfig, digest, resolved, trial_name
from harness.distributed.ranks import Ranks
from harness.distributed.sharding import Layout, computed_in
from harness.errors import ConfigError, ContractError, GraderError
from harness.facts import declared_metrics, facts, shared_base
from harness.identity import code_now, code_of
from harness.kl import KlController, KlInReward
from harness.learner.critic import Critic
from harness.learner.policy import Policy
from harness.learner.scorer import check_head
from harness.learner.sync import Synced
from harness.learner.update import Models
from harness.machine import files, heap
from harness.machine.process import log_file, log_name, terminable
from harness.machine.progress import Unit, Wait, waiting
from harness.machine.stall import guarded
from harness.measure.collapse import Lookout
from harness.measure.evaluation import Evaluator
from harness.models.loading import Source
from harness.models.tokens import Tokens
from harness.rehearsal import rehearse
from harness.rollout.collect import Collector
from harness.rollout.grading import Grader
from harness.rollout.reference import ReferenceScores
from harness.rollout.spread import Spread
from harness.schema import check_names
from harness.tracking import Run
from harness.tracking.listening import listening
from harness.tracking.record import IDENTITY, LOCK, RECORD
from harness.tracking.recording import NoRun, recording
from harness.types import Prompt

# A killed driver's trial lives on for about two seconds; its successor waits for the lock.
LOCK_WAIT_S = 30.0

Observer = Callable[[int, float, Mapping[str, float]], None]


def prepare(config: TrialConfig) -> tuple[Path, Source]:
    """Check all that can be checked before a trial leaves a trace, and make its base model.

    Raises:
        ConfigError: the runs folder, the task or the model cannot be had.
    """
    check(config)
    return made(config)


def made(config: TrialConfig) -> tuple[Path, Source]:
    """Make the base model of a trial that is checked, which may take minutes.

    Raises:
        ConfigError: the runs folder or the model cannot be had.
    """
    runs = files.writable_folder(Path(config.runs), "runs")
    source = config.model.prepare(config.task, str(runs))
    preflight.check_with(config, source)
    return runs, source


def looked_at(config: TrialConfig) -> Source | None:
    """The base model after the same checks, or None while it is to be made; nothing is written.

    Raises:
        ConfigError: as `prepare`.
    """
    check(config)
    source: Source | None = config.model.made(config.task, config.runs)
    if source is not None:
        preflight.check_with(config, source)
    return source


def check(config: TrialConfig) -> None:
    """All that can be checked without a base model; nothing is written.

    Nothing was made yet, so that a plug-in's fault is the request's.

    Raises:
        ConfigError: a setting is wrong, or a plug-in that the config names does not do its part.
    """
    try:
        preflight.check(config)
        check_names(declared_metrics(config))
        rehearse(config)
    except (ContractError, GraderError) as error:
        raise ConfigError(str(error)) from error


def trial_folder(config: TrialConfig) -> Path:
    """Where a trial's checkpoints, lock and log are."""
    return Path(config.runs).expanduser().absolute() / "checkpoints" / trial_name(config)


def clear(config: TrialConfig) -> None:
    """Throw away what a trial has: checkpoints and record; its next copy replaces the old one."""
    folder = trial_folder(config)
    if folder.exists():
        with files.locked(folder / LOCK, LOCK_WAIT_S):
            # The record goes last: what is left by a kill is still known for what it is. The lock
            # stays: others may be waiting for this very file.
            for path in sorted(folder.iterdir(), key=lambda p: p.name in (RECORD, IDENTITY)):
                if path.name != LOCK:
                    files.remove(path)


def run_rank(config: TrialConfig, observe: Observer, ranks: Ranks) -> dict[str, float]:
    """Run one rank of a trial to its end, from its newest checkpoint if it has one.

    Only the first rank holds the trial's lock, writes its record and observes.

    Args:
        config: the trial.
        observe: called after every recorded step with step, used share of the budget and metrics.
        ranks: this one, of `trainer.ranks`.

    Returns:
        Metrics of the last step.

    Raises:
        ConfigError: the request cannot be run; nothing was written.
    """
    folder = trial_folder(config)
    preflight.settle(config)
    imported = code_now(config)
    runs, source = prepare(config)
    if ranks.first:
        config.tracking.prepare(runs, standing.names(config).experiment)
    with _written_by_one(folder, ranks), log_file(folder, ranks), terminable():
        done = ranks.agreed(
            standing.entered(config, source, folder, imported) if ranks.first else None
        )
        if done is not None:
            return done
        with (
            _record(config, source, runs, folder, ranks) as run,
            guarded(config.guard.stall_seconds, run.stop, folder / log_name(ranks)),
        ):
            seen = observe if ranks.first else _nothing
            parts = assemble(config, source, imported, folder, run, seen, ranks)
            sleeps = config.rollout.cache_bytes is not None
            with closing(parts.engine), closing(parts.collector.grader), heap.settled(sleeps):
                loop.resume(parts)
                result = loop.train(parts)
                run.finish()  # before anything is closed, which takes a while
                return result


def assemble(
    config: TrialConfig,
    source: Source,
    imported: Mapping[str, str],
    folder: Path,
    run: Run,
    observe: Observer,
    ranks: Ranks,
) -> loop.Parts:
    """The parts of a trial, each of its own piece of the config; `imported`: its code's digests."""
    pool, held_out = config.task.pool(), config.task.held_out()
    sampler = dataclasses.replace(source, dtype=computed_in(config.trainer.sharding, source.dtype))
    grader = Grader(task=config.task, limits=config.grading, folder=folder, ranks=ranks)
    grader.start()  # it imports the task while the models are loaded
    with _loading(config, source):
        started = _engines(config, sampler, source.tokens, pool + held_out, ranks)
        models = _models(config, source, ranks)
    engine = Synced(started, models.policy, sampler.dtype, config.rollout, pool)
    measured = (engine, grader, models.policy, models.reference)
    kept = shared_base(config, source, imported, folder, run, ranks)
    return loop.Parts(
        config=config,
        pool=pool,
        engine=engine,
        models=models,
        tokens=source.tokens,
        collector=_collector(config, source, engine, grader, models),
        evaluator=Evaluator.of(config, *measured, kept=kept),
        window=copy.deepcopy(config.window),  # controllers move; a config stays as it is
        curriculum=copy.deepcopy(config.curriculum),
        kl=KlController(getattr(config.algorithm, "kl", None) or KlInReward()),
        run=run,
        lookout=Lookout(config.guard, run),
        folder=folder,
        declared=declared_metrics(config),
        observe=observe,
    )


def _loading(config: TrialConfig, source: Source) -> AbstractContextManager[Wait]:
    """The wait for the models of engine, policy, reference and critic."""
    critic = getattr(config.algorithm, "critic", None)
    copies = 3 + (critic is not None and not critic.shared)
    return waiting(Unit.COPIES, "loading", f"{source.path}, {copies} copies", copies)


def _engines(
    config: TrialConfig, source: Source, tokens: Tokens, prompts: Sequence[Prompt], ranks: Ranks
) -> Spread:
    """This rank's engine, as one of all; it comes before the models: vLLM wants to be first."""
    own = config.rollout.engine(source, tokens, prompts, config.trainer.device.value, ranks)
    return Spread(own, ranks, config.rollout.engine_ranks)


def _models(config: TrialConfig, source: Source, ranks: Ranks) -> Models:
    """What is trained, from the base model, and the base itself, kept in the type of its passes."""
    trainer, temperature = config.trainer, config.rollout.temperature
    layout = Layout(trainer.token_budget, trainer.sharding, trainer.device, ranks)
    frozen = dataclasses.replace(source, dtype=computed_in(trainer.sharding, source.dtype))
    settings = getattr(config.algorithm, "critic", None)
    shared = settings is not None and settings.shared
    check_head(base := source.model(), source.path)
    policy = Policy(base, temperature, layout, trainer.optimizer, values=shared)
    critic = None
    if settings is not None:
        rate = settings.learning_rate or trainer.optimizer.learning_rate
        optimizer = dataclasses.replace(trainer.optimizer, learning_rate=rate)
        own = source if settings.path is None else source.at(settings.path)
        critic = Critic(policy if shared else own.model(), layout, optimizer, settings.warmup)
    return Models(
        policy=policy,
        reference=Policy(frozen.model(), temperature, layout),
        critic=critic,
        importance_cap=trainer.importance_cap,
        old=trainer.old_logprobs,
    )


def _collector(
    config: TrialConfig, source: Source, engine: Synced, grader: Grader, models: Models
) -> Collector:
    """What carries out rollout plans, and keeps the base's own responses."""
    depends_on = {
        "model": source.hash,
        "task": config.task.digest,
        "reward": resolved(config.reward),
        "code": code_of([config.task, config.reward, config.rollout], ReferenceScores.__module__),
        "sampling": dataclasses.asdict(config.rollout.sampling(config.rollout.max_new_tokens)),
    }
    reference = ReferenceScores(
        engine=engine,
        rollout=config.rollout,
        grader=grader,
        reward=config.reward,
        to_base=partial(engine.load, models.reference),
        to_policy=partial(engine.load, models.policy),
        folder=Path(config.runs).expanduser().absolute() / "reference_scores",
        identity=digest(depends_on)[:16],
        ranks=models.policy.layout.ranks,
    )
    return Collector(
        engine=engine,
        rollout=config.rollout,
        grader=grader,
        reward=config.reward,
        reference=reference,
        seed=config.seed,
        ahead=config.trainer.reference_ahead,
    )


@contextmanager
def _written_by_one(folder: Path, ranks: Ranks) -> Iterator[None]:
    """The trial's lock, held by its first rank while the others work."""
    with files.locked(folder / LOCK, LOCK_WAIT_S) if ranks.first else nullcontext():
        ranks.agreed(None)
        yield


@contextmanager
def _record(
    config: TrialConfig, source: Source, runs: Path, folder: Path, ranks: Ranks
) -> Iterator[Run]:
    """The first rank's record of the trial; the others' records keep nothing."""
    if not ranks.first:
        yield NoRun()
        return
    known, names = facts(config, source), standing.names(config)
    told = listening(config.listeners, folder, runs, names)
    with told, recording(folder, runs, config.tracking, names, known, config.labels.seal) as run:
        first, tokens = config.task.held_out()[0].text, source.tokens
        run.writer.text("prompt.txt", first)
        run.writer.text("prompt_tokens.txt", tokens.shown(tokens.ids([first])[0]))
        yield run


def _nothing(*seen: object) -> None:
    """Nobody watches the other ranks."""
