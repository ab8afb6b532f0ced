"""Small tokenizers and random models of the kinds that are trained with, made here, no hub.

Each is what its family is in shape: how bytes and spaces are spelled, which special tokens stand
around a text, who writes the first of them (tokenizer, chat template or both), and what ends a
response: tokenizer, generation_config.json and chat template do not always name the same.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from harness.distributed.ranks import Ranks
from harness.models.loading import Source
from harness.rollout.engine import Request, Stream
from harness.tasks.templates import (
    Chat,
    FewShot,
    Hashes,
    Plain,
    Question,
    Template,
    TinyZeroBase,
    TinyZeroInstruct,
    Worked,
)
from harness.types import Prompt, Rollout, Sampling

# What merges are learnt from.
CORPUS = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant",
    "solves it. Show your work in <think> </think> tags. And return the final answer in tags.",
)
MERGES = 60
# Rows of the embeddings without a token, as families pad them for their kernels.
PADDING = 5
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,  # of width 32: vLLM's kernels for the CPU know no smaller
    "num_key_value_heads": 1,
    "max_position_embeddings": 1024,
    "initializer_range": 0.08,
}


def byte_level(specials: list[str], added: str = "$A") -> Tokenizer:
    """Byte-level BPE. `added`: what stands around a text, in the words of TemplateProcessing."""
    made = Tokenizer(BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(
        vocab_size=len(alphabet) + MERGES, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(CORPUS, trainer)
    return with_specials(made, specials, added)


def falling_back(specials: list[str], added: str, metaspace: bool) -> Tokenizer:
    """Characters, `▁` for a space, bytes for the rest; `metaspace`: one before the first word."""
    tokens = [*specials, *BYTES, "▁", *map(chr, range(33, 127))]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    made = Tokenizer(BPE(vocabulary, [], byte_fallback=True, unk_token="<unk>"))
    strip = []
    if metaspace:
        made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        strip = [decoders.Strip(" ", 1, 0)]
    else:
        made.normalizer = normalizers.Replace(" ", "▁")
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    return with_specials(made, specials, added)


def with_specials(made: Tokenizer, specials: list[str], added: str) -> Tokenizer:
    made.add_special_tokens([AddedToken(name, normalized=False) for name in specials])
    if added != "$A":
        made.post_processor = processors.TemplateProcessing(
            single=added, special_tokens=[(name, made.token_to_id(name)) for name in specials]
        )
    return made


def turns(opened: str, closed: str, start: str = "") -> str:
    """A chat template; `ROLE` in `opened` is who speaks."""
    before, after = opened.split("ROLE")
    said = f"{before}{{{{ m['role'] }}}}{after}{{{{ m['content'] }}}}{closed}"
    asks = f"{{% if add_generation_prompt %}}{before}assistant{after}{{% endif %}}"
    return f"{start}{{% for m in messages %}}{said}{{% endfor %}}{asks}"


@dataclass(frozen=True)
class Kind:
    """One family, and what has to come of it.

    Attributes:
        tokenizer: makes it.
        config: class of the model's config, with what it needs beside SHAPE.
        named: special tokens of the tokenizer by their names.
        template: the chat template; None where the family has none.
        own_ends: what generation_config.json lists.
        head: the token that stands once before every prompt; "" where the family has none.
        ends: tokens of which any ends a response.
    """

    tokenizer: Callable[[], Tokenizer]
    config: Callable[..., Any]
    named: Mapping[str, str]
    template: str | None
    own_ends: tuple[str, ...]
    head: str
    ends: frozenset[str]

    def save(self, folder: Path, rows: int | None = None) -> Source:
        """Write tokenizer and random model; `rows` of the embeddings if not the tokenizer's."""
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=self.tokenizer(), **self.named)
        tokenizer.chat_template = self.template
        tokenizer.save_pretrained(folder)
        ids = tokenizer.convert_tokens_to_ids(list(self.own_ends))
        config = self.config(
            **SHAPE,
            vocab_size=rows or len(tokenizer) + PADDING,
            bos_token_id=None,
            eos_token_id=ids[0],
            pad_token_id=None,
        )
        with torch.random.fork_rng():
            torch.manual_seed(1)
            model = AutoModelForCausalLM.from_config(config)
        model.generation_config.eos_token_id = ids if len(ids) > 1 else ids[0]
        model.save_pretrained(folder)
        return Source(
            path=str(folder),
            tokenizer=str(folder),
            dtype=torch.float32,
            attention="sdpa",
            files={},
        )


