"""The tiny base model: 84k parameters that can search but stop too early.

A Qwen2 with a character vocabulary, warmed up by supervised learning on worked responses that the
task writes. It belongs to its recipe, not to `seed`: every trial starts from the same weights,
cached under `runs/models/<recipe hash>` in Hugging Face format.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from harness import checks, config
from harness.errors import ConfigError
from harness.machine import code, files
from harness.machine.progress import Unit, advance, say, waiting
from harness.maths import streams
from harness.models import content, vocabulary
from harness.models.library import transformers
from harness.models.loading import Source
from harness.types import Prompt

# The recipe's own seed: the base is the same for every `seed` of a trial.
RECIPE_SEED = 0
# Traces are sorted by length inside pools of this many batches, so that little is padding.
BUCKET_BATCHES = 16
# Traces that stand for the way a task writes them in the recipe's hash.
FINGERPRINT_TRACES = 256
# Settings of a task that its traces do not depend on, but through its pool.
NOT_WRITING = ("eval_size", "source", "path")
# What decides the base beside the task's traces: how it is made, not how it is kept or shown.
RECIPE_CODE = (__name__, vocabulary.__name__, streams.__name__)
# Label of positions that cross-entropy leaves out.
IGNORED = -100


@runtime_checkable
class WritesTraces(Protocol):
    """A task that the tiny model can be warmed up on."""

    template: Any

    def pool(self) -> tuple[Prompt, ...]:
        """The training prompts."""
        ...

    def traces(self, seed: int, items: range) -> list[tuple[str, str]]:
        """Question and worked response of each item, on pool problems only."""
        ...


@dataclass(frozen=True)
class Architecture:
    """Shape of the tiny Qwen2.

    Attributes:
        hidden: width of the residual stream.
        layers: blocks of attention and MLP.
        heads: of attention, each hidden / heads wide, which is even.
        feed_forward: inner width of the multi-layer perceptrons.
        positions: tokens of the longest sequence.
        rope_theta: base of the rotary embedding's wavelengths.
        initial_std: of the weights before the warm-up.
    """

    hidden: int = 64
    layers: int = 2
    heads: int = 4
    feed_forward: int = 128
    positions: int = 512
    rope_theta: float = 1000.0
    initial_std: float = 0.075

    def __post_init__(self) -> None:
        for name in ("hidden", "layers", "heads", "feed_forward", "positions"):
            checks.at_least(f"model.architecture.{name}", getattr(self, name), 1)
        checks.above("model.architecture.rope_theta", self.rope_theta, 0)
        checks.above("model.architecture.initial_std", self.initial_std, 0)
        if self.hidden % (2 * self.heads):
            raise ConfigError(
                f"model.architecture.heads: rotary heads have an even width, so that twice their "
                f"number must divide model.architecture.hidden={self.hidden}, received {self.heads}"
            )


@dataclass(frozen=True)
class WarmUp:
    """Supervised warm-up: AdamW with a linear start and a cosine to 1 % of the peak.

    Many small steps matter more than tokens: it is where comparing with the target is learnt.
    The loss of a batch is divided by a constant, batch x trace_tokens, and not by its own tokens:
    batches hold traces of one length, and long ones, which compare most often, must not count less.

    Attributes:
        steps: optimizer steps of the warm-up.
        batch: traces of a step.
        learning_rate: the highest that it reaches.
        beta2: AdamW's; beta1 is 0.9.
        start_steps: over which the rate rises to its peak.
        clip: largest norm of the gradient.
        trace_tokens: by which, with `batch`, the loss of a batch is divided.
    """

    steps: int = 4000
    batch: int = 32
    learning_rate: float = 3e-3
    beta2: float = 0.98
    start_steps: int = 40
    clip: float = 1.0
    trace_tokens: int = 24

    def __post_init__(self) -> None:
        checks.at_least("model.warm_up.steps", self.steps, 1)
        checks.at_least("model.warm_up.batch", self.batch, 1)
        checks.at_least("model.warm_up.trace_tokens", self.trace_tokens, 1)
        checks.at_least("model.warm_up.start_steps", self.start_steps, 1)
        checks.above("model.warm_up.learning_rate", self.learning_rate, 0)
        checks.above("model.warm_up.clip", self.clip, 0)
        checks.decay("model.warm_up.beta2", self.beta2)


@dataclass(frozen=True)
class Tiny:
    """Recipe of the tiny base model.

    Attributes:
        architecture: its shape.
        warm_up: its training.
    """

    architecture: Architecture = field(default_factory=Architecture)
    warm_up: WarmUp = field(default_factory=WarmUp)

    def check(self, task: Any) -> None:
        if not isinstance(task, WritesTraces):
            raise ConfigError(
                f"model=tiny is warmed up on traces that the task writes, which "
                f"{type(task).__name__} does not; choose model=hf model.path=..."
            )
        vocabulary.of(task.template, task.traces(RECIPE_SEED, range(FINGERPRINT_TRACES)))

    def prepare(self, task: Any, runs: str) -> Source:
        self.check(task)
        folder = self._folder(task, runs)
        with files.locked(folder.with_suffix(".lock"), wait_s=600):
            if not folder.is_dir():
                if known := getattr(task, "supervised", ""):
                    say(f"model=tiny is warmed up on {known}: they are no news to its training")
                with files.replacing(folder) as temporary:
                    _build(self, task, temporary)
        return _source(folder, runs)

    def made(self, task: Any, runs: str) -> Source | None:
        folder = self._folder(task, runs)
        return _source(folder, runs) if folder.is_dir() else None

    def _folder(self, task: Any, runs: str) -> Path:
        """Named by all that decides the weights: a share a little higher shows in few traces."""
        made_of = code.modules(RECIPE_CODE)
        recipe = config.digest(
            {
                "model": config.resolved(self),
                "task": _writing(config.resolved(task)),
                "pool": [(p.text, str(config.resolved(p.answer))) for p in task.pool()],
                "traces": task.traces(RECIPE_SEED, range(FINGERPRINT_TRACES)),
                "code": {name: made_of[name] for name in RECIPE_CODE},
            }
        )[:16]
        return Path(runs) / "models" / recipe


def _writing(settings: Any) -> Any:
    """A task's settings without those that its traces do not depend on, in its parts as well."""
    if not isinstance(settings, dict):
        return settings
    return {key: _writing(x) for key, x in settings.items() if key not in NOT_WRITING}


