"""DPO's trainee: pairs of a right and a wrong answer, the loss of Rafailov et al. (arXiv 2305.18290, Eq. 7)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from components.dft.config import DpoConfig
from components.dft.head import use_head
from components.language import model as language_model
from components.language.fused import linear_logprobs
from components.language.tokenise import Tokens, collate, tokenise
from components.store.errors import IntegrityError, OrreryError
from components.training.job import Job, epoch_order, save_parameters
from data_contracts.chat import PreferencePair

Pair = tuple[Tokens, Tokens]
"""The chosen and the rejected response to one prompt"""


def dpo_loss(beta: float, logp: Tensor, reference_logp: Tensor) -> Tensor:
    """-log sigmoid(beta * (chosen - rejected)), where each is log p - log p_reference of the whole response: (B,).

    Args:
        beta: the weight of the distance from the reference.
        logp: (B, 2), log-probability of the chosen and of the rejected response, summed over its tokens.
        reference_logp: (B, 2), the same by the frozen model; without gradient.
    """
    ratio = logp - reference_logp
    return -torch.nn.functional.logsigmoid(beta * (ratio[:, 0] - ratio[:, 1]))


class PairTrainee:
    """Trains a causal language model on pairs, walked through in epochs, each in its own order."""

    def __init__(self, config: DpoConfig, folder: Path, pairs: Sequence[Pair], seed: int):
        self.config, self.pairs, self._seed = config, pairs, seed
        model, self.tokenizer = language_model.load(folder)
        self.causal = use_head(model)
        self.module: nn.Module = self.causal.train()
        self.reference = use_head(language_model.load(folder)[0]).eval()

    def sample(self, generator: torch.Generator, number: int) -> dict[str, Tensor]:
        epoch, place = divmod(number, len(self.pairs))
        return {"pair": torch.tensor(epoch_order(self._seed, epoch, len(self.pairs))[place])}

    def collate(self, samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Tensors (B, 2, L): the chosen, then the rejected response of each pair. All pairs weigh the same."""
        flat = [tokens for s in samples for tokens in self.pairs[int(s["pair"])]]
        return {name: tensor.view(len(samples), 2, -1) for name, tensor in collate(flat).items()}

    def loss(self, module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        flat = {name: tensor.flatten(0, 1) for name, tensor in batch.items()}
        logp = _of_responses(self.causal, flat)
        self.reference.to(flat["input_ids"].device)  # DeepSpeed moves only what is trained
        with torch.no_grad():
            reference = _of_responses(self.reference, flat)
        ratio = (logp - reference).detach()
        return {
            "loss": dpo_loss(self.config.beta, logp, reference).mean(),
            "right": (ratio[:, 0] > ratio[:, 1]).float().mean(),
            "chosen_logp": logp[:, 0].detach().mean(),
        }

    def save(self, path: Path) -> None:
        save_parameters(self.module, path)

    def publish(self, out: Path) -> dict[str, float | int | str]:
        language_model.save(self.causal, self.tokenizer, out)
        return {"pairs": len(self.pairs), "parameters": sum(p.numel() for p in self.causal.parameters())}


def _of_responses(model: Any, flat: dict[str, Tensor]) -> Tensor:
    """(B, 2): log-probability of each response, its end token included."""
    hidden, labels = language_model.hidden_states(model, flat), flat["labels"][:, 1:]
    logp: Tensor = model.lm_head(hidden, lambda states, weight: linear_logprobs(states, weight, labels).logp)
    return logp.sum(1).view(-1, 2)


def trainee(job: Job) -> PairTrainee:
    """Entry of the training loop. Inputs: `model` (Hugging Face folder) and `pairs` (JSON lines of PreferencePair)."""
    config, folder = DpoConfig.model_validate(job.config), Path(job.inputs["model"])
    tokenizer = language_model.load_tokenizer(folder)
    try:
        lines = Path(job.inputs["pairs"]).read_bytes().splitlines()
        rows = [PreferencePair.model_validate_json(line) for line in lines]
    except ValidationError as error:
        raise IntegrityError("the pairs are not what dft.sample writes; sample again") from error
    if not rows:
        raise OrreryError(
            "there is no pair to train on: no question has both a right and a wrong answer; sample more of each"
        )
    pairs = [
        (tokenise(chosen, tokenizer, config.max_length), tokenise(rejected, tokenizer, config.max_length))
        for chosen, rejected in (row.chats for row in rows)
    ]
    return PairTrainee(config, folder, pairs, job.seed)
