"""The vLLM engine: continuous batching in the rank's own process, on GPUs and on the CPU.

Every call of vLLM is here and in harness.rollout.vllm_library: it changes with each release, so
that only the tested one is accepted. The process group is the trial's: vLLM finds it and makes
its own groups inside ("external launcher"), and ends with the process.
"""

import gc
import io
import os
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from tqdm import tqdm

from harness import checks
from harness.distributed.checksums import Noted, digest
from harness.distributed.ranks import Ranks
from harness.errors import ConfigError, EngineError
from harness.machine.progress import Unit, advance
from harness.maths import streams
from harness.models.loading import Source
from harness.models.tokens import Tokens
from harness.rollout import vllm_gpu
from harness.rollout import vllm_library as library
from harness.rollout.engine import Engine, Receipt, Request, Settings, Stream, rollout_of
from harness.types import Prompt, Rollout, Sampling

# Tokens of a block of the cache: vLLM's own choice on GPUs, and the smallest that its kernels for
# the CPU take: only whole blocks are kept of a prompt.
BLOCK = {"cuda": 16, "cpu": 32}
# Tokens that a step of the engine reads or writes at most: several prompts, or one long one.
STEP_TOKENS = 8192

# What vLLM is started with whatever the settings.
FIXED: dict[str, Any] = {
    "distributed_executor_backend": "external_launcher",
    "enable_prefix_caching": True,
    "logprobs_mode": "processed_logprobs",  # of the distribution that is sampled from
    "generation_config": "vllm",  # no sampling settings of the model's own
    "use_tqdm_on_load": False,
}


@dataclass(frozen=True)
class Vllm(Settings):
    """Settings of the vLLM engine.

    Attributes:
        tensor_parallel: neighbouring ranks that hold one engine together.
        cache_gb: of keys and values, on each rank; more responses than fit take turns.
    """

    needs_group: ClassVar[bool] = True

    tensor_parallel: int = 1
    cache_gb: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.at_least("rollout.tensor_parallel", self.tensor_parallel, 1)
        checks.above("rollout.cache_gb", self.cache_gb, 0)

    @property
    def engine_ranks(self) -> int:
        return self.tensor_parallel

    @property
    def batch_rows(self) -> int | None:
        return None

    @property
    def cache_bytes(self) -> int | None:
        return int(self.cache_gb * 1e9)

    def alone(self) -> Self:
        return replace(self, tensor_parallel=1)

    def check(self, source: Source, ranks: int, device: str) -> None:
        library.check_version()
        parallel, model = self.tensor_parallel, source.config()
        text = model.get_text_config()
        heads = text.num_attention_heads
        if ranks % parallel or heads % parallel:
            raise ConfigError(
                f"rollout.tensor_parallel must divide trainer.ranks={ranks} and the model's "
                f"{heads} attention heads, received {parallel}"
            )
        known = library.imported().ModelRegistry.get_supported_archs()
        names = model.architectures or ["an unnamed one"]
        if not set(names) & set(known):
            raise ConfigError(
                f"vLLM does not know the architecture {names[0]} of model {source.path!r}; choose "
                f"rollout=transformers"
            )
        width = getattr(text, "head_dim", None) or text.hidden_size // heads
        if device == "cpu" and width not in library.head_widths():
            raise ConfigError(
                f"vLLM's kernels for the CPU know attention heads of width "
                f"{', '.join(map(str, library.head_widths()))}, received {width}; choose "
                f"rollout=transformers, or for the tiny model model.architecture.heads=2"
            )

    def engine(
        self,
        source: Source,
        tokens: Tokens,
        prompts: Sequence[Prompt],
        device: str,
        ranks: Ranks,
    ) -> Engine:
        longest = max(len(ids) for ids in tokens.ids([p.text for p in prompts]))
        return VllmEngine(self, source, tokens, longest + self.max_new_tokens, device, ranks)


