"""Beside Hugging Face TRL's GRPOTrainer: `python -m tests.benchmarks trl [--check] [--size B]`.

`--check` is an oracle from end to end: what TRL samples and scores is recorded, replayed through
this project's batch, loss and update, and both must end with the same weights. Without it both do
the same work, and the seconds of each are printed. Needs `pip install trl==1.16.0`.
"""

import argparse
import itertools
import resource
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.algorithms.dr_grpo import DrGrpo
from harness.algorithms.grpo import Grpo
from harness.distributed.sharding import Layout
from harness.learner.optimizer import Optimizer
from harness.learner.policy import Policy
from harness.learner.update import Models, update
from harness.maths.tensor_ops import on_last_token
from harness.models.tokens import Tokens
from harness.rollout.engine import Request, Stream
from harness.rollout.transformers import WIDTH_BLOCK, TransformersEngine
from harness.types import Batch, Prompt, Rollout, Sampling
from tests.benchmarks import work

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
    loss: str, size: work.Size, steps: int, watch: Callable[[], None] = lambda: None
) -> tuple[dict[str, Tensor], list[Generation]]:
    """TRL's weights after `steps` generations, and what it generated."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    tokenizer = work.tokenizer()
    recorder = Recorder(tokenizer)

    class Trainer(GRPOTrainer):  # type: ignore[misc]
        def compute_loss(self, model: Any, inputs: Any, *args: Any, **more: Any) -> Any:
            if not len(recorder.steps) % work.UPDATES:
                watch()
            recorder.keep(inputs)
            return super().compute_loss(model, inputs, *args, **more)

    with tempfile.TemporaryDirectory() as folder:
        settings = GRPOConfig(
            output_dir=folder,
            loss_type=loss,
            scale_rewards="none" if loss == "dr_grpo" else "group",
            per_device_train_batch_size=work.PROMPTS * work.GROUP // work.UPDATES,
            steps_per_generation=work.UPDATES,
            gradient_accumulation_steps=1,
            num_generations=work.GROUP,
            max_completion_length=work.NEW_TOKENS,
            max_steps=steps * work.UPDATES,
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
            train_dataset=Dataset.from_dict({"prompt": work.prompts(steps)}),
        ).train()
    watch()
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


def learnt(models: Models, algorithm: Any, rollout: Rollout, rewards: Sequence[float]) -> None:
    """The four optimizer steps on a rollout, rows in their order."""
    rewards_B = torch.tensor(rewards, dtype=torch.float64)
    batch = Batch(
        group_B=rollout.group_B,
        mask_BT=rollout.mask_BT,
        rewards_BT=on_last_token(rewards_B, rollout.mask_BT),
        budget=work.NEW_TOKENS,
        progress=0.5,
        columns=models.annotated(rollout, algorithm.columns),
    )
    advantages_BT = algorithm.advantages(batch)
    for rows_b in torch.arange(len(rollout.texts)).tensor_split(work.UPDATES):
        update(models, algorithm, rollout, batch, advantages_BT, rows_b)


def models_of(size: work.Size) -> Models:
    layout = Layout(TOKEN_BUDGET)
    return Models(
        policy=Policy(work.model(size).eval(), 1.0, layout, ADAM),
        reference=Policy(work.model(size).eval(), 1.0, layout),
    )


def replayed(
    algorithm: Any, size: work.Size, generations: Sequence[Generation]
) -> dict[str, Tensor]:
    """This project's weights after the recorded generations."""
    models, tokenizer = models_of(size), work.tokenizer()
    for generation in generations:
        learnt(models, algorithm, rollout_of(generation, tokenizer), generation.rewards)
    return dict(models.policy.weights())


def furthest(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """Largest difference of a weight."""
    return max(float((a[name] - b[name]).abs().max()) for name in a if name in b)


def check(size: work.Size) -> int:
    """Compare the weights after 12 optimizer steps; returns the exit code."""
    failed = False
    for loss in ALGORITHMS:
        weights, generations = trained_by_trl(loss, size, CHECK_STEPS)
        moved = furthest(weights, dict(work.model(size).named_parameters()))
        print(f"TRL {loss}: {CHECK_STEPS * work.UPDATES} optimizer steps, moved by {moved:.1e}")
        for name, algorithm in ALGORITHMS.items():
            apart = furthest(replayed(algorithm, size, generations), weights)
            well = apart <= SAME if name == loss else apart > OTHER
            failed |= not well
            print(f"  replayed by {name:8} {apart:.1e} from TRL's {'OK' if well else 'FAILED'}")
    return int(failed)


def compared(size: work.Size, steps: int) -> None:
    """Seconds per step of both, medians after a warm-up step; wall and CPU."""
    marks: list[tuple[float, float]] = []

    def watch() -> None:
        marks.append((time.perf_counter(), time.process_time()))

    trained_by_trl("grpo", size, steps + 1, watch)
    print(f"TRL      {per_step(marks)}")
    marks.clear()
    ours(size, steps + 1, watch)
    print(f"harness  {per_step(marks)}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of the process {peak:.0f} MiB")


def ours(
    size: work.Size,
    steps: int,
    watch: Callable[[], None],
    look: Callable[[Rollout], None] = lambda rollout: None,
) -> None:
    """The same work with this project's engine and update."""
    tokenizer, models = work.tokenizer(), models_of(size)
    tokens = Tokens(tokenizer, (tokenizer.eos_token_id,))
    texts = work.prompts(steps)
    width = -(-max(map(len, texts)) // WIDTH_BLOCK) * WIDTH_BLOCK
    engine = TransformersEngine(work.model(size).eval(), tokens, width, max_rows=512)
    for step in range(steps):
        requests = [
            Request(
                prompt=Prompt(text=text, item=i, problem=text, difficulty=0, answer=None),
                items=tuple(range(i * work.GROUP, (i + 1) * work.GROUP)),
            )
            for i, text in enumerate(texts[step * work.PROMPTS : (step + 1) * work.PROMPTS])
        ]
        stream = Stream(seed=work.SEED, name="rollout", step=step)
        rollout = engine.generate(requests, Sampling(max_new_tokens=work.NEW_TOKENS), stream)
        watch()  # where TRL's steps are marked: between sampling and learning
        look(rollout)
        rewards = [work.reward(text) for text in rollout.texts]
        learnt(models, ALGORITHMS["grpo"], rollout, rewards)
        engine.load_weights(models.policy.weights())
    watch()


def per_step(marks: Sequence[tuple[float, float]]) -> str:
    """Median over the steps between two marks, the first and the last left out."""
    inner = marks[:-1]
    wall = [b[0] - a[0] for a, b in itertools.pairwise(inner)]
    cpu = [b[1] - a[1] for a, b in itertools.pairwise(inner)]
    spread = f"{min(wall):.2f} to {max(wall):.2f}"
    return (
        f"{statistics.median(wall):.2f} s per step ({spread}, {len(wall)} steps), "
        f"CPU {statistics.median(cpu):.2f} s"
    )


def main(arguments: Sequence[str]) -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks trl")
    parser.add_argument("--check", action="store_true", help="compare weights, not seconds")
    parser.add_argument("--size", choices=sorted(work.SIZES), default="A")
    parser.add_argument("--steps", type=int, default=8, help="measured steps")
    asked = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    if asked.check:
        return check(work.SIZES[asked.size])
    compared(work.SIZES[asked.size], asked.steps)
    return 0
