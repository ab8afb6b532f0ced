"""Beside Hugging Face TRL's GRPOTrainer: `python -m tests.benchmarks trl [--check] [--size B]`.

Both do the same work in turns, each in a process of its own and in one thread; CPU seconds are
compared, which in one thread are those of the clock on a machine that does nothing else. `--check`
is an oracle from end to end: what TRL samples and scores is recorded, replayed through this
project's batch, loss and update, and both must end with the same weights. Needs
`pip install trl==1.16.0`.
"""

import argparse
import importlib.util
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from harness.algorithms.dr_grpo import DrGrpo
from harness.algorithms.grpo import Grpo
from harness.distributed.sharding import Layout
from harness.learner.columns import OldLogprobs
from harness.learner.optimizer import Optimizer
from harness.learner.policy import Policy
from harness.learner.update import Models, update
from harness.maths.tensor_ops import on_last_token
from harness.models.tokens import Tokens
from harness.rollout.engine import Request, Stream
from harness.rollout.transformers import WIDTH_BLOCK, TransformersEngine
from harness.types import Batch, Prompt, Rollout, Sampling
from tests.benchmarks import turns, work
from tests.benchmarks.verdict import Found, Ratio, quotient
from tests.benchmarks.work import Shape

CHECK_STEPS = 3
"""Generations of the check: 12 optimizer steps."""
SAME, OTHER = 1e-5, 1e-4
"""Largest difference of a weight that is rounding; smallest that another loss makes."""
ALGORITHMS = {
    # TRL adds 1e-4 to the standard deviation.
    "grpo": Grpo(group_size=work.GROUP, std_epsilon=1e-4),
    "dr_grpo": DrGrpo(group_size=work.GROUP),
}
ADAM = Optimizer(learning_rate=work.LEARNING_RATE, beta2=0.999, warmup=0.0)
TOKEN_BUDGET = 2048
QUICK = True
MANY = 10**6
"""Steps of a side that is stopped when its turns are over."""


@dataclass(frozen=True)
class Case:
    """Some work, and by size how many times TRL's responses per second there must be."""

    name: str
    shape: Shape
    least: Mapping[str, float]
    sampler: Mapping[str, float] = field(default_factory=dict)
    """The same with `trainer.old_logprobs=sampler`; none: not measured."""


CASES = (
    Case(
        "all lengths equal",
        Shape(equal=True),
        {"A": 1.40, "B": 1.15},
        {"A": 1.65, "B": 1.35},
    ),
    Case("one update per rollout", Shape(equal=True, updates=1), {"A": 1.40, "B": 1.20}),
    # One token in 40 ends a response: a mean of 38 tokens, 30 % of the budget.
    Case("ragged lengths", Shape(new_tokens=128), {"A": 2.2, "B": 2.2}),
)


@dataclass
class Generation:
    """What TRL sampled in one step, in the order of its optimizer steps."""

    prompts: list[str]
    completions: list[list[int]]
    rewards: list[float]


class Recorder:
    """Rewards completions for TRL, and keeps what its optimizer steps were given."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.steps: list[Generation] = []

    def reward(self, completions: Sequence[str], **_: Any) -> list[float]:
        return [work.reward(text) for text in completions]

    def keep(self, inputs: dict[str, Tensor]) -> None:
        """The rows of one optimizer step."""
        part = Generation([], [], [])
        for name, ids, mask in (
            ("prompts", inputs["prompt_ids"], inputs["prompt_mask"]),
            ("completions", inputs["completion_ids"], inputs["completion_mask"]),
        ):
            rows = [row[kept.bool()].tolist() for row, kept in zip(ids, mask, strict=True)]
            if name == "prompts":
                part.prompts = self.tokenizer.batch_decode(rows)
            else:
                part.completions = rows
        texts = self.tokenizer.batch_decode(part.completions, skip_special_tokens=True)
        part.rewards = [work.reward(text) for text in texts]
        self.steps.append(part)

    def generations(self) -> list[Generation]:
        """The optimizer steps of one generation after the other."""
        joined = []
        for start in range(0, len(self.steps), work.UPDATES):
            parts = self.steps[start : start + work.UPDATES]
            joined.append(
                Generation(
                    [p for part in parts for p in part.prompts],
                    [c for part in parts for c in part.completions],
                    [r for part in parts for r in part.rewards],
                )
            )
        return joined


def trained_by_trl(
    loss: str,
    size: work.Size,
    steps: int,
    watch: Callable[[], None] = lambda: None,
    shape: Shape = work.PLAIN,
) -> tuple[dict[str, Tensor], list[Generation]]:
    """TRL's weights after `steps` generations, and what it generated."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    tokenizer = work.tokenizer()
    recorder = Recorder(tokenizer)

    class Trainer(GRPOTrainer):  # type: ignore[misc]
        def compute_loss(self, model: Any, inputs: Any, *args: Any, **more: Any) -> Any:
            if not len(recorder.steps) % shape.updates:
                watch()
            recorder.keep(inputs)
            return super().compute_loss(model, inputs, *args, **more)

    with tempfile.TemporaryDirectory() as folder:
        settings = GRPOConfig(
            output_dir=folder,
            loss_type=loss,
            scale_rewards="none" if loss == "dr_grpo" else "group",
            per_device_train_batch_size=work.PROMPTS * work.GROUP // shape.updates,
            steps_per_generation=shape.updates,
            gradient_accumulation_steps=1,
            num_generations=work.GROUP,
            max_completion_length=shape.new_tokens,
            generation_kwargs={"min_new_tokens": shape.least_tokens},
            max_steps=steps * shape.updates,
            learning_rate=work.LEARNING_RATE,
            lr_scheduler_type="constant",
            max_grad_norm=1.0,
            beta=0.0,
            temperature=1.0,
            bf16=False,
            use_cpu=True,
            gradient_checkpointing=False,
            remove_unused_columns=False,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            seed=work.SEED,
        )
        model = work.model(size)
        Trainer(
            model=model,
            args=settings,
            processing_class=tokenizer,
            reward_funcs=recorder.reward,
            train_dataset=Dataset.from_dict({"prompt": work.prompts(min(steps, work.STEPS))}),
        ).train()
    return dict(model.state_dict()), recorder.generations()


