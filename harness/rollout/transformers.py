"""The transformers engine: exact to the bit whatever batch a response sits in.

What makes it so (float32, one thread): every prompt is padded on the left to one fixed width; no
matrix product has fewer than MIN_ROWS rows, below which the kernels round otherwise;
each response draws from its own counter-based stream. Each prompt is prefilled once per group,
finished responses leave the batch, and the cache is written in place (harness.rollout.cache).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness import checks
from harness.distributed.checksums import Noted, digest
from harness.distributed.ranks import Ranks
from harness.distributed.sharding import blocks
from harness.errors import ContractError
from harness.maths import streams
from harness.models.loading import Source
from harness.models.tokens import Tokens
from harness.rollout.engine import Engine, Receipt, Request, Settings, Stream, rollout_of
from harness.rollout.pace import Pace
from harness.rollout.sampling import choose
from harness.rollout.stops import completed
from harness.types import Prompt, Rollout, Sampling

# Below 16 rows the matrix products of a decode step take another kernel and other roundings.
MIN_ROWS = 32
# Widths are rounded up to this, the block of the attention kernel.
WIDTH_BLOCK = 16
# The batch is compacted when this share of its rows is finished: copying the cache has a price.
COMPACT_SHARE = 0.15


@dataclass(frozen=True)
class Transformers(Settings):
    """Sampling settings of the transformers engine.

    Attributes:
        max_rows: responses decoded at once. pass@16 of the tiny base takes 1.4 times as long by
            512, since the last long responses of each batch are decoded alone; by more than 1,024
            little is won.
    """

    max_rows: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.at_least("rollout.max_rows", self.max_rows, MIN_ROWS)

    @property
    def engine_ranks(self) -> int:
        return 1

    @property
    def batch_rows(self) -> int | None:
        return self.max_rows

    @property
    def cache_bytes(self) -> int | None:
        return None

    def check(self, source: Source, ranks: int, device: str) -> None:
        """There is no model that transformers can train and not run."""

    def engine(
        self,
        source: Source,
        tokens: Tokens,
        prompts: Sequence[Prompt],
        device: str,
        ranks: Ranks,
    ) -> Engine:
        longest = max(len(ids) for ids in tokens.ids([p.text for p in prompts]))
        width = -(-longest // WIDTH_BLOCK) * WIDTH_BLOCK
        return TransformersEngine(source.model().to(device), tokens, width, self.max_rows)


class TransformersEngine:
    """Decodes with its own copy of the model and chooses tokens on its device."""

    def __init__(self, model: Any, tokens: Tokens, width: int, max_rows: int) -> None:
        self.model = model
        self.tokens = tokens
        self.width = width
        self.max_rows = max_rows
        self._fewest = -(-MIN_ROWS // width)  # prompts whose positions are MIN_ROWS rows
        self.pace = Pace(blocks(model))

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> Receipt:
        own, noted = dict(self.model.named_parameters()), Noted(weights)
        with torch.no_grad():
            for name, weight in noted:  # one at a time: a full model may not fit twice
                if name in own:
                    own[name].copy_(weight)
        if own.keys() != noted.seen.keys():
            raise ContractError(
                f"the sync must hand over every weight by its name; they differ in "
                f"{sorted(own.keys() ^ noted.seen.keys())}"
            )
        return Receipt(checksum=digest(noted.seen), bytes=noted.bytes)

    def sleep(self) -> None:
        """The trainer's memory and this model's lie beside each other."""

    def close(self) -> None:
        del self.model

    def generate(self, requests: Sequence[Request], sampling: Sampling, stream: Stream) -> Rollout:
        parts = [self._decode(chunk, sampling, stream) for chunk in self._chunks(requests)]
        longest = max(part.tokens_BT.shape[1] for part in parts)
        return rollout_of(
            requests,
            self.tokens,
            tokens_BT=torch.cat([_widened(part.tokens_BT, longest) for part in parts]),
            lengths_B=torch.cat([part.lengths_B for part in parts]),
            logprobs_BT=torch.cat([_widened(part.logprobs_BT, longest) for part in parts]),
            finished_B=torch.cat([part.finished_B for part in parts]),
        )

    def _chunks(self, requests: Sequence[Request]) -> list[list[Request]]:
        """Requests packed into calls of at most max_rows responses (one request at least)."""
        chunks: list[list[Request]] = []
        rows = self.max_rows
        for request in requests:
            if rows + len(request.items) > self.max_rows:
                chunks.append([])
                rows = 0
            chunks[-1].append(request)
            rows += len(request.items)
        return chunks

    def _prefill(self, requests: Sequence[Request]) -> tuple[Tensor, Tensor, Any]:
        """Last-position logits (P,V), attention mask (P,width) and cache of the prompts."""
        texts = [r.prompt.text for r in requests]
        texts += texts[:1] * (self._fewest - len(texts))
        shape = (len(texts), self.width)
        tokens_PL, mask_PL = (torch.zeros(shape, dtype=torch.int64) for _ in range(2))
        for i, ids in enumerate(self.tokens.ids(texts)):  # what is masked may be any token
            tokens_PL[i, self.width - len(ids) :] = torch.tensor(ids)
            mask_PL[i, self.width - len(ids) :] = 1
        mask_PL = mask_PL.to(self.model.device)
        out = self.model(
            input_ids=tokens_PL.to(self.model.device),
            attention_mask=mask_PL,
            position_ids=(mask_PL.cumsum(-1) - 1).clamp(min=0),
            use_cache=True,
            logits_to_keep=-(-MIN_ROWS // len(texts)),  # the output layer's rows, MIN_ROWS as well
        )
        return out.logits[:, -1], mask_PL, out.past_key_values

    def _plan(self, prompts: int, responses: int, sampling: Sampling) -> None:
        """What passes through the model at most, padding included."""
        self.pace.plan(
            responses,
            max(prompts, self._fewest) * self.width,
            max(responses, MIN_ROWS) * (sampling.max_new_tokens - 1),
        )

    @torch.inference_mode()
    def _decode(self, requests: Sequence[Request], sampling: Sampling, stream: Stream) -> "_Rows":
        from harness.rollout.cache import Read, started  # with all of transformers

        items = [item for r in requests for item in r.items]
        self._plan(len(requests), len(items), sampling)
        logits_PV, mask_PL, cache = self._prefill(requests)
        prompt_R = [i for i, r in enumerate(requests) for _ in r.items]
        rows = _Rows.start(items, sampling, stream)
        prompt_R += prompt_R[:1] * (len(rows.row_R) - len(items))
        device = self.model.device
        select_R = torch.tensor(prompt_R, device=device)
        started(cache, select_R)
        read = Read.of(self.model, cache, mask_PL, sampling.max_new_tokens)
        read.keep(select_R)
        logits_RV = logits_PV[select_R]
        forbidden = _Forbidden(self.tokens, sampling)
        for t in range(sampling.max_new_tokens):
            logits_RV = forbidden.applied(logits_RV, rows.last_R.to(device), t)
            drawn = choose(logits_RV, rows.uniforms_at(t).to(device), sampling)
            tokens_R, logprobs_R = (x_R.cpu() for x_R in drawn)  # never the logits
            rows.write(t, tokens_R, logprobs_R, self._ends(rows, tokens_R, t, sampling))
            keep_R = rows.compacted()
            if keep_R is None or t + 1 == sampling.max_new_tokens:
                break
            if len(keep_R) < len(logits_RV):
                self.pace.spare((len(logits_RV) - len(keep_R)) * (sampling.max_new_tokens - 1 - t))
                cache.batch_select_indices(keep_R.to(device))
                read.keep(keep_R.to(device))
            logits_RV = self.model(
                input_ids=rows.last_R[:, None].to(device),
                attention_mask=read.mask(self.width + t + 1),
                position_ids=read.position_R1 + t,
                past_key_values=cache,
                use_cache=True,
            ).logits[:, -1]
        self.pace.finish()
        return rows

    def _ends(self, rows: "_Rows", tokens_R: Tensor, t: int, sampling: Sampling) -> Tensor:
        """Which rows end with this token: an end token, or one that completes a stop string."""
        ends_R = torch.isin(tokens_R, torch.tensor(self.tokens.ends))
        if sampling.stop:
            now = torch.cat([rows.tokens_BT[rows.row_R, :t], tokens_R[:, None]], dim=1)
            texts_R = list(self.tokens.texts(now.tolist()))
            if t >= sampling.min_new_tokens:
                both = zip(rows.texts_R or [""] * len(texts_R), texts_R, strict=True)
                ends_R |= torch.tensor([completed(*pair, sampling.stop) for pair in both])
            rows.texts_R = texts_R
        return ends_R


@dataclass
class _Rows:
    """The responses of one decode call; R live and padding rows of B responses.

    Padding rows repeat response 0 and write nothing.
    """

    tokens_BT: Tensor
    logprobs_BT: Tensor
    lengths_B: Tensor
    finished_B: Tensor
    uniforms_BT: Tensor
    row_R: Tensor
    live_R: Tensor
    last_R: Tensor
    texts_R: list[str] = field(default_factory=list)
    """Where there are stop strings: each row's text up to now."""

    @classmethod
    def start(cls, items: Sequence[int], sampling: Sampling, stream: Stream) -> "_Rows":
        count, width = len(items), sampling.max_new_tokens
        padding = max(0, MIN_ROWS - count)
        uniforms = streams.uniforms(stream.seed, stream.name, stream.step, items, width)
        return cls(
            tokens_BT=torch.zeros(count, width, dtype=torch.int64),
            logprobs_BT=torch.zeros(count, width),
            lengths_B=torch.zeros(count, dtype=torch.int64),
            finished_B=torch.zeros(count, dtype=torch.bool),
            uniforms_BT=torch.from_numpy(np.ascontiguousarray(uniforms)),
            row_R=torch.cat([torch.arange(count), torch.zeros(padding, dtype=torch.int64)]),
            live_R=torch.arange(count + padding) < count,
            last_R=torch.full((count + padding,), -1),
        )

    def uniforms_at(self, t: int) -> Tensor:
        return self.uniforms_BT[self.row_R, t]

    def write(self, t: int, tokens_R: Tensor, logprobs_R: Tensor, ends_R: Tensor) -> None:
        live_B = self.row_R[self.live_R]
        self.tokens_BT[live_B, t] = tokens_R[self.live_R]
        self.logprobs_BT[live_B, t] = logprobs_R[self.live_R]
        self.lengths_B[live_B] = t + 1
        self.finished_B[live_B] = ends_R[self.live_R]
        self.live_R = self.live_R & ~ends_R
        self.last_R = tokens_R

    def compacted(self) -> Tensor | None:
        """Positions of the rows that stay in the batch; None when every response has ended."""
        size, live = len(self.live_R), int(self.live_R.sum())
        if live == 0:
            return None
        if size == MIN_ROWS or live > (1 - COMPACT_SHARE) * size:
            return torch.arange(size)
        order_R = torch.argsort((~self.live_R).to(torch.int8), stable=True)
        keep_R = order_R[: max(live, MIN_ROWS)]
        self.row_R, self.live_R = self.row_R[keep_R], self.live_R[keep_R]
        self.last_R = self.last_R[keep_R]
        self.texts_R = [self.texts_R[i] for i in keep_R.tolist()] if self.texts_R else []
        return keep_R


class _Forbidden:
    """Tokens that may not come next: an end token too early, and forbidden successors."""

    def __init__(self, tokens: Tokens, sampling: Sampling) -> None:
        self.ends, self.sampling = list(tokens.ends), sampling
        vocabulary = tokens.tokenizer.get_vocab() if sampling.forbidden_after else {}
        self.pairs = [(vocabulary[a], vocabulary[b]) for a, b in sampling.forbidden_after]

    def applied(self, logits_RV: Tensor, last_R: Tensor, t: int) -> Tensor:
        if t >= self.sampling.min_new_tokens and not self.pairs:
            return logits_RV
        logits_RV = logits_RV.clone()
        if t < self.sampling.min_new_tokens:
            logits_RV[:, self.ends] = -torch.inf
        for previous, token in self.pairs:
            logits_RV[last_R == previous, token] = -torch.inf
        return logits_RV


def _widened(x_BT: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(x_BT, (0, width - x_BT.shape[1]))
