"""What a policy sampled and what it earned: the batch that it is trained on, as one file that survives a kill."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from components.language.samples import Completion
from components.language.tokenise import MULTIPLE
from components.store.errors import IntegrityError
from components.store.files import sync_folder

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Rollout:
    """N sequences, groups of one prompt one after another. Tokens lie in one row; lengths say where each ends."""

    prompts: Ints
    """(sum of prompt_lengths,)"""
    prompt_lengths: Ints
    """(N,)"""
    completions: Ints
    """(sum of lengths,)"""
    lengths: Ints
    """(N,) tokens of each completion, the end token included"""
    logprobs: Floats
    """(sum of lengths,) of the sampled tokens, natural, as the engine that sampled them says"""
    rewards: Floats
    """(N,)"""
    advantages: Floats
    """(N,)"""

    @classmethod
    def of(
        cls,
        prompts: Sequence[Sequence[int]],
        completions: Sequence[Completion],
        rewards: NDArray[np.float64],
        advantages: NDArray[np.float64],
    ) -> Rollout:
        """From as many prompts (repeated within a group), completions, rewards and advantages."""
        return cls(
            prompts=np.concatenate([np.asarray(prompt, np.int32) for prompt in prompts]),
            prompt_lengths=np.array([len(prompt) for prompt in prompts], np.int32),
            completions=np.concatenate([np.asarray(c.token_ids, np.int32) for c in completions]),
            lengths=np.array([len(c.token_ids) for c in completions], np.int32),
            logprobs=np.concatenate([np.asarray(c.logprobs, np.float32) for c in completions]),
            rewards=rewards.astype(np.float32),
            advantages=advantages.astype(np.float32),
        )

    def save(self, path: Path) -> None:
        """Write it whole or not at all."""
        part = path.with_name(f".{path.name}.part")
        save_file(dict(vars(self)), part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
        sync_folder(path.parent)

    @classmethod
    def load(cls, path: Path) -> Rollout:
        """Raises IntegrityError for a file that is none."""
        try:
            return cls(**load_file(path))
        except (OSError, SafetensorError, TypeError) as error:
            raise IntegrityError(f"{path} is no rollout ({error}); remove it, and it is sampled again") from error

    def batch(self, chosen: Sequence[int]) -> dict[str, Tensor]:
        """Sequences as padded tensors. L is the longest, rounded up to a multiple of 8.

        Returns:
            input_ids, attention_mask: (B, L) int64; sampled: (B, L - 1) bool, which of the tokens 1 .. L - 1 are the
            policy's; old: (B, L - 1) their log-probabilities, else 0; advantage, reward: (B,).
        """
        prompt_ends, ends = np.cumsum(self.prompt_lengths), np.cumsum(self.lengths)
        longest = int((self.prompt_lengths[chosen] + self.lengths[chosen]).max())
        ids = torch.zeros(len(chosen), -(-longest // MULTIPLE) * MULTIPLE, dtype=torch.int64)
        attention = torch.zeros_like(ids)
        sampled, old = torch.zeros_like(ids, dtype=torch.bool), torch.zeros(ids.shape)
        for row, i in enumerate(chosen):
            begin, end = int(self.prompt_lengths[i]), int(self.prompt_lengths[i] + self.lengths[i])
            own = slice(ends[i] - self.lengths[i], ends[i])
            ids[row, :begin] = torch.from_numpy(self.prompts[prompt_ends[i] - begin : prompt_ends[i]])
            ids[row, begin:end] = torch.from_numpy(self.completions[own])
            old[row, begin:end] = torch.from_numpy(self.logprobs[own])
            attention[row, :end], sampled[row, begin:end] = 1, True
        return {
            "input_ids": ids, "attention_mask": attention, "sampled": sampled[:, 1:], "old": old[:, 1:],
            "advantage": torch.from_numpy(self.advantages[list(chosen)]),
            "reward": torch.from_numpy(self.rewards[list(chosen)]),
        }  # fmt: skip
