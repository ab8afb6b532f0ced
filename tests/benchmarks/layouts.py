"""What each layout costs and spares: `python -m tests.benchmarks layouts`.

Two optimizer steps of GRPO on made-up responses with a random Qwen2 of 50M parameters, each layout
in processes of its own. Memory is the peak above the idle process, of the rank with the most.
"""

import multiprocessing
import socket
import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from harness.algorithms.grpo import Grpo
from harness.distributed.ranks import ALONE, Ranks, joined
from harness.distributed.sharding import Layout, Precision, Sharding
from harness.learner.optimizer import Optimizer
from harness.learner.policy import Policy
from harness.learner.update import Models, update
from harness.maths.tensor_ops import on_last_token
from harness.types import Batch, Prompt, Rollout
from tests.benchmarks import resident

ROWS, PROMPT, RESPONSE, TOKEN_BUDGET, STEPS = 16, 64, 192, 2048, 2
LAYOUTS: dict[str, tuple[int, Sharding]] = {
    "one rank": (1, Sharding()),
    "+ checkpointing": (1, Sharding(checkpointing=True)),
    "FSDP2 on one rank": (1, Sharding(fsdp=True)),
    "+ bfloat16": (1, Sharding(fsdp=True, precision=Precision.BFLOAT16)),
    "+ bfloat16, checkpointing": (
        1,
        Sharding(fsdp=True, precision=Precision.BFLOAT16, checkpointing=True),
    ),
    "two ranks": (2, Sharding()),
    "two ranks, checkpointing": (2, Sharding(checkpointing=True)),
}


def rollout() -> Rollout:
    """Random tokens."""
    draw = torch.Generator().manual_seed(0)
    prompt = Prompt(text="", item=0, problem="", difficulty=0, answer=None)
    return Rollout(
        prompts=(prompt,) * ROWS,
        prompt_ids=tuple(
            tuple(row) for row in torch.randint(0, 1000, (ROWS, PROMPT), generator=draw).tolist()
        ),
        group_B=torch.arange(ROWS) // 4,
        tokens_BT=torch.randint(0, 1000, (ROWS, RESPONSE), generator=draw),
        mask_BT=torch.ones(ROWS, RESPONSE, dtype=torch.bool),
        logprobs_BT=torch.zeros(ROWS, RESPONSE),
        finished_B=torch.ones(ROWS, dtype=torch.bool),
        texts=("",) * ROWS,
    )


def steps(sharding: Sharding, ranks: Ranks) -> dict[str, float]:
    """Peak GB above the idle process, seconds per step, loss of the last step."""
    torch.set_num_threads(1)
    torch.manual_seed(0)  # the weights alone
    config = Qwen2Config(
        vocab_size=16_384,
        hidden_size=512,
        num_hidden_layers=10,
        num_attention_heads=8,
        num_key_value_heads=8,
        intermediate_size=2048,
        max_position_embeddings=512,
        tie_word_embeddings=True,
    )
    made, algorithm = rollout(), Grpo(group_size=4)
    idle = resident.mib(resident.NOW)
    layout = Layout(TOKEN_BUDGET, sharding, ranks=ranks)
    policy = Policy(Qwen2ForCausalLM(config).eval(), 1.0, layout, Optimizer(warmup=0.0))
    models = Models(policy=policy, reference=policy)
    rewards_B = (torch.arange(ROWS) % 3).double()
    batch = Batch(
        group_B=made.group_B,
        mask_BT=made.mask_BT,
        rewards_BT=on_last_token(rewards_B, made.mask_BT),
        budget=RESPONSE,
        columns=models.annotated(made, algorithm.columns),
    )
    advantages_BT = algorithm.advantages(batch)
    began = time.perf_counter()
    for _ in range(STEPS):
        metrics = update(models, algorithm, made, batch, advantages_BT, torch.arange(ROWS))
    seconds = (time.perf_counter() - began) / STEPS
    peak = max(ranks.gathered((resident.mib(resident.PEAK) - idle) * 1024 / 1e6))
    return {"peak": peak, "seconds": seconds, "loss": metrics["actor/pg_loss"]}


def free_address() -> str:
    """host:port of this machine that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def _rank(layout: str, rank: int, address: str, results: Any) -> None:
    count, sharding = LAYOUTS[layout]
    if count == 1 and not sharding.fsdp:
        results.put(steps(sharding, ALONE))
        return
    with joined(rank, count, address, "cpu") as ranks:
        found = steps(sharding, ranks)
    if rank == 0:
        results.put(found)


def main(arguments: Sequence[str]) -> int:
    """Run it; returns the exit code."""
    context = multiprocessing.get_context("spawn")
    print("| layout | peak GB per rank | factor | s per step | loss |")
    print("|---|---|---|---|---|")
    first = 0.0
    for layout, (count, _) in LAYOUTS.items():
        address = free_address()
        results = context.Queue()
        processes = [
            context.Process(target=_rank, args=(layout, rank, address, results))
            for rank in range(count)
        ]
        for process in processes:
            process.start()
        found = results.get(timeout=600)
        for process in processes:
            process.join()
        first = first or found["peak"]
        print(
            f"| {layout} | {found['peak']:.2f} | {found['peak'] / first:.2f} | "
            f"{found['seconds']:.1f} | {found['loss']:+.5f} |"
        )
    return 0
