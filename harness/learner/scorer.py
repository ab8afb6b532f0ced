"""A causal language model read at the response tokens, its vocabulary in chunks.

The (B,T,V) logits of a real vocabulary are larger than the model: 10 GB for 8 x 2,048 tokens in
float32. Only a chunk of them exists at a time, in the backward pass as well, where it is computed
again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from harness.errors import ConfigError
from harness.learner.batching import Packed
from harness.learner.head import HeadGradient, rounds
from harness.maths.tensor_ops import full_kl

# Logits of one chunk: 128 MiB in float32, of which a handful of tensors is alive at once.
CHUNK_LOGITS = 1 << 25
# Largest share by which the logits read here may differ from the model's own.
HEAD_TOLERANCE = 0.02


@dataclass(frozen=True)
class Hidden:
    """What a frozen model makes of some rows: its logits are `head` of its last hidden states."""

    states_ND: Tensor
    head: Callable[[Tensor], Tensor]


class Scorer(torch.nn.Module):
    """Log-probs, entropies and values of response tokens.

    Everything that goes in and comes out lies on the CPU, wherever the model is.

    Args:
        model: a causal language model of transformers.
        temperature: divides the logits.
        device: where passes are computed; parameters may lie elsewhere between them.
        values: add a value head to it; it begins at zero, which is no baseline at all, so that PPO
            begins as REINFORCE.
    """

    def __init__(
        self, model: Any, temperature: float, device: torch.device, values: bool = False
    ) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.device = device
        self.value_head = value_head(model) if values else None

    def forward(
        self,
        inputs: Packed,
        columns: frozenset[str] = frozenset(),
        reference: Hidden | None = None,
        entropy: bool = True,
    ) -> dict[str, Tensor]:
        """(b,t) columns, 0 off the mask: logprobs_BT with gradient and entropy_BT.

        Args:
            columns: `entropy_BT` asks for its gradient.
            reference: gives kl_full_BT, the exact KL to it.
            entropy: whether it is wanted at all; it reads a real vocabulary three times more.

        Where there is a value head, values_BT are there as well.
        """
        hidden_ND = states(self.model.base_model, inputs, self.device)
        targets_N = inputs.tokens_bS[:, 1:].to(self.device)[_at(inputs, self.device)]
        wanted = {"logprobs_BT": True, "entropy_BT": entropy, "kl_full_BT": reference is not None}
        gradient = "entropy_BT" in columns if entropy else None
        found = self._in_chunks(hidden_ND, targets_N, gradient, reference)
        made = dict(zip([name for name, asked in wanted.items() if asked], found, strict=True))
        if self.value_head is not None:
            made["values_BT"] = valued(self.value_head, hidden_ND)
        return {name: inputs.on_tokens(x_N.cpu()) for name, x_N in made.items()}

    def hidden(self, inputs: Packed) -> Hidden:
        """What another model's exact KL to this one needs of some rows."""
        return Hidden(
            states(self.model.base_model, inputs, self.device), self.model.get_output_embeddings()
        )

    def _in_chunks(
        self,
        hidden_ND: Tensor,
        targets_N: Tensor,
        entropy: bool | None,
        reference: Hidden | None,
    ) -> list[Tensor]:
        """Per token: log-prob, entropy (with gradient or not; None: none), KL to a reference."""
        size = max(1, CHUNK_LOGITS // self.model.config.get_text_config().vocab_size)
        ref_ND = None if reference is None else reference.states_ND
        head = None if reference is None else reference.head
        again = torch.is_grad_enabled() and len(hidden_ND) > size
        own = self.model.get_output_embeddings()
        logits = HeadGradient(own) if again and rounds(own) else own
        parts = []
        for start in range(0, len(hidden_ND), size):
            part = slice(start, start + size)
            ref_nD = None if ref_ND is None else ref_ND[part]
            given = (logits, hidden_ND[part], targets_N[part], entropy, ref_nD, head)
            if again:
                kept = checkpoint(
                    self._chunk, *given, use_reentrant=False, preserve_rng_state=False
                )
                parts.append(kept)
            else:
                parts.append(self._chunk(*given))
        return [torch.cat(found) for found in zip(*parts, strict=True)]

    def _chunk(
        self,
        logits: Callable[[Tensor], Tensor],
        hidden_nD: Tensor,
        targets_n: Tensor,
        entropy: bool | None,
        ref_nD: Any,
        head: Any,
    ) -> tuple[Tensor, ...]:
        logits_nV = _wide(logits(hidden_nD)) / self.temperature
        log_p = logits_nV.log_softmax(-1)
        made = [log_p.gather(-1, targets_n[:, None])[:, 0]]
        if entropy is not None:
            with torch.set_grad_enabled(entropy and torch.is_grad_enabled()):
                made.append(-(log_p.exp() * log_p).sum(-1))
        if head is not None:
            with torch.no_grad():
                ref_logits_nV = _wide(head(ref_nD)) / self.temperature
            made.append(full_kl(logits_nV, ref_logits_nV))
        return tuple(made)


def valued(head: torch.nn.Linear, hidden_ND: Tensor) -> Tensor:
    """(N,) values."""
    values_N: Tensor = head(hidden_ND.to(head.weight.dtype))[:, 0]
    return values_N


def value_head(model: Any) -> torch.nn.Linear:
    """A linear head of zeros on the model's hidden states."""
    head = torch.nn.Linear(model.config.get_text_config().hidden_size, 1, dtype=model.dtype)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    return head


def states(backbone: Any, inputs: Packed, device: torch.device) -> Tensor:
    """(N,D) last hidden states of a model without its output layer, where response tokens come."""
    hidden_bSD: Tensor = backbone(
        input_ids=inputs.tokens_bS.to(device), use_cache=False
    ).last_hidden_state
    return hidden_bSD[_at(inputs, device)]


@torch.no_grad()
def check_head(model: Any, path: str) -> None:
    """Raise ConfigError unless the model's logits are its output layer's of its hidden states.

    Some models scale or cap them afterwards; their log-probs would be wrong.
    """
    tokens_1S = torch.arange(4, device=model.device)[None]
    own = model(input_ids=tokens_1S, use_cache=False).logits.float()
    hidden = model.base_model(input_ids=tokens_1S, use_cache=False).last_hidden_state
    read = model.get_output_embeddings()(hidden).float()
    if (own - read).abs().max() > HEAD_TOLERANCE * own.abs().max():
        raise ConfigError(
            f"model {path!r} changes its logits after its output layer (a cap or a scale), which "
            f"the harness would not see; take a model without, such as Qwen2.5"
        )


def _at(inputs: Packed, device: torch.device) -> tuple[Tensor, Tensor]:
    rows_N, positions_N = inputs.where_N
    return rows_N.to(device), positions_N.to(device)


def _wide(x: Tensor) -> Tensor:
    """At least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
