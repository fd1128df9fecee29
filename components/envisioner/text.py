"""Instructions to text tokens."""

from __future__ import annotations

import hashlib
import re

import torch
from torch import Tensor

from components.envisioner.config import TextConfig


class HashedWords:
    """A frozen text encoder that needs no download: a word's vector is Gaussian noise seeded by the word's hash.

    Different words are near-orthogonal, equal words are equal on every machine; the network's caption projection learns
    what they mean. A fixed sinusoid marks the position.
    """

    def __init__(self, config: TextConfig):
        self.settings = config
        self._words: dict[str, Tensor] = {}
        position = torch.arange(config.tokens)[:, None] / 10000 ** (torch.arange(config.width)[None] / config.width)
        self._position = 0.1 * torch.sin(position)

    def __call__(self, instructions: list[str]) -> tuple[Tensor, Tensor]:
        """-> tokens (B, T, width) and mask (B, T), 1 where there is a word. Longer text is cut at T words."""
        tokens = torch.zeros(len(instructions), self.settings.tokens, self.settings.width)
        mask = torch.zeros(len(instructions), self.settings.tokens)
        for row, instruction in enumerate(instructions):
            words = re.findall(r"[a-z0-9]+", instruction.lower())[: self.settings.tokens] or [""]
            tokens[row, : len(words)] = torch.stack([self._vector(word) for word in words])
            tokens[row, : len(words)] += self._position[: len(words)]
            mask[row, : len(words)] = 1
        return tokens, mask

    def _vector(self, word: str) -> Tensor:
        if word not in self._words:
            if len(self._words) > 10_000:  # a server's text comes from outside: bound what it can make us keep
                self._words.clear()
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big") >> 1
            generator = torch.Generator().manual_seed(seed)
            self._words[word] = torch.randn(self.settings.width, generator=generator)
        return self._words[word]