def _source(folder: Path, runs: str) -> Source:
    base = str(folder)
    digests = {**content.of_model(base, None, runs), **content.of_tokenizer(base, None, runs)}
    return Source(path=base, tokenizer=base, dtype=torch.float32, attention="sdpa", files=digests)


def _build(recipe: Tiny, task: Any, folder: Path) -> None:
    """Make tokenizer and weights and save both in Hugging Face format."""
    tokenizer = vocabulary.of(task.template, task.traces(RECIPE_SEED, range(FINGERPRINT_TRACES)))
    tokenizer.save_pretrained(folder)
    model = _initial_model(recipe.architecture, len(tokenizer), tokenizer)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in another order would make another base
    try:
        _train(model, recipe.warm_up, _batches(task, tokenizer, recipe.warm_up))
    finally:
        torch.set_num_threads(threads)
    model.save_pretrained(folder)


def _initial_model(shape: Architecture, vocabulary: int, tokenizer: Any) -> Any:
    model = transformers().Qwen2ForCausalLM(
        transformers().Qwen2Config(
            vocab_size=vocabulary,
            hidden_size=shape.hidden,
            intermediate_size=shape.feed_forward,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.heads,
            max_position_embeddings=shape.positions,
            rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
    )
    with torch.no_grad():
        for item, (name, parameter) in enumerate(model.named_parameters()):
            if parameter.dim() > 1:
                u = streams.uniforms(RECIPE_SEED, "tiny/init", 0, [item], parameter.numel())
                normal = torch.from_numpy(ndtri(u[0])).view_as(parameter)
                parameter.copy_(normal * shape.initial_std)
            else:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    return model


def _batches(
    task: WritesTraces, tokenizer: Any, warm_up: WarmUp
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (ids, labels), both (B,L), of the task's traces, bucketed by length."""
    total, bucket = warm_up.steps * warm_up.batch, BUCKET_BATCHES * warm_up.batch
    known: dict[str, list[int]] = {}  # questions come again and again
    for start in range(0, total, bucket):
        traces = task.traces(RECIPE_SEED, range(start, min(start + bucket, total)))
        new = list({question for question, _ in traces} - known.keys())
        known |= zip(new, _ids(tokenizer, new), strict=True)
        questions = [known[question] for question, _ in traces]
        responses = _ids(tokenizer, [response for _, response in traces])
        end = tokenizer.eos_token_id
        rows = [(q, [*response, end]) for q, response in zip(questions, responses, strict=True)]
        rows.sort(key=lambda row: len(row[0]) + len(row[1]))
        batches = [rows[i : i + warm_up.batch] for i in range(0, len(rows), warm_up.batch)]
        for i in streams.permutation(RECIPE_SEED, "tiny/batches", start, len(batches)):
            yield _padded(batches[i], tokenizer.pad_token_id)


def _ids(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Token ids alone: what transformers adds to them takes longer than they do."""
    return [encoded.ids for encoded in tokenizer.backend_tokenizer.encode_batch_fast(texts)]


def _padded(rows: list[tuple[list[int], list[int]]], pad: int) -> tuple[Tensor, Tensor]:
    width = max(len(question) + len(trace) for question, trace in rows)
    tokens, labels = [], []
    for question, trace in rows:
        after = width - len(question) - len(trace)
        tokens.append([*question, *trace, *[pad] * after])
        labels.append([*[IGNORED] * len(question), *trace, *[IGNORED] * after])
    return torch.from_numpy(np.array(tokens)), torch.from_numpy(np.array(labels))


def _train(model: Any, warm_up: WarmUp, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=warm_up.learning_rate,
        betas=(0.9, warm_up.beta2),
        weight_decay=0.0,
        fused=True,
    )
    words = f"the base model, once: {warm_up.steps} steps of warm-up"
    with waiting(Unit.STEPS, "making", words, warm_up.steps):
        for step, (tokens_BL, labels_BL) in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = warm_up.learning_rate * _schedule(step, warm_up)
            logits_BLV = model(input_ids=tokens_BL, use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(
                logits_BLV[:, :-1].flatten(0, 1),
                labels_BL[:, 1:].flatten(),
                ignore_index=IGNORED,
                reduction="sum",
            ) / (warm_up.batch * warm_up.trace_tokens)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(model.parameters(), warm_up.clip)
            optimizer.step()
            advance(Unit.STEPS)


def _schedule(step: int, warm_up: WarmUp) -> float:
    """Linear over the first steps, then a cosine to 1 %."""
    start = min(1.0, (step + 1) / warm_up.start_steps)
    return start * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / warm_up.steps)))
