"""The small model: made from a seed, read through checks that name what does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from components.language import model as language_model
from components.language.config import ModelConfig, ProblemsConfig, TokenizerConfig
from components.language.tokenizer import create as create_tokenizer
from components.store.errors import ConfigurationError

SMALL = ModelConfig(layers=1, width=32, heads=2, key_value_heads=1, feed_forward=64, context=128)


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    create_tokenizer(TokenizerConfig(examples=100), ProblemsConfig(), 0, folder)
    return folder


@pytest.fixture
def folder(tokenizer_folder: Path, tmp_path: Path) -> Path:
    """A fresh model that a test may spoil."""
    return made(tokenizer_folder, tmp_path / "model")


def made(tokenizer_folder: Path, folder: Path, config: ModelConfig = SMALL, seed: int = 0) -> Path:
    language_model.create(config, AutoTokenizer.from_pretrained(tokenizer_folder), seed, folder)
    return folder


def change(file: Path, **values: object) -> None:
    """Set values of a JSON file; None removes."""
    content = json.loads(file.read_text()) | values
    file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def test_a_seed_names_the_bytes(tokenizer_folder: Path, tmp_path: Path) -> None:
    """A version is named by its seed: the same one must give the same weights, another one others."""
    state = torch.random.get_rng_state()
    files = [
        made(tokenizer_folder, tmp_path / str(i), seed=seed) / "model.safetensors" for i, seed in enumerate((5, 5, 6))
    ]
    assert files[0].read_bytes() == files[1].read_bytes() != files[2].read_bytes()
    assert torch.equal(state, torch.random.get_rng_state()), "the caller's random numbers are its own"


def test_the_default_has_the_size_that_two_cores_can_train(tokenizer_folder: Path, tmp_path: Path) -> None:
    """Its training time was measured at this size; the embedding is counted once, for it is tied."""
    network, _ = language_model.load(made(tokenizer_folder, tmp_path / "model", ModelConfig()))
    assert 500_000 < sum(p.numel() for p in network.parameters()) < 1_500_000
    assert network.get_output_embeddings().weight is network.get_input_embeddings().weight


def test_a_model_comes_back_as_it_was_saved(folder: Path, tmp_path: Path) -> None:
    """What a stage publishes is what the next one reads: same weights, fp32, same tokens."""
    network, tokenizer = language_model.load(folder)
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.5)
    language_model.save(network, tokenizer, tmp_path / "again")
    again, tokenizer_again = language_model.load(tmp_path / "again")
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    assert tokenizer_again.get_vocab() == tokenizer.get_vocab()
    assert tokenizer_again.chat_template == tokenizer.chat_template
    assert language_model.context(tmp_path / "again") == SMALL.context


def test_it_generates_from_the_chat_template(folder: Path) -> None:
    """The folder alone must be enough to sample: template, special tokens, when to stop."""
    network, tokenizer = language_model.load(folder)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "1+1"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.no_grad():
        network.get_input_embeddings().weight[tokenizer.eos_token_id] = 0
        generated = network.generate(**prompt, max_new_tokens=4, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert len(generated) == 4
    network.lm_head.bias = torch.nn.Parameter(torch.zeros(network.config.vocab_size))
    with torch.no_grad():
        network.lm_head.bias[tokenizer.eos_token_id] = 1e4
        stopped = network.generate(**prompt, max_new_tokens=4, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert stopped.tolist() == [tokenizer.eos_token_id]


MISFITS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "vocabulary": (
        lambda f: change(f / "config.json", vocab_size=200),
        r"ids go up to 319, the model's vocab_size is 200: use the tokenizer that the model was made with",
    ),
    "pad": (
        lambda f: change(f / "tokenizer_config.json", pad_token=None),
        "the tokenizer has no pad_token: set it in tokenizer_config.json",
    ),
    "bos": (lambda f: change(f / "config.json", bos_token_id=9), "bos_token_id is 2 in the tokenizer, 9 in config"),
    "eos": (
        lambda f: change(f / "generation_config.json", eos_token_id=[0, 7]),
        r"generation stops at \[0, 7\], the tokenizer's eos_token_id is 3: add it to eos_token_id in generation_config",
    ),
    "no generation config": (
        lambda f: ((f / "generation_config.json").unlink(), change(f / "config.json", eos_token_id=8)),
        "generation stops at 8, the tokenizer's eos_token_id is 3",
    ),
    "no template": (lambda f: (f / "chat_template.jinja").unlink(), "no chat template: add chat_template.jinja"),
    "broken template": (
        lambda f: (f / "chat_template.jinja").write_text("{% for m in messages %}"),
        "the chat template fails on a user's message .*: mend chat_template.jinja",
    ),
    "no config": (lambda f: (f / "config.json").unlink(), "no Hugging Face model: it has no config.json"),
    "damaged config": (lambda f: (f / "config.json").write_text('{"model_type": '), "config.json can't be read"),
    "unknown network": (lambda f: change(f / "config.json", model_type="sundial"), "config.json can't be read"),
    "damaged tokenizer": (lambda f: (f / "tokenizer.json").write_text("{}"), "the tokenizer in .* can't be read"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISFITS)
def test_what_does_not_fit_is_named_with_its_mend(folder: Path, case: str) -> None:
    """Each of these would otherwise train or sample nonsense, or die in a library's traceback after minutes."""
    spoil, message = MISFITS[case]
    spoil(folder)
    with pytest.raises(ConfigurationError, match=message):
        language_model.load_tokenizer(folder)


def test_every_misfit_is_named_at_once(folder: Path) -> None:
    """Mending one thing to be told of the next costs a run each."""
    change(folder / "config.json", vocab_size=200, bos_token_id=9)
    with pytest.raises(ConfigurationError, match=r"vocab_size is 200.*; bos_token_id is 2"):
        language_model.load_tokenizer(folder)


def lose_a_tensor(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.0.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


WEIGHTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing tensor": (lose_a_tensor, "not complete, model.layers.0.mlp.up_proj.weight is missing"),
    "no file": (lambda f: (f / "model.safetensors").unlink(), "weights in .* can't be read"),
    "cut short": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:5000]),
        "weights in .* can't be read",
    ),
    "another shape": (lambda f: change(f / "config.json", intermediate_size=96), "weights in .* can't be read"),
    "pickled": (pickled, "weights in .* can't be read"),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_bad_weights_are_refused(folder: Path, case: str) -> None:
    """Missing weights would be filled with random numbers, pickled ones could run code."""
    spoil, message = WEIGHTS[case]
    spoil(folder)
    with pytest.raises(ConfigurationError, match=message):
        language_model.load(folder)


def test_heads_that_cannot_share_are_refused() -> None:
    """The message must name the mend before any stage starts."""
    with pytest.raises(ValidationError, match="make heads a multiple of key_value_heads"):
        ModelConfig(heads=4, key_value_heads=3)
