"""`python -m harness.evaluate CHECKPOINT [KEY=VALUE ...]`: measure a checkpoint, held out.

The task and the sampling are those of the checkpoint's trial unless the command line says
otherwise. With prompt='TEXT' it prints samples for that prompt instead, graded where the task
knows the prompt's answer. What a stored config would import or read beyond the harness's own is
named first, and needs trust=true or a yes at the terminal.
"""

import dataclasses
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.cli import EXIT_TRIALS_FAILED, EXIT_USER_ERROR, composed
from harness.commands import trust as received
from harness.config import TrialConfig
from harness.distributed.ranks import ALONE
from harness.distributed.sharding import Layout
from harness.errors import ConfigError, HarnessError
from harness.launch import in_group
from harness.learner.policy import Policy
from harness.machine import digests, terminal
from harness.measure.evaluation import Evaluator
from harness.preflight import check_context, evaluation_sampling, read
from harness.rollout.engine import Request, Stream
from harness.rollout.grading import Grader
from harness.schema import Metric
from harness.tasks import sets
from harness.tracking.record import CONFIG as CONFIG_FILE
from harness.trial import declared_metrics
from harness.typed import TARGET, import_path, typed
from harness.types import Grade, Prompt, Rollout

# What is kept of a checkpoint's trial, each with what such a plug-in has.
MEASURED = {"task": "held_out", "rollout": "engine"}
# Samples that are shown for one prompt.
SHOWN_SAMPLES = 8


def config_of(checkpoint: Path, overrides: Sequence[str], trust: bool = False) -> TrialConfig:
    """The config under which a checkpoint is measured: its trial's, changed by the overrides.

    Args:
        trust: whether the stored config may name other code and files than the harness's own.

    Raises:
        ConfigError: no such checkpoint, a damaged one, one that leads out of its folder or would
            do what nobody allowed, or a wrong override.
    """
    if not (checkpoint / "config.json").is_file():
        raise ConfigError(
            f"{str(checkpoint)!r} is no checkpoint; give a folder such as "
            f"runs/checkpoints/TRIAL/final"
        )
    checkpoint = checkpoint.resolve()
    received.check_folder(checkpoint)
    _check_whole(checkpoint)
    config = composed(
        ["model=hf", f"model.path={_quoted(checkpoint)}", "tracking=none", *overrides]
    )
    written = checkpoint.parent / CONFIG_FILE
    changed = {re.split(r"\W", o.lstrip("+"), maxsplit=1)[0] for o in overrides}
    groups = [group for group in MEASURED if group not in changed]
    if not groups or not written.is_file():
        return config
    nodes = received.stored(written, groups)
    received.ask(received.demands(nodes, checkpoint.parent), written, trust)
    config = dataclasses.replace(config, **{group: _own(nodes, group) for group in groups})
    return dataclasses.replace(config, rollout=config.rollout.alone())


def _own(nodes: Mapping[str, Any], group: str) -> Any:
    """The plug-in that a trial's config holds."""
    made = typed(nodes[group], group)
    if not hasattr(made, MEASURED[group]):
        raise ConfigError(
            f"{group}.{TARGET}: {import_path(type(made))} is no {group}; name one: {group}=NAME"
        )
    return made


def _check_whole(checkpoint: Path) -> None:
    """Refuse what is not what a trial has written."""
    reason = digests.damage(checkpoint, ()) if (checkpoint / digests.DIGESTS).exists() else None
    if reason:
        raise ConfigError(
            f"{str(checkpoint)!r} is damaged: {reason}; the trial's command writes it again"
        )


def _quoted(path: Path) -> str:
    """As Hydra reads it whatever the folder's name."""
    return "'" + str(path).replace("\\", "\\\\").replace("'", "\\'") + "'"


