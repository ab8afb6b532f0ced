"""Writes random_model/: a Qwen2 in Hugging Face format with random weights, a token per byte."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

FOLDER = "random_model"
END = "<|endoftext|>"

bytes_alone = sorted(pre_tokenizers.ByteLevel.alphabet())
ids = {token: i for i, token in enumerate([*bytes_alone, END])}
made = Tokenizer(models.BPE(ids, merges=[]))
made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
made.decoder = decoders.ByteLevel()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token=END)
tokenizer.save_pretrained(FOLDER)

torch.manual_seed(0)
shape = Qwen2Config(
    vocab_size=len(tokenizer),
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    eos_token_id=tokenizer.eos_token_id,
    bos_token_id=None,
)
Qwen2ForCausalLM(shape).save_pretrained(FOLDER)
