"""How cost grows with the work: `python -m tests.benchmarks scaling` (minutes; not quick).

Exponents: slopes in logarithms of CPU seconds and of the peak above the idle process, each point in
a process of its own and in one thread. A model's size, and lengths of responses up to 4,096 tokens,
of an update and of sampling; with attention, which grows with the square, and without: its function
is replaced by one that hands on the newest values, so that whatever else is quadratic shows. Two
ranks beside one: the peak of a rank, and the CPU seconds of both together.
"""

import math
import multiprocessing
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from harness.algorithms.grpo import Grpo
from harness.distributed.ranks import ALONE, Ranks, joined
from harness.distributed.sharding import Layout, Sharding
from harness.learner.optimizer import Optimizer
from harness.learner.policy import Policy
from harness.learner.update import Models
from harness.models.tokens import Tokens
from harness.rollout.engine import Request, Stream
from harness.rollout.transformers import TransformersEngine
from harness.types import Prompt, Rollout, Sampling
from tests.benchmarks import layouts, resident, trl, work
from tests.benchmarks.verdict import Found, Ratio
from tests.benchmarks.work import Shape, Size

QUICK = False
SIZES = (
    Size("0.2M", 64, 4, 4, 256),
    Size("6M", 256, 6, 8, 1024),
    Size("50M", 640, 8, 10, 2560),
)
LENGTHS = (512, 1024, 2048, 4096)
PROMPT, ROWS, SAMPLED = 16, 4, 32
"""Tokens of a prompt; responses of an update; fewest rows that a decode pass is made with."""
FIXED = 256
"""Tokens of a response where sizes of models are compared."""
LINEAR = 1.1
"""Exponent that nothing but attention may exceed: 1, and what rounding of a fit adds."""


@dataclass(frozen=True)
class Point:
    """What one process measures."""

    size: Size
    tokens: int
    attention: bool = True
    sampling: bool = False
    ranks: int = 1


def nothing(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **options: Any
) -> tuple[Tensor, None]:
    """In the place of attention: the newest values."""
    return value[:, :, -query.shape[2] :].transpose(1, 2).contiguous(), None


def model(size: Size, context: int) -> Any:
    """Random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(work.SEED)
        return Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=len(work.CHARACTERS) + len(work.SPECIAL),
                hidden_size=size.hidden,
                num_hidden_layers=size.layers,
                num_attention_heads=size.heads,
                num_key_value_heads=size.heads,
                intermediate_size=size.feed_forward,
                max_position_embeddings=context,
                tie_word_embeddings=True,
                pad_token_id=0,
                eos_token_id=1,
                bos_token_id=None,
            )
        ).eval()


def rollout(tokens: int) -> Rollout:
    """ROWS responses of random tokens."""
    draw = torch.Generator().manual_seed(work.SEED)
    prompt = Prompt(text="", item=0, problem="", difficulty=0, answer=None)
    return Rollout(
        prompts=(prompt,) * ROWS,
        prompt_ids=tuple(
            tuple(row) for row in torch.randint(2, 40, (ROWS, PROMPT), generator=draw).tolist()
        ),
        group_B=torch.arange(ROWS) // 2,
        tokens_BT=torch.randint(2, 40, (ROWS, tokens), generator=draw),
        mask_BT=torch.ones(ROWS, tokens, dtype=torch.bool),
        logprobs_BT=torch.zeros(ROWS, tokens),
        finished_B=torch.ones(ROWS, dtype=torch.bool),
        texts=tuple("1" * i for i in range(ROWS)),
    )


def measured(point: Point) -> tuple[float, float]:
    """CPU seconds and peak MiB above the idle process of a point; of all its ranks, and of one."""
    if point.ranks == 1:
        return measured_by(point, ALONE)
    context = multiprocessing.get_context("spawn")
    results, address = context.Queue(), layouts.free_address()
    processes = [
        context.Process(target=_rank, args=(point, rank, address, results))
        for rank in range(point.ranks)
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    return sum(cpu for cpu, _ in found), max(peak for _, peak in found)


def apart(point: Point) -> tuple[float, float]:
    """The same in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as own:
        return own.submit(measured, point).result()


def _rank(point: Point, rank: int, address: str, results: Any) -> None:
    with joined(rank, point.ranks, address, "cpu") as ranks:
        results.put(measured_by(point, ranks))


