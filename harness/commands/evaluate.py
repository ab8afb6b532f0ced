"""`python -m harness.evaluate CHECKPOINT [KEY=VALUE ...]`: measure a checkpoint, held out.

Task, decoding, evaluation and seed are those of the checkpoint's trial unless a key says otherwise,
so that `final` repeats its trial's last numbers; so are device, numeric type, sharding and threads,
and one process does what the trial's ranks did.

  prompt='TEXT'                samples for one prompt instead; graded where it is one of the task's
  prompt=3                     the same for the held-out prompt of that number, counted from 0
  samples=64                   samples per prompt of which pass@k is estimated; at least k
  evaluation.pass_k=8          k of pass@k; 0 leaves out all but the one sample per prompt
  evaluation.temperature=0.6   of the samples; greedy accuracy is measured besides
  rollout.top_p=0.95           and every other key of rollout.*: top_k, max_new_tokens, stop, ...
  rollout=vllm                 another engine, with its own defaults
  task=gsm8k task.source=F     another task; accuracy of each difficulty and part is in the table
  task.eval_size=1000          and every other key of task.*
  seed=1                       other random numbers
  trainer.device=cpu           other than the trial's; model.dtype, trainer.threads, ... as well
  json=FILE                    write the results there as well
  tracking=mlflow              and publish them, in the experiment `evaluations` (runs=FOLDER)
  trust=true                   what a received folder's config would import or read is allowed

What a stored config would import or read beyond the harness's own is named first, and needs
trust=true or a yes at the terminal.
"""

import dataclasses
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.cli import EXIT_TRIALS_FAILED, EXIT_USER_ERROR, changed, composed
from harness.commands import results
from harness.commands import trust as received
from harness.commands.alone import alone, evaluator_of
from harness.commands.origin import differing, last_step, unsaid
from harness.config import Evaluation, Grading, TrialConfig
from harness.errors import ConfigError, HarnessError
from harness.facts import declared_metrics
from harness.launch import in_group
from harness.learner.trainer import Trainer
from harness.machine import digests, terminal
from harness.machine.progress import shown_on
from harness.preflight import check_context, read, settle
from harness.rehearsal import rehearse
from harness.rollout.engine import Request, Stream
from harness.schema import Metric
from harness.tracking.none import NoTracking
from harness.tracking.record import CONFIG as CONFIG_FILE
from harness.typed import TARGET, import_path, typed
from harness.types import Grade, Prompt, Rollout
from harness.wording import quoted, unknown

# What is kept of a checkpoint's trial, each with what such a plug-in has.
MEASURED = {"task": "held_out", "rollout": "engine"}
# The same of what is no plug-in, with its class; older trials may lack it.
KEPT = {"evaluation": Evaluation, "grading": Grading, "trainer": Trainer}
# Of the model, what its passes depend on; the trial's base itself is not kept.
KEPT_OF_MODEL = ("dtype", "attention")
# Keys of this command alone.
OWN_KEYS = ("prompt", "samples", "json", "trust")
HELP = ("--help", "-h", "help")
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
    written = checkpoint.parent / CONFIG_FILE
    chosen = {re.split(r"[=/@]", o.lstrip("+"), maxsplit=1)[0] for o in overrides}
    stored = received.mapping(written)
    groups = [group for group in MEASURED if group not in chosen and written.is_file()]
    kept = [key for key in KEPT if key in stored and key not in chosen]
    nodes = received.stored(written, [*groups, *kept]) if groups or kept else {}
    seed = [f"seed={stored['seed']}"] if type(stored.get("seed")) is int else []
    own = [o for o in overrides if re.split(r"[.=]", o.lstrip("+"))[0] in {*groups, *kept}]
    others = [o for o in overrides if o not in own]
    model = received.numeric(stored.get("model"), KEPT_OF_MODEL)
    named = ["model=hf", f"model.path={quoted(checkpoint)}", "tracking=none"]
    config = composed([*named, *seed, *model, *others])
    nodes = changed(nodes, own)
    plug_ins = {group: nodes[group] for group in groups}
    received.ask(received.demands(plug_ins, checkpoint.parent), written, trust)
    made = {key: typed(nodes[key], key, KEPT[key]) for key in kept}
    made |= {group: _own(nodes, group) for group in groups}
    config = dataclasses.replace(config, **made)
    return alone(config)


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


