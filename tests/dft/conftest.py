"""A small model, whose trainees are compared with each other and with TRL's."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.language import model as language_model
from components.language import tokenizer
from components.language.config import ModelConfig, ProblemsConfig, TokenizerConfig


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with its tokenizer."""
    path = tmp_path_factory.mktemp("model")
    fast = tokenizer.create(TokenizerConfig(vocabulary=160, examples=100), ProblemsConfig(), 0, path)
    size = ModelConfig(layers=1, width=32, heads=2, key_value_heads=1, feed_forward=64)
    language_model.create(size, fast, 0, path)
    return path
