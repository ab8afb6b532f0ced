"""The training loop: one street, one direction.

prompts -> rollout -> reward -> advantage -> batch -> loss -> update -> metrics
"""

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.config import Budget, BudgetUnit, TrialConfig
from harness.contract import planned, told, windowed
from harness.distributed.ranks import Ranks
from harness.errors import CheckpointError
from harness.kl import KlController
from harness.learner import checkpoint
from harness.learner.batching import batches
from harness.learner.columns import compared, joined
from harness.learner.sync import Synced
from harness.learner.update import Models, estimates, update
from harness.machine.clock import IMPORTED_S
from harness.machine.progress import Unit, waiting
from harness.machine.stall import within
from harness.maths.tensor_ops import on_last_token
from harness.measure.collapse import Lookout
from harness.measure.evaluation import Evaluator
from harness.models.tokens import Tokens
from harness.protocols import Controller, Curriculum, Window
from harness.rollout.collect import Collector, Draw
from harness.rollout.metrics import Clock, mean_of, step_metrics
from harness.schema import Metric, check_declared, check_finite
from harness.tracking import Run
from harness.types import Batch, Outcome, Prompt, Scores

log = logging.getLogger(__name__)

# Fractions such as 0.6 / 0.2 fall a rounding short of the whole number that is meant.
ROUNDING = 1e-9


@dataclass
class State:
    """Counters: with the policy and the controllers, all that the next step depends on."""

    step: int = 0
    updates: int = 0
    tokens: int = 0
    prompts: int = 0
    seconds: float = 0.0
    best: float = -1.0

    def progress(self, budget: Budget) -> float:
        """Used share of the budget, at most 1."""
        used = {
            BudgetUnit.UPDATES: self.updates,
            BudgetUnit.TOKENS: self.tokens,
            BudgetUnit.PROMPTS: self.prompts,
            BudgetUnit.SECONDS: self.seconds,
        }[budget.unit]
        return min(1.0, used / budget.amount)

    def metrics(self, pool: int) -> dict[str, float]:
        """The x axes that every metric can be plotted against."""
        return {
            "budget/updates": self.updates,
            "budget/tokens": self.tokens,
            "budget/prompts": self.prompts,
            "budget/seconds": self.seconds,
            "training/global_step": self.step,
            "training/epoch": self.prompts / pool,
        }


@dataclass(kw_only=True)
class Parts:
    """What a trial is assembled of."""

    config: TrialConfig
    pool: tuple[Prompt, ...]
    engine: Synced
    models: Models
    tokens: Tokens
    collector: Collector
    evaluator: Evaluator
    window: Window
    curriculum: Curriculum
    kl: KlController
    run: Run
    lookout: Lookout
    folder: Path
    declared: Mapping[str, Metric]
    observe: Callable[[int, float, Mapping[str, float]], None]
    state: State = field(default_factory=State)

    @property
    def controllers(self) -> tuple[Controller, ...]:
        """Everything that is told what a step did."""
        return (self.window, self.curriculum, self.kl)


def train(parts: Parts) -> dict[str, float]:
    """Spend the budget; returns the metrics of the last step."""
    config, state, models = parts.config, parts.state, parts.models
    algorithm, trainer, seed = config.algorithm, config.trainer, config.seed
    metrics: dict[str, float] = {}
    if state.step == 0:
        metrics = {"timing_s/start": time.monotonic() - IMPORTED_S}
        metrics |= _evaluated(parts, Clock())
        _record(parts, metrics)
    while (progress := state.progress(config.budget)) < 1:
        clock = Clock()
        window = windowed(parts.window, seed)
        plan = planned(algorithm, progress)
        draw = Draw(parts.curriculum, parts.pool, seed, progress)
        sampled = parts.collector(draw, trainer.prompts_per_step, plan, window, state.step, clock)
        rollout = sampled.rollout
        size = len(rollout.texts)
        cut = batches(size, trainer.epochs, trainer.mini_batches, seed, state.step)
        parts.engine.sleep()
        with clock("old_log_prob"):
            known = models.annotated(rollout, algorithm.columns, cut[0])
            batch = Batch(
                group_B=rollout.group_B,
                mask_BT=rollout.mask_BT,
                rewards_BT=_on_tokens(sampled.scores, rollout.mask_BT),
                budget=config.rollout.max_new_tokens,
                columns=joined(known, sampled.columns),
                progress=progress,
                kl_coefficient=parts.kl.coefficient,
            )
        with clock("adv"):
            batch, advantages_BT, estimated = estimates(algorithm, batch)
        wait = waiting(Unit.RESPONSES, "learning", f"from {size} responses", size * trainer.epochs)
        with clock("update_actor"), wait:
            updates = [
                update(models, algorithm, rollout, batch, advantages_BT, rows_b) for rows_b in cut
            ]
            models.forget()
        metrics = step_metrics(sampled, batch, advantages_BT, window, compared(batch))
        trainer.mismatch.check(metrics)
        state.step += 1
        with clock("update_weights"):
            sample = state.step % trainer.check_sync_every == 0
            synced = parts.engine.load(models.policy, sample)
        state.updates += len(updates)
        state.tokens += sampled.tokens
        state.prompts += sampled.prompts
        state.seconds += models.policy.layout.ranks.agreed(clock.elapsed())
        reached = state.progress(config.budget)
        metrics |= {**estimated, **mean_of(updates), **synced}
        outcome = Outcome(
            lengths_B=rollout.lengths_B,
            correct_B=sampled.correct_B,
            progress=reached,
            columns=batch.columns,
        )
        for controller in parts.controllers:
            metrics |= told(controller, outcome)
        if _due(progress, reached, config.evaluation.every):
            metrics |= _evaluated(parts, clock)
        metrics |= clock.stages | {
            "timing_s/step": clock.elapsed(),
            "perf/throughput": metrics["perf/total_num_tokens"] / clock.elapsed(),
        }
        _record(parts, metrics)
        parts.lookout(state.step, metrics)
        if _due(progress, reached, trainer.save_every) and reached < 1:
            _save(parts)
    _export(parts, checkpoint.FINAL, metrics)
    log.info("finished after step %d", state.step)
    return metrics


