"""A random Qwen3 of two layers with a tokenizer of its own, as transformers saves them."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

POSITIONS = 256
END = "<|end|>"


def write_model(folder: Path, seed: int = 0) -> None:
    """One token for each ASCII character, its code, then the end. The weights are large, so that no two tokens are
    equally probable and what is written does not repeat itself at once."""
    ascii_as_text = [_byte_level(chr(code)) for code in range(128)]
    vocabulary = {text: number for number, text in enumerate([*ascii_as_text, END])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END).save_pretrained(folder)
    end = vocabulary[END]
    config = Qwen3Config(
        vocab_size=len(vocabulary), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=32, max_position_embeddings=POSITIONS, initializer_range=0.4,
        bos_token_id=None, eos_token_id=end, pad_token_id=end,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        Qwen3ForCausalLM(config).save_pretrained(folder)


def _byte_level(character: str) -> str:
    """How the byte-level pre-tokenizer writes a character: blanks and control characters as visible ones."""
    [(text, _)] = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(character)
    return text