KINDS = {
    "gpt2": Kind(
        tokenizer=lambda: byte_level(["<|endoftext|>"]),
        config=GPT2Config,
        named={"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"},
        template=None,
        own_ends=("<|endoftext|>",),
        head="",
        ends=frozenset({"<|endoftext|>"}),
    ),
    "llama3": Kind(
        tokenizer=lambda: byte_level(
            ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start|>", "<|end|>"],
            "<|begin_of_text|> $A",
        ),
        config=LlamaConfig,
        named={"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
        template=turns("<|start|>ROLE<|end|>\n\n", "<|eot_id|>", "{{ bos_token }}"),
        own_ends=("<|end_of_text|>", "<|eot_id|>"),
        head="<|begin_of_text|>",
        ends=frozenset({"<|end_of_text|>", "<|eot_id|>"}),
    ),
    "gemma": Kind(
        tokenizer=lambda: falling_back(
            ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"],
            "<bos> $A",
            metaspace=False,
        ),
        config=partial(Gemma3TextConfig, head_dim=32, sliding_window=64),
        named={
            "bos_token": "<bos>",
            "eos_token": "<eos>",
            "pad_token": "<pad>",
            "unk_token": "<unk>",
        },
        template=turns("<start_of_turn>ROLE\n", "<end_of_turn>\n", "{{ bos_token }}"),
        own_ends=("<eos>", "<end_of_turn>"),
        head="<bos>",
        ends=frozenset({"<eos>", "<end_of_turn>"}),
    ),
    # A base model: nothing but the chat template names <|im_end|>.
    "qwen2": Kind(
        tokenizer=lambda: byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]),
        config=Qwen2Config,
        named={"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"},
        template=turns("<|im_start|>ROLE\n", "<|im_end|>\n"),
        own_ends=("<|endoftext|>",),
        head="",
        ends=frozenset({"<|endoftext|>", "<|im_end|>"}),
    ),
    "metaspace": Kind(
        tokenizer=lambda: falling_back(["<unk>", "<s>", "</s>"], "<s> $A", metaspace=True),
        config=LlamaConfig,
        named={"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
        template=turns("[ROLE] ", " </s>", "{{ bos_token }}"),
        own_ends=("</s>",),
        head="<s>",
        ends=frozenset({"</s>"}),
    ),
    "appends_eos": Kind(
        tokenizer=lambda: byte_level(["<s>", "</s>"], "$A </s>"),
        config=MistralConfig,
        named={"eos_token": "</s>"},
        template=turns("ROLE: ", "</s>\n"),
        own_ends=("</s>",),
        head="",
        ends=frozenset({"</s>"}),
    ),
}
TEMPLATES = {
    "tinyzero_base": TinyZeroBase(),
    "tinyzero_instruct": TinyZeroInstruct(),
    "few_shot": FewShot(),
    "hashes": Hashes(),
    "plain": Plain(),
}
WORKED = Worked(question="What is 1 + 2?", reasoning="1 + 2 = 3", answer="3")
TEXTS = ("What is 7 * 8?", " Café  for 3, at 4 \N{EURO SIGN}:\n\n\thow much? \N{GRINNING FACE}")
SAMPLES = 3
SAMPLING = Sampling(max_new_tokens=24)
MANY = 96
# A letter, which even a random model writes now and then.
STOP, LEAST = "e", 6
STOPPING = Sampling(max_new_tokens=24, min_new_tokens=LEAST, stop=(STOP, "never written"))
STREAM = Stream(seed=5, name="rollout", step=1)


def requests(source: Source) -> dict[str, list[Request]]:
    """A few responses to each question, asked in every template that the kind has."""
    templates: dict[str, Template] = dict(TEMPLATES)
    if source.tokens.tokenizer.chat_template:
        templates["chat"] = Chat(tokenizer=source.tokenizer)
    made: dict[str, list[Request]] = {}
    for name, template in templates.items():
        made[name] = []
        for text in TEXTS:
            question = Question(text=text, compact=text, example="12", worked=WORKED)
            rendered = template.render(question)
            prompt = Prompt(text=rendered, item=0, problem=text, difficulty=1, answer=None)
            first = sum(map(len, made.values())) * SAMPLES
            items = tuple(range(first, first + SAMPLES))
            made[name].append(Request(prompt=prompt, items=items))
    return made


@dataclass(frozen=True)
class Sampled:
    """What an engine samples from a kind's model.

    Attributes:
        by_template: a few responses to each question, asked in each template.
        many: responses to one prompt, enough for every end token to end some.
        stopped: to the same prompt with STOPPING.
    """

    by_template: dict[str, Rollout]
    many: Rollout
    stopped: Rollout