def measured(
    config: TrialConfig, step: int = 0, samples: int | None = None
) -> tuple[dict[str, float], dict[str, list[Any]]]:
    """All held-out metrics of a checkpoint but its distance from a base, and all responses.

    Args:
        step: that names the random numbers (last_step).
        samples: per prompt, of which pass@k is estimated; None: as many as k.

    Raises:
        ConfigError: fewer samples than k.
    """
    k = config.evaluation.pass_k
    if samples is not None and samples < max(1, k):
        raise ConfigError(
            f"samples must be at least evaluation.pass_k={k}, of which pass@k is estimated, "
            f"received {samples}; lower evaluation.pass_k as well, or leave it out with 0"
            if k
            else f"samples must be at least 1, received {samples}"
        )
    rehearse(config)
    source = config.model.prepare(config.task, config.runs)
    check_context(config, source, read(config, source))
    evaluator = evaluator_of(config, config.task.held_out(), samples)
    metrics, table = evaluator.measured(step, at_an_end=config.evaluation.pass_k > 0)
    return {key: value for key, value in metrics.items() if key != "eval/kl"}, table


def sampled(config: TrialConfig, text: str) -> tuple[Rollout, Sequence[Grade | None]]:
    """Samples for one prompt, and their grades; None each when the task does not know it.

    Args:
        text: of the prompt, or the number of a held-out one.
    """
    held_out = config.task.held_out()
    if re.fullmatch(r"[0-9]+", text) and int(text) < len(held_out):
        text = held_out[int(text)].text
    known = [p for p in (*held_out, *config.task.pool()) if p.text == text]
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
    console = terminal.console()
    if any(word in arguments for word in HELP):
        console.print((__doc__ or "").strip())
        return 0
    pairs = dict(a.split("=", 1) for a in arguments if a.split("=", 1)[0] in OWN_KEYS and "=" in a)
    overrides = [a for a in arguments[1:] if a.split("=", 1)[0] not in OWN_KEYS]
    known = [*OWN_KEYS, *(field.name for field in dataclasses.fields(TrialConfig))]
    try:
        for key in (re.split(r"[=./@]", o.lstrip("+~"), maxsplit=1)[0] for o in overrides):
            if key not in known:
                raise ConfigError(unknown("key", key, known))
        if not arguments or "=" in arguments[0] or arguments[0].startswith("-"):
            raise ConfigError(
                "name a checkpoint: python -m harness.evaluate runs/checkpoints/TRIAL/final; "
                "--help lists all keys"
            )
        checkpoint = Path(arguments[0])
        config = config_of(checkpoint, overrides, pairs.get("trust") == "true")
        settle(config)
        for line in (*differing(checkpoint, config), *unsaid(checkpoint, config)):
            terminal.remark(line)
        with in_group(config, None, 0), shown_on(console):
            if "prompt" in pairs:
                _show(console, config, pairs["prompt"])
            else:
                _measure(console, config, checkpoint, pairs)
    except ConfigError as error:
        terminal.complain(error)
        return EXIT_USER_ERROR
    except HarnessError as error:
        terminal.complain(error)
        return EXIT_TRIALS_FAILED
    return 0


def _measure(
    console: Console, config: TrialConfig, checkpoint: Path, pairs: Mapping[str, str]
) -> None:
    """Measure, show, and write down where that is asked for."""
    file = results.checked(pairs.get("json"))
    samples = pairs.get("samples")
    if samples is not None and not re.fullmatch(r"[0-9]+", samples):
        raise ConfigError(f"samples must be a whole number, received {samples!r}")
    count = None if samples is None else int(samples)
    metrics, table = measured(config, last_step(checkpoint), count)
    made = results.Results(checkpoint, config, count, metrics, table)
    console.print(_table(metrics, declared_metrics(config)))
    for name, value in made.facts().items():
        console.print(f"{name}: {value}")
    if file is not None:
        made.write(file)
        console.print(f"written to {file}")
    if not isinstance(config.tracking, NoTracking):
        console.print(f"published from {made.publish()}")


def _table(metrics: dict[str, float], declared: Mapping[str, Metric]) -> Table:
    table = Table("metric", "value", "meaning")
    for key, value in metrics.items():
        table.add_row(key, f"{value:.3f}", declared[key].meaning)
    return table


def _show(console: Console, config: TrialConfig, text: str) -> None:
    count = len(config.task.held_out())
    if re.fullmatch(r"-?[0-9]+", text) and not 0 <= int(text) < count:
        raise ConfigError(
            f"prompt must be a held-out prompt's number, 0 to {count - 1}, or a text, received "
            f"{text}"
        )
    rollout, grades = sampled(config, text)
    console.print(f"prompt: {rollout.prompts[0].text}")
    for grade, response, finished in zip(
        grades, rollout.texts, rollout.finished_B.tolist(), strict=True
    ):
        verdict = "correct" if grade is not None and grade.correct else "wrong"
        if grade is None:
            verdict = "no grade: not one of the task's prompts; prompt=0 is its first held-out one"
        console.print(f"[{verdict}{'' if finished else ', truncated'}]")
        console.print("  " + response.replace("\n", "\n  "))
