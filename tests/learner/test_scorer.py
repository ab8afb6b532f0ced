"""Log-probs, entropies and exact KL, with the vocabulary in chunks."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from harness.errors import ConfigError
from harness.learner import scorer as module
from harness.learner.batching import packed
from harness.learner.memory import shape_of
from harness.learner.scorer import Scorer, check_head
from harness.models.loading import Source
from harness.types import Rollout

CPU = torch.device("cpu")
CONFIG = Qwen2Config(
    vocab_size=256,
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=2,
    intermediate_size=64,
)


def read(source: Source, rollout: Rollout, rows: list[int]) -> tuple[dict[str, Tensor], list[Any]]:
    """Columns of some rows, and the gradient of a mixture of them."""
    other = source.model()
    with torch.no_grad():
        other.model.norm.weight.mul_(1.5)
    scorer, reference = Scorer(source.model().double(), 0.8, CPU), Scorer(other.double(), 0.8, CPU)
    inputs = packed(rollout, torch.tensor(rows))
    with torch.no_grad():
        hidden = reference.hidden(inputs)
    made = scorer(inputs, frozenset({"entropy_BT"}), hidden)
    weights_BT = torch.linspace(-1, 1, made["logprobs_BT"].numel()).view_as(made["logprobs_BT"])
    total = sum((x_BT * weights_BT).sum() for x_BT in made.values())
    total.backward()  # type: ignore[union-attr]
    return made, [p.grad for p in scorer.model.parameters()]


@pytest.mark.parametrize("size", [1, 3, 10])
def test_chunks_change_neither_values_nor_gradients(
    source: Source, rollout: Rollout, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    rows = [0, 5, 9, 31]
    whole, gradients = read(source, rollout, rows)
    vocabulary = source.model().config.vocab_size
    seen = []
    real = Scorer._chunk

    def counted(self: Scorer, logits: Any, hidden_nD: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        seen.append(len(hidden_nD))
        return real(self, logits, hidden_nD, *rest)

    monkeypatch.setattr(Scorer, "_chunk", counted)
    monkeypatch.setattr(module, "CHUNK_LOGITS", size * vocabulary)
    parts, others = read(source, rollout, rows)
    assert max(seen) == size
    # Each chunk is computed twice: once for the values, once for the gradient.
    assert sum(seen) == 2 * int(rollout.lengths_B[rows].sum())
    for name, x_BT in whole.items():
        torch.testing.assert_close(parts[name], x_BT, rtol=1e-12, atol=1e-12)
    for a, b in zip(gradients, others, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_the_full_vocabulary_is_never_there_at_once(
    source: Source, rollout: Rollout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that autograd keeps has more rows of the vocabulary's width than a chunk."""
    vocabulary, chunk = source.model().config.vocab_size, 4
    monkeypatch.setattr(module, "CHUNK_LOGITS", chunk * vocabulary)
    scorer = Scorer(source.model(), 1.0, CPU)
    inputs = packed(rollout, torch.arange(32))
    kept: list[torch.Size] = []

    def seen(x: Tensor) -> Tensor:
        kept.append(x.shape)
        return x

    with torch.autograd.graph.saved_tensors_hooks(seen, lambda x: x):
        scorer(inputs, frozenset({"entropy_BT"}))
    wide = [shape for shape in kept if shape and shape[-1] == vocabulary]
    assert not [shape for shape in wide if shape.numel() > chunk * vocabulary]


@pytest.mark.parametrize("tied", [False, True])
def test_many_chunks_cost_bfloat16_no_precision(
    rollout: Rollout, monkeypatch: pytest.MonkeyPatch, tied: bool
) -> None:
    """The output layer's gradient in bfloat16 against float64: in one piece, and in 60.

    Added up in bfloat16, chunk by chunk, it was off by three times as much.
    """
    inputs = packed(rollout, torch.arange(len(rollout.texts)))

    def gradient(dtype: torch.dtype, chunk: int) -> Tensor:
        monkeypatch.setattr(module, "CHUNK_LOGITS", chunk * CONFIG.vocab_size)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = Qwen2ForCausalLM(Qwen2Config(**settings)).bfloat16().to(dtype)
        Scorer(model, 1.0, CPU)(inputs)["logprobs_BT"].sum().backward()  # type: ignore[no-untyped-call]
        found: Tensor = model.get_output_embeddings().weight.grad
        assert found.dtype == dtype
        return found.double()

    settings = {**CONFIG.to_dict(), "tie_word_embeddings": tied}
    tokens = int(rollout.mask_BT.sum())
    exact, piece = gradient(torch.float64, tokens), gradient(torch.bfloat16, tokens)
    parts = gradient(torch.bfloat16, -(-tokens // 60))
    error, errors = ((x - exact).norm() / exact.norm() for x in (piece, parts))
    assert 0 < errors < 1.2 * error


def test_another_architecture_gives_its_own_log_probs(rollout: Rollout) -> None:
    """GPT-2: learned positions, no key-value heads in its config, biases, tied output."""
    config = GPT2Config(vocab_size=80, n_embd=16, n_layer=2, n_head=2, n_positions=64)
    model = GPT2LMHeadModel(config).eval()
    check_head(model, "gpt2")
    inputs = packed(rollout, torch.tensor([3, 17]))
    with torch.no_grad():
        made = Scorer(model, 0.7, CPU)(inputs)["logprobs_BT"]
        for i, row in enumerate((3, 17)):
            prompt, length = rollout.prompt_ids[row], int(rollout.lengths_B[row])
            tokens = torch.cat([torch.tensor(prompt), rollout.tokens_BT[row, :length]])
            log_p = (model(tokens[None]).logits[0] / 0.7).log_softmax(-1)
            expected = [float(log_p[t - 1, tokens[t]]) for t in range(len(prompt), len(tokens))]
            assert made[i, :length].tolist() == pytest.approx(expected, abs=1e-5)
    shape = shape_of(config)
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    assert (shape.key_values, shape.feed_forward, shape.head) == (16, 64, 0)


def test_a_model_that_changes_its_logits_afterwards_is_refused(source: Source) -> None:
    """Gemma 2 caps them: its log-probs would be wrong, and nobody would notice."""
    check_head(source.model(), "tiny")
    settings: dict[str, Any] = {
        "vocab_size": 60,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "intermediate_size": 32,
    }
    capped = Gemma2ForCausalLM(Gemma2Config(**settings, final_logit_softcapping=0.01))
    with pytest.raises(ConfigError, match="'capped' changes its logits"):
        check_head(capped, "capped")
    check_head(Gemma2ForCausalLM(Gemma2Config(**settings, final_logit_softcapping=None)), "free")