def rollout_of(generation: Generation, tokenizer: Any) -> Rollout:
    """A recorded generation as this project's rollout."""
    numbers = {text: i for i, text in enumerate(dict.fromkeys(generation.prompts))}
    lengths = torch.tensor([len(ids) for ids in generation.completions])
    rows = [torch.tensor(ids) for ids in generation.completions]
    tokens_BT = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask_BT = torch.arange(tokens_BT.shape[1]) < lengths[:, None]
    return Rollout(
        prompts=tuple(
            Prompt(text=text, item=numbers[text], problem=text, difficulty=0, answer=None)
            for text in generation.prompts
        ),
        prompt_ids=tuple(tuple(ids) for ids in tokenizer(generation.prompts)["input_ids"]),
        group_B=torch.tensor([numbers[text] for text in generation.prompts]),
        tokens_BT=tokens_BT,
        mask_BT=mask_BT,
        logprobs_BT=torch.zeros(tokens_BT.shape),
        finished_B=torch.ones(len(rows), dtype=torch.bool),
        texts=tuple(tokenizer.batch_decode(generation.completions, skip_special_tokens=True)),
    )


def scored(
    models: Models,
    algorithm: Any,
    rollout: Rollout,
    rewards: Sequence[float],
    shape: Shape = work.PLAIN,
) -> Batch:
    """A rollout with its rewards and the columns that the algorithm declares."""
    rewards_B = torch.tensor(rewards, dtype=torch.float64)
    return Batch(
        group_B=rollout.group_B,
        mask_BT=rollout.mask_BT,
        rewards_BT=on_last_token(rewards_B, rollout.mask_BT),
        budget=shape.new_tokens,
        progress=0.5,
        columns=models.annotated(rollout, algorithm.columns, cut(rollout, shape)[0]),
    )


def learn(
    models: Models, algorithm: Any, rollout: Rollout, batch: Batch, shape: Shape = work.PLAIN
) -> None:
    """The optimizer steps on a rollout, rows in their order."""
    advantages_BT = algorithm.advantages(batch)
    for rows_b in cut(rollout, shape):
        update(models, algorithm, rollout, batch, advantages_BT, rows_b)
    models.forget()


def cut(rollout: Rollout, shape: Shape) -> tuple[Tensor, ...]:
    """The rows of each optimizer step, in their order."""
    return torch.arange(len(rollout.texts)).tensor_split(shape.updates)


def models_of(size: work.Size, old: OldLogprobs = OldLogprobs.TRAINER) -> Models:
    layout = Layout(TOKEN_BUDGET)
    return Models(
        policy=Policy(work.model(size).eval(), 1.0, layout, ADAM),
        reference=Policy(work.model(size).eval(), 1.0, layout),
        old=old,
    )


def replayed(
    algorithm: Any, size: work.Size, generations: Sequence[Generation]
) -> dict[str, Tensor]:
    """This project's weights after the recorded generations."""
    models, tokenizer = models_of(size), work.tokenizer()
    for generation in generations:
        rollout = rollout_of(generation, tokenizer)
        batch = scored(models, algorithm, rollout, generation.rewards)
        learn(models, algorithm, rollout, batch)
    return dict(models.policy.weights())


