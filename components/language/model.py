"""The small language model: a Qwen3 made from a seed, and the one door through which models are read.

A model is a Hugging Face folder: config.json, generation_config.json, safetensors, and its tokenizer. Nothing is ever
downloaded, unpickled or run from it.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)
from transformers.utils.logging import disable_progress_bar

from components.language.config import ModelConfig
from components.store.errors import ConfigurationError

disable_progress_bar()  # progress is shown by components.telemetry


def create(config: ModelConfig, tokenizer: PreTrainedTokenizerBase, seed: int, folder: Path) -> None:
    """Write a model of `config` with random weights in fp32, and the tokenizer, to `folder`. Same seed, same bytes."""
    network = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=config.width,
        intermediate_size=config.feed_forward,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.key_value_heads,
        head_dim=config.head_dim,
        max_position_embeddings=config.context,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(network)
    tokenizer.model_max_length = config.context
    save(model, tokenizer, folder)


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a model and its tokenizer to `folder`, as `load` reads them."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_for_engine(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, dtype: str) -> None:
    """As `save`, in the engine's `dtype` ("float32", "bfloat16"), with a head of its own even where the model shares it
    with the embedding: vLLM 0.32 reads weights anew while it runs, but for a shared head.

    Whole weights: each process of an engine that shares them out takes its own part.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = copy.deepcopy(model.config)
    config.tie_word_embeddings = False
    config.dtype = dtype
    config.save_pretrained(folder)
    if model.generation_config is not None:
        model.generation_config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    weights = {
        name: value.detach().to(getattr(torch, dtype), copy=True, memory_format=torch.contiguous_format)
        for name, value in model.state_dict().items()
    }
    part = folder / "model.part"
    save_file(weights, part, metadata={"format": "pt"})
    os.replace(part, folder / "model.safetensors")


def load(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Model (fp32) and tokenizer of a folder.

    Raises:
        ConfigurationError: as `load_tokenizer`; or weights are missing, damaged or of another shape.
    """
    tokenizer = load_tokenizer(folder)
    try:
        read: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise ConfigurationError(f"the weights in {folder} can't be read: {error}") from error
    model, report = read
    if report["missing_keys"]:
        raise ConfigurationError(
            f"the weights in {folder} are not complete, {sorted(report['missing_keys'])[0]} is missing: save it whole"
        )
    return model, tokenizer


def hidden_states(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """(B, L - 1, width): the states that predict tokens 1 .. L - 1 of `input_ids` (B, L) under `attention_mask`."""
    found: Tensor = model.model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
    ).last_hidden_state
    return found[:, :-1]


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """Tokenizer of a model's folder, checked against the model's configuration. Weights are not read.

    Raises:
        ConfigurationError: not a model's folder, or tokenizer and model do not fit; the message names everything that
            does not fit, and the mend.
    """
    network = _network(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"the tokenizer in {folder} can't be read: {error}") from error
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise ConfigurationError(f"the tokenizer in {folder} is a slow one: save its fast form, with a tokenizer.json")
    problems = [*_vocabulary(network, tokenizer), *_special_ids(folder, network, tokenizer), *_template(tokenizer)]
    if problems:
        raise ConfigurationError(f"tokenizer and model in {folder} do not fit: " + "; ".join(problems))
    return tokenizer


def context(folder: Path) -> int:
    """The longest sequence, in tokens, that the model of a folder has positions for.

    A tokenizer's own `model_max_length` is no measure: that of Qwen2.5-Math is 32 times its model's positions.
    """
    return int(_network(folder).max_position_embeddings)


def _network(folder: Path) -> PreTrainedConfig:
    if not (folder / "config.json").is_file():
        raise ConfigurationError(f"{folder} is no Hugging Face model: it has no config.json")
    try:
        network = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{folder}/config.json can't be read: {error}") from error
    if not isinstance(getattr(network, "max_position_embeddings", None), int):
        raise ConfigurationError(f"{folder}/config.json has no max_position_embeddings; add the longest sequence")
    return network


def _vocabulary(network: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    largest = max(tokenizer.get_vocab().values())
    if largest < network.vocab_size:
        return []
    return [
        f"the tokenizer's ids go up to {largest}, the model's vocab_size is {network.vocab_size}: "
        "use the tokenizer that the model was made with, or resize the model's embeddings"
    ]


def _special_ids(folder: Path, network: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    problems = [
        f"the tokenizer has no {name}: set it in tokenizer_config.json"
        for name in ("pad_token", "eos_token")
        if getattr(tokenizer, name) is None
    ]
    for name in ("bos_token_id", "pad_token_id"):
        model_id, tokenizer_id = getattr(network, name, None), getattr(tokenizer, name)
        if None not in (model_id, tokenizer_id) and model_id != tokenizer_id:
            problems.append(f"{name} is {tokenizer_id} in the tokenizer, {model_id} in config.json: make them equal")
    stops = network.eos_token_id
    if (folder / "generation_config.json").is_file():
        stops = GenerationConfig.from_pretrained(folder, local_files_only=True).eos_token_id
    if tokenizer.eos_token_id not in (stops if isinstance(stops, list) else [stops]):
        problems.append(
            f"generation stops at {stops}, the tokenizer's eos_token_id is {tokenizer.eos_token_id}: "
            "add it to eos_token_id in generation_config.json"
        )
    return problems


def _template(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    if tokenizer.chat_template is None:
        return ["the tokenizer has no chat template: add chat_template.jinja"]
    try:
        tokenizer.apply_chat_template([{"role": "user", "content": "?"}], tokenize=False, add_generation_prompt=True)
    except (TemplateError, ValueError, TypeError) as error:
        return [f"the chat template fails on a user's message ({error}): mend chat_template.jinja"]
    return []