def sampled(settings: Any, source: Source, ranks: Ranks) -> Sampled:
    """Everything that is sampled from a kind's model, by one engine."""
    asked = requests(source)
    flat = [request for each in asked.values() for request in each]
    prompts = [request.prompt for request in flat]
    engine = settings.engine(source, source.tokens, prompts, "cpu", ranks)
    whole, rows, found = engine.generate(flat, SAMPLING, STREAM), SAMPLES * len(TEXTS), {}
    for i, name in enumerate(asked):
        found[name] = whole.rows(torch.arange(i * rows, (i + 1) * rows))
    one = [Request(prompt=asked["plain"][0].prompt, items=tuple(range(MANY)))]
    return Sampled(
        by_template=found,
        many=engine.generate(one, SAMPLING, STREAM),
        stopped=engine.generate(one, STOPPING, STREAM),
    )


@torch.no_grad()
def own_logprobs(model: Any, rollout: Rollout, row: int) -> torch.Tensor:
    """Log-probs of a response's tokens, from one unpadded row of the model: float64."""
    prompt, length = rollout.prompt_ids[row], int(rollout.lengths_B[row])
    ids = torch.tensor([[*prompt, *rollout.tokens_BT[row, :length].tolist()]])
    logprobs_SV = model(input_ids=ids).logits[0].double().log_softmax(-1)
    return logprobs_SV[len(prompt) - 1 : -1].gather(-1, ids[0, len(prompt) :, None])[:, 0]


def check(kind: Kind, source: Source, model: Any, rollout: Rollout) -> None:
    """All that must hold of responses, whoever sampled them."""
    tokens, name = source.tokens, source.tokens.tokenizer.convert_ids_to_tokens
    ends = {i for i in range(len(tokens.tokenizer)) if name(i) in kind.ends}
    assert set(tokens.ends) == ends
    for i, prompt in enumerate(rollout.prompts):
        ids = list(rollout.prompt_ids[i])
        if kind.head:
            assert name(ids[0]) == kind.head
            assert [name(j) for j in ids].count(kind.head) == 1
        assert ids[-1] not in ends
        body = ids[bool(kind.head) :]
        assert tokens.texts([body])[0].removeprefix(" ") == _bare(kind, prompt.text)
        length = int(rollout.lengths_B[i])
        response, finished = rollout.tokens_BT[i, :length].tolist(), bool(rollout.finished_B[i])
        assert ends.isdisjoint(response[:-1])
        assert finished == (response[-1] in ends)
        assert finished or length == SAMPLING.max_new_tokens
        assert rollout.texts[i] == tokens.texts([response[:-1] if finished else response])[0]
        torch.testing.assert_close(
            rollout.logprobs_BT[i, :length].double(),
            own_logprobs(model, rollout, i),
            rtol=0,
            atol=1e-5,
        )


def check_ends(source: Source, rollout: Rollout) -> None:
    """Each end token ends responses: it counts, is in the mask, and is not in the text."""
    lengths = rollout.lengths_B.tolist()
    rows = [rollout.tokens_BT[i, :length].tolist() for i, length in enumerate(lengths)]
    for end in source.tokens.ends:
        own = [i for i, row in enumerate(rows) if row[-1] == end]
        assert own, f"no response ends with {end}"
        shown = source.tokens.tokenizer.convert_ids_to_tokens(end)
        for i in own:
            assert rollout.finished_B[i]
            assert rollout.mask_BT[i].tolist() == [
                t < lengths[i] for t in range(len(rollout.mask_BT[i]))
            ]
            assert rollout.texts[i] == source.tokens.texts([rows[i][:-1]])[0]
            assert shown not in rollout.texts[i]
    assert not all(rollout.finished_B)


def check_stops(source: Source, rollout: Rollout) -> None:
    """Nothing ends a response before LEAST tokens; after them, the first stop or end token does.

    Counted here: a token completes the stop when the text has one more of it with the token.
    """
    tokens, stopped, passed = source.tokens, 0, 0
    for i, length in enumerate(rollout.lengths_B.tolist()):
        row = rollout.tokens_BT[i, :length].tolist()
        counts = [text.count(STOP) for text in tokens.texts([row[:t] for t in range(length + 1)])]
        stops = [t for t in range(length) if counts[t + 1] > counts[t]]
        ends = [t for t in range(length) if row[t] in tokens.ends]
        passed += any(t < LEAST for t in stops)
        last = min([t for t in (*stops, *ends) if t >= LEAST], default=None)
        stopped += last is not None and last in stops
        assert min(ends, default=LEAST) >= LEAST
        assert bool(rollout.finished_B[i]) == (last is not None)
        assert length == (STOPPING.max_new_tokens if last is None else last + 1)
        assert rollout.texts[i] == tokens.responses([row])[0]
    assert stopped > 0
    assert passed > 0


def _bare(kind: Kind, text: str) -> str:
    return text.removeprefix(kind.head).removeprefix(" ")