def furthest(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """Largest difference of a weight."""
    return max(float((a[name] - b[name]).abs().max()) for name in a if name in b)


def check(size: str) -> Found:
    """The weights after 12 optimizer steps, against those of a replay with each loss."""
    found = []
    for loss in ALGORITHMS:
        weights, generations = trained_by_trl(loss, work.SIZES[size], CHECK_STEPS)
        for name, algorithm in ALGORITHMS.items():
            apart = furthest(replayed(algorithm, work.SIZES[size], generations), weights)
            what = f"{size}, TRL's {loss} replayed by {name}: largest difference of a weight"
            if name == loss:
                found.append(Ratio(f"{what} / {SAME:g}", apart / SAME, most=1.0))
            else:
                found.append(Ratio(f"{what} / {OTHER:g}", apart / OTHER, least=1.0))
    return Found(tuple(found))


def theirs(size: str, shape: Shape, turn: turns.Turn) -> None:
    """TRL's side; a turn goes from learning over sampling to the next learning."""
    warnings.filterwarnings("ignore")
    trained_by_trl("grpo", work.SIZES[size], MANY, turn, shape)


def ours(size: str, shape: Shape, old: OldLogprobs, turn: turns.Turn) -> None:
    """The same work with this project's engine and update."""
    own = Ours(size, shape, old)
    for step in range(MANY):
        rollout = own.sampled(step)
        turn()  # where TRL's are: between sampling and learning
        own.learn(rollout, own.scored(rollout))
        own.sync()


class Ours:
    """This project's stages of a step."""

    def __init__(self, size: str, shape: Shape, old: OldLogprobs) -> None:
        tokenizer = work.tokenizer()
        self.shape, self.models = shape, models_of(work.SIZES[size], old)
        self.texts = work.prompts(work.STEPS)
        width = -(-max(map(len, self.texts)) // WIDTH_BLOCK) * WIDTH_BLOCK
        self.engine = TransformersEngine(
            work.model(work.SIZES[size]).eval(),
            Tokens(tokenizer, (tokenizer.eos_token_id,)),
            width,
            max_rows=512,
        )

    def sampled(self, step: int) -> Rollout:
        """The step's responses."""
        first = step % work.STEPS * work.PROMPTS
        requests = [
            Request(
                prompt=Prompt(text=text, item=i, problem=text, difficulty=0, answer=None),
                items=tuple(range(i * work.GROUP, (i + 1) * work.GROUP)),
            )
            for i, text in enumerate(self.texts[first : first + work.PROMPTS])
        ]
        sampling = Sampling(
            max_new_tokens=self.shape.new_tokens, min_new_tokens=self.shape.least_tokens
        )
        stream = Stream(seed=work.SEED, name="rollout", step=step)
        return self.engine.generate(requests, sampling, stream)

    def scored(self, rollout: Rollout) -> Batch:
        """Rewards, and the pass for the old log-probs where one is made."""
        rewards = [work.reward(text) for text in rollout.texts]
        return scored(self.models, ALGORITHMS["grpo"], rollout, rewards, self.shape)

    def learn(self, rollout: Rollout, batch: Batch) -> None:
        """The optimizer steps."""
        learn(self.models, ALGORITHMS["grpo"], rollout, batch, self.shape)

    def sync(self) -> None:
        """The engine is given the weights."""
        self.engine.load_weights(self.models.policy.weights())


def compared(size: str, case: Case, rounds: int) -> Found:
    """The sides of a case, and what their CPU seconds and peaks of memory say."""
    sides: dict[str, turns.Side] = {"TRL": partial(theirs, size, case.shape)}
    bounds = {"harness": case.least}
    sides["harness"] = partial(ours, size, case.shape, OldLogprobs.TRAINER)
    if case.sampler:
        bounds["with sampler"] = case.sampler
        sides["with sampler"] = partial(ours, size, case.shape, OldLogprobs.SAMPLER)
    taken = turns.alternated(sides, rounds)
    found = []
    for name, least in bounds.items():
        what = f"{work.SIZES[size].name}, {case.name}: TRL / {name}"
        times = {side: taken[side].cpu for side in ("TRL", name)}
        found.append(quotient(what, times, least=least[size]))
        peaks = {side: [taken[side].peak] for side in (name, "TRL")}
        what = f"{work.SIZES[size].name}, {case.name}: peak memory {name} / TRL"
        found.append(quotient(what, peaks, most=1.0, unit="MiB"))
    return Found(tuple(found))


def measure(arguments: Sequence[str]) -> Iterator[Found]:
    """Both sizes, or the one that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks trl")
    parser.add_argument("--check", action="store_true", help="compare weights, not seconds")
    parser.add_argument("--size", choices=sorted(work.SIZES), nargs="+", default=[*work.SIZES])
    parser.add_argument("--rounds", type=int, default=3, help="measured steps of each side")
    asked = parser.parse_args(arguments)
    if importlib.util.find_spec("trl") is None:
        yield Found(not_run=("TRL is not installed; pip install -e '.[benchmarks]'",))
        return
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    for size in asked.size:
        if asked.check:
            yield check(size)
            continue
        for case in CASES:
            yield compared(size, case, asked.rounds)