def resume(parts: Parts) -> None:
    """Continue from the newest checkpoint that leads to all others; then the first sync."""
    ranks = parts.models.policy.layout.ranks
    record = ranks.agreed((parts.run.id, parts.run.logged_step))
    found = _found(parts.folder, ranks, *record)
    if found is not None:
        _restore(parts, found)
    parts.engine.load(parts.models.policy)


def _found(folder: Path, ranks: Ranks, record: str, recorded: int) -> checkpoint.Step | None:
    """What to continue from; None: from the beginning. Steps that the record lacks are made again.

    A checkpoint that belongs to no record or to another one is passed over.

    `final` is written at the end of every trial. `best` is written by an evaluation that beats the
    ones before: where it is lost, only a step that knows less than the best leads to it again.
    """
    own = (s for s in checkpoint.steps(folder, ranks) if s.plain.get("record") == record)
    steps = (step for step in own if _counters(step).step <= recorded)
    found = next(steps, None)
    if found is not None:
        known = _counters(found).best
        if lost := checkpoint.lost_best(folder, known, ranks):
            _say_lost(folder / checkpoint.BEST, lost, ranks)
            found = next((step for step in steps if _counters(step).best < known), None)
    if (folder / checkpoint.FINAL).exists():
        lost = checkpoint.damage(folder / checkpoint.FINAL, ranks)
        _say_lost(folder / checkpoint.FINAL, lost, ranks)
    return found


def _say_lost(folder: Path, reason: str | None, ranks: Ranks) -> None:
    if ranks.first and reason:
        log.warning("%s is written again: %s", folder, reason)


def _counters(step: checkpoint.Step) -> State:
    saved = step.plain.get("counters")
    if not isinstance(saved, dict) or saved.keys() != asdict(State()).keys():
        raise _foreign(step)
    if any(type(value) not in (int, float) for value in saved.values()):
        raise _foreign(step)
    return State(**saved)


def _restore(parts: Parts, step: checkpoint.Step) -> None:
    ranks = parts.models.policy.layout.ranks
    parts.state = _counters(step)
    tensors = parts.models.state_dict()
    checkpoint.load(step.path, tensors, ranks)
    parts.models.load_state_dict(tensors)
    try:
        parts.collector.reference.load_state_dict(step.plain["reference_scores"])
        for controller, state in zip(parts.controllers, step.plain["controllers"], strict=True):
            controller.load_state_dict(state)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _foreign(step) from error
    log.info("resumed after step %d", parts.state.step)


def _foreign(step: checkpoint.Step) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {step.path} was not written by such a trial; start over with fresh=true"
    )


def _save(parts: Parts) -> None:
    ranks = parts.models.policy.layout.ranks
    plain = {
        "counters": asdict(parts.state),
        "controllers": [controller.state_dict() for controller in parts.controllers],
        "reference_scores": parts.collector.reference.state_dict(),
        "record": ranks.agreed(parts.run.id),
    }
    folder = parts.folder / f"step_{parts.state.step}"
    with within("saving"):
        checkpoint.save(folder, parts.models.state_dict(), plain, ranks)
    if ranks.first:
        checkpoint.prune(parts.folder, parts.config.trainer.keep_checkpoints, folder)


def _export(parts: Parts, name: str, result: Mapping[str, float] | None = None) -> None:
    folder, policy = parts.folder / name, parts.models.policy
    checkpoint.export(folder, policy, parts.tokens, parts.state.best, result)


def _evaluated(parts: Parts, clock: Clock) -> dict[str, float]:
    """Metrics of an evaluation; keeps the best checkpoint and the per-prompt results."""
    state, config = parts.state, parts.config
    with clock("testing"):
        at_an_end = config.evaluation.pass_k > 0 and state.progress(config.budget) in (0, 1)
        metrics, table = parts.evaluator.measured(state.step, at_an_end)
    parts.run.table(state.step, table)
    if metrics["eval/accuracy"] > state.best:
        state.best = metrics["eval/accuracy"]
        _export(parts, checkpoint.BEST)
    return metrics | clock.stages


def _record(parts: Parts, metrics: dict[str, float]) -> None:
    """Log one step, unless the record has it from before a resume."""
    state = parts.state
    metrics |= state.metrics(len(parts.pool))
    check_declared(metrics, parts.declared)
    check_finite(metrics, parts.declared, state.step)
    log.info("step %d %s", state.step, json.dumps(metrics))
    if state.step > parts.run.logged_step:
        with within("recording"):
            parts.run.log(state.step, metrics)
    parts.observe(state.step, state.progress(parts.config.budget), metrics)


def _due(before: float, after: float, every: float) -> bool:
    """Whether a multiple of `every`, or the end, lies in (before, after]."""
    whole = math.floor(after / every + ROUNDING) > math.floor(before / every + ROUNDING)
    return whole or after >= 1


def _on_tokens(scores: Scores, mask_BT: Any) -> Any:
    """Token-level rewards (B,T): a response's reward goes on its last token."""
    return scores.rewards if scores.rewards.dim() == 2 else on_last_token(scores.rewards, mask_BT)