def evaluator_of(config: TrialConfig, prompts: Sequence[Prompt]) -> Evaluator:
    """An evaluator of the model that a config names; `prompts` are all that it will sample for."""
    config.model.check(config.task)
    source = config.model.prepare(config.task, config.runs)
    layout = Layout(config.trainer.token_budget, device=config.trainer.device)
    policy, device = Policy(source.model(), config.rollout.temperature, layout), layout.device.value
    config.rollout.check(source, ALONE.count, device)
    return Evaluator(
        engine=config.rollout.engine(source, source.tokens, prompts, device, ALONE),
        rollout=config.rollout,
        task=config.task,
        grader=Grader(task=config.task, limits=config.grading, folder=Path(config.runs)),
        policy=policy,
        reference=policy,
        temperature=config.evaluation.temperature,
        pass_k=config.evaluation.pass_k,
        seed=config.seed,
    )


def measured(config: TrialConfig) -> dict[str, float]:
    """All held-out metrics of a checkpoint but its distance from a base, which it does not know."""
    source = config.model.prepare(config.task, config.runs)
    check_context(config, source, read(config, source))
    evaluator = evaluator_of(config, config.task.held_out())
    metrics, _ = evaluator.sampled(step=0)
    if config.evaluation.pass_k:
        metrics |= evaluator.at_an_end(step=0)
    return {key: value for key, value in metrics.items() if key != "eval/kl"}


def sampled(config: TrialConfig, text: str) -> tuple[Rollout, Sequence[Grade | None]]:
    """Samples for one prompt, and their grades; None each when the task does not know it."""
    known = [p for p in (*config.task.held_out(), *config.task.pool()) if p.text == text]
    stranger = Prompt(text=text, item=0, problem=text, difficulty=0, answer=None)
    prompt = known[0] if known else stranger
    evaluator = evaluator_of(config, [prompt])
    sampling = config.rollout.sampling(config.rollout.max_new_tokens, config.evaluation.temperature)
    request = Request(prompt=prompt, items=tuple(range(SHOWN_SAMPLES)))
    stream = Stream(seed=config.seed, name="prompt", step=0)
    rollout = evaluator.engine.generate([request], sampling, stream)
    return rollout, evaluator.grader(rollout) if known else [None] * SHOWN_SAMPLES


def main() -> int:
    """Run the command; returns the exit code."""
    arguments = sys.argv[1:]
    text = next((a.removeprefix("prompt=") for a in arguments if a.startswith("prompt=")), None)
    trust = "trust=true" in arguments
    overrides = [a for a in arguments[1:] if not a.startswith(("prompt=", "trust="))]
    console = terminal.console()
    try:
        if not arguments or "=" in arguments[0]:
            raise ConfigError(
                "name a checkpoint: python -m harness.evaluate runs/checkpoints/TRIAL/final"
            )
        config = config_of(Path(arguments[0]), overrides, trust)
        with in_group(config, None, 0):
            _answer(console, config, text)
    except ConfigError as error:
        terminal.complain(error)
        return EXIT_USER_ERROR
    except HarnessError as error:
        terminal.complain(error)
        return EXIT_TRIALS_FAILED
    return 0


def _answer(console: Console, config: TrialConfig, text: str | None) -> None:
    if text is not None:
        _show(console, config, text)
        return
    console.print(_table(measured(config), declared_metrics(config)))
    console.print(f"held-out set {sets.digest(config.task.held_out())[:16]}")
    console.print(f"decoding {dataclasses.asdict(evaluation_sampling(config))}")


def _table(metrics: dict[str, float], declared: Mapping[str, Metric]) -> Table:
    table = Table("metric", "value", "meaning")
    for key, value in metrics.items():
        table.add_row(key, f"{value:.3f}", declared[key].meaning)
    return table


def _show(console: Console, config: TrialConfig, text: str) -> None:
    rollout, grades = sampled(config, text)
    for grade, response, finished in zip(
        grades, rollout.texts, rollout.finished_B.tolist(), strict=True
    ):
        verdict = "no grade" if grade is None else ("correct" if grade.correct else "wrong")
        console.print(f"[{verdict}{'' if finished else ', truncated'}]")
        console.print("  " + response.replace("\n", "\n  "))