class Told(tqdm):  # type: ignore[misc]
    """The library's bar of a call, which draws nothing: it passes on each response that ends.

    The same class counts the requests that are handed in, which are no work yet.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "file": io.StringIO(), "disable": False})

    def update(self, n: float | None = 1) -> bool | None:
        if self.iterable is None:
            advance(Unit.RESPONSES, n or 0)
        drawn: bool | None = super().update(n)
        return drawn


class VllmEngine:
    """One vLLM per process."""

    def __init__(
        self,
        settings: Vllm,
        source: Source,
        tokens: Tokens,
        context: int,
        device: str,
        ranks: Ranks,
    ) -> None:
        """Start it with the model's weights from disk.

        Args:
            context: tokens of the longest prompt with its response.

        Raises:
            EngineError: it did not start.
        """
        self.tokens = tokens
        self.device = device
        self.asleep = False
        self.synced = False
        os.environ["RANK"] = str(ranks.rank)
        with library.failing("did not start"), library.silent():
            vllm = library.imported()
            library.without_names()
            if device == "cpu":
                library.without_shared_memory()
            self.llm = vllm.LLM(**_arguments(settings, source, context, device), **FIXED)
        library.unnamed_queue()
        # Its last act would be to destroy the process group, which is the trial's.
        self.llm.llm_engine.engine_core._finalizer.detach()
        gc.unfreeze()  # vLLM freezes what there is, and Python would complain of it at the end

    def generate(self, requests: Sequence[Request], sampling: Sampling, stream: Stream) -> Rollout:
        ids = self.tokens.ids([r.prompt.text for r in requests])
        prompts = [
            {"prompt_token_ids": own} for own, r in zip(ids, requests, strict=True) for _ in r.items
        ]
        asked = [self._asked(sampling, stream, item) for r in requests for item in r.items]
        # The few functions that vLLM compiles anyway cost 8 s on the CPU, and gain nothing there.
        plain = torch.compiler.set_stance("force_eager") if self.device == "cpu" else nullcontext()
        with library.failing("failed while sampling"), plain, library.emptied(self.llm):
            made = self.llm.generate(prompts, asked, use_tqdm=Told)
        if self.synced and made[0].num_cached_tokens:
            raise EngineError(
                f"the rollout engine used {made[0].num_cached_tokens} tokens of its prefix cache "
                f"for the first prompt after a sync: keys and values of weights that are gone"
            )
        self.synced = False
        return self._rollout(requests, [each.outputs[0] for each in made])

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> Receipt:
        noted = Noted(weights)
        with library.failing("failed while loading weights"):
            if self.asleep:
                self.llm.wake_up(tags=["weights"])
            self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(noted)})
            if self.device == "cpu":
                self.llm.apply_model(library.repacked)
            if self.asleep:
                self.llm.wake_up(tags=["kv_cache"])
            self.asleep = False
            if not self.llm.reset_prefix_cache():
                raise EngineError("the rollout engine could not reset its prefix cache")
        self.synced = True
        return Receipt(checksum=digest(noted.seen), bytes=noted.bytes)

    def sleep(self) -> None:
        """Drop weights and cache: both are made anew when weights are loaded. On GPUs only."""
        if self.device == "cuda" and not self.asleep:
            with library.failing("did not go to sleep"):
                self.llm.sleep(level=2)
            self.asleep = True

    def close(self) -> None:
        del self.llm

    def _asked(self, sampling: Sampling, stream: Stream, item: int) -> Any:
        """What vLLM is asked for, for one response."""
        asked = library.imported().SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            min_tokens=min(sampling.min_new_tokens, sampling.max_new_tokens),
            max_tokens=sampling.max_new_tokens,
            seed=streams.number(stream.seed, stream.name, stream.step, item),
            stop=list(sampling.stop),
            include_stop_str_in_output=True,
            detokenize=bool(sampling.stop),
            skip_special_tokens=False,
            ignore_eos=True,  # what ends is listed, all of it
            stop_token_ids=list(self.tokens.ends),
            logprobs=0,  # of the sampled token
            flat_logprobs=True,
        )
        if sampling.forbidden_after:
            # The public way takes words and tokenizes them again.
            vocabulary = self.tokens.tokenizer.get_vocab()
            asked._bad_words_token_ids = [
                [vocabulary[a], vocabulary[b]] for a, b in sampling.forbidden_after
            ]
        return asked

    def _rollout(self, requests: Sequence[Request], made: Sequence[Any]) -> Rollout:
        lengths_B = torch.tensor([len(each.token_ids) for each in made])
        shape = (len(made), int(lengths_B.max()))
        tokens_BT, logprobs_BT = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape)
        for i, each in enumerate(made):
            length = len(each.token_ids)
            tokens_BT[i, :length] = torch.tensor(list(each.token_ids))
            logprobs_BT[i, :length] = torch.tensor(_sampled(each))
        return rollout_of(
            requests,
            self.tokens,
            tokens_BT=tokens_BT,
            lengths_B=lengths_B,
            logprobs_BT=logprobs_BT,
            finished_B=torch.tensor([each.finish_reason == "stop" for each in made]),
        )


def _sampled(made: Any) -> list[float]:
    """Log-probs of a response's tokens: the first of each position's entries."""
    starts = made.logprobs.start_indices
    return [made.logprobs.logprobs[start] for start in starts]


def _arguments(settings: Vllm, source: Source, context: int, device: str) -> dict[str, Any]:
    """What vLLM is started with."""
    return {
        "model": source.path,
        "revision": source.revision,
        "tokenizer": source.tokenizer,
        "tokenizer_revision": source.tokenizer_revision,
        "skip_tokenizer_init": not settings.stop,
        "dtype": source.dtype,
        "tensor_parallel_size": settings.tensor_parallel,
        "max_model_len": context,
        "max_num_seqs": settings.max_rows,
        # A prompt cut in two sets the response's generator back, which torch's for the CPU cannot:
        # prompts are read whole.
        "enable_chunked_prefill": device == "cuda",
        "max_num_batched_tokens": max(STEP_TOKENS, context),
        "kv_cache_memory_bytes": settings.cache_bytes,
        "block_size": BLOCK[device],
        "enable_sleep_mode": device == "cuda",
        "enforce_eager": device == "cpu",  # compiling takes 25 s and gains nothing there
        **vllm_gpu.arguments(device, settings.tensor_parallel, int(settings.cache_gb * 1e9)),
    }