def measured_by(point: Point, ranks: Ranks) -> tuple[float, float]:
    """In this process."""
    torch.set_num_threads(1)
    if not point.attention:
        ALL_ATTENTION_FUNCTIONS["sdpa"] = nothing
    made = model(point.size, PROMPT + max(LENGTHS))
    work_once = sampler(made, point.tokens) if point.sampling else learner(made, point, ranks)
    work_once(8)  # what is set up once
    resident.forget_peak()
    idle, began = resident.mib(resident.NOW), time.process_time()
    work_once(point.tokens)
    return time.process_time() - began, resident.mib(resident.PEAK) - idle


def learner(made: Any, point: Point, ranks: Ranks) -> Any:
    """One update of GRPO on so many tokens of each response, and the pass before it."""
    layout = Layout(PROMPT + max(LENGTHS), Sharding(fsdp=ranks.count > 1), ranks=ranks)
    policy = Policy(made, 1.0, layout, Optimizer(warmup=0.0))
    models, grpo = Models(policy=policy, reference=policy), Grpo(group_size=2)

    def learn(tokens: int) -> None:
        rows, shape = rollout(tokens), Shape(new_tokens=tokens, updates=1)
        rewards = [float(i % 2) for i in range(ROWS)]
        batch = trl.scored(models, grpo, rows, rewards, shape)
        trl.learn(models, grpo, rows, batch, shape)

    return learn


def sampler(made: Any, tokens: int) -> Any:
    """SAMPLED responses of exactly so many tokens."""
    tokenizer = work.tokenizer()
    text = work.prompts(1)[0]
    prompt = Prompt(text=text, item=0, problem=text, difficulty=0, answer=None)
    request = Request(prompt=prompt, items=tuple(range(SAMPLED)))
    engine = TransformersEngine(
        made, Tokens(tokenizer, (tokenizer.eos_token_id,)), PROMPT, max_rows=SAMPLED
    )

    def sample(count: int) -> None:
        sampling = Sampling(max_new_tokens=count, min_new_tokens=count)
        engine.generate([request], sampling, Stream(seed=0, name="rollout", step=0))

    return sample


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Exponent of y in x: of the line through the logarithms."""
    logs = ([math.log(one) for one in x], [math.log(one) for one in y])
    return statistics.linear_regression(*logs).slope


def grown(
    name: str, points: Mapping[float, Point], judged: bool = True, memory: bool = True
) -> Found:
    """Exponents of CPU seconds and peak in what the points are numbered by.

    There and back: other work that comes or goes meanwhile bends no line.
    """
    there = [apart(point) for point in points.values()]
    back = [apart(point) for point in reversed(list(points.values()))][::-1]
    most = LINEAR if judged else None
    ratios = []
    for i, unit in enumerate(("CPU s", "MiB") if memory else ("CPU s",)):
        both = [[one[i], two[i]] for one, two in zip(there, back, strict=True)]
        ratios.append(
            Ratio(
                f"{name}: exponent of {unit}",
                slope(list(points), [statistics.mean(each) for each in both]),
                most=most,
                sides={f"{at:g}": each for at, each in zip(points, both, strict=True)},
                unit=unit,
            )
        )
    return Found(tuple(ratios))


def ranks() -> Found:
    """Two ranks beside one: FSDP2 keeps the work and shares the memory."""
    one = Point(SIZES[-1], FIXED)
    (cpu, peak), (cpus, peaks) = apart(one), apart(replace(one, ranks=2))
    return Found(
        (
            Ratio("50M, CPU of two ranks / of one", cpus / cpu, sides={"1": [cpu], "2": [cpus]}),
            Ratio(
                "50M, peak of a rank, of two / of one",
                peaks / peak,
                sides={"1": [peak], "2": [peaks]},
                unit="MiB",
            ),
        )
    )


def measure(arguments: Sequence[str]) -> Iterator[Found]:
    """All of it."""
    small = SIZES[0]
    sizes = {parameters(size): Point(size, FIXED) for size in SIZES}
    yield grown("update by parameters", sizes)
    drawn = {n: replace(point, sampling=True, tokens=64) for n, point in sizes.items()}
    yield grown("sampling by parameters", drawn, memory=False)
    for sampling, what in ((False, "update"), (True, "sampling")):
        for attention in (False, True):
            points = {float(n): Point(small, n, attention, sampling) for n in LENGTHS}
            name = f"{what} by length, {'with' if attention else 'without'} attention"
            yield grown(name, points, judged=not attention)
    yield ranks()


def parameters(size: Size) -> float:
    """Of a model."""
    return float(sum(p.numel() for p in model(size, FIXED).parameters()))
