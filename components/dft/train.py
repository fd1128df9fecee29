"""The trainee on chats: one of the losses, exact over micro-batches and ranks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from components.dft.config import TuneConfig
from components.dft.head import use_head
from components.dft.losses import fused_loss_sum, global_tokens
from components.dft.reading import read_chats
from components.language import model as language_model
from components.language.fused import IGNORED, Reference, TokenStats
from components.language.tokenise import Tokens, collate, tokenise
from components.store.errors import OrreryError
from components.training.job import Job, epoch_order, save_parameters


class ChatTrainee:
    """Fine-tunes a causal language model on chats, walked through in epochs, each in its own order."""

    def __init__(self, config: TuneConfig, batch_size: int, folder: Path, chats: Sequence[Tokens], seed: int):
        self.config, self.chats, self._seed, self._batch_size = config, chats, seed, batch_size
        model, self.tokenizer = language_model.load(folder)
        self.causal = use_head(model).train()
        self.module: nn.Module = self.causal if config.lora is None else _adapted(self.causal, config)
        self.reference = language_model.load(folder)[0].eval() if config.loss.needs_reference else None

    def sample(self, generator: torch.Generator, number: int) -> dict[str, Tensor]:
        epoch, place = divmod(number, len(self.chats))
        return {"chat": torch.tensor(epoch_order(self._seed, epoch, len(self.chats))[place])}

    def collate(self, samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Padded chats, and with each `share` (B,): trained tokens of a chat, on average over the step's whole batch.

        A micro-batch of M chats divides by M times that, so the mean over micro-batches and ranks is the sum over the
        batch by its number of tokens, however it is split and padded.
        """
        batch = collate([self.chats[int(s["chat"])] for s in samples])
        trained = global_tokens(batch["labels"][:, 1:] != IGNORED)
        return batch | {"share": torch.full((len(samples),), float(trained) / self._batch_size)}

    def loss(self, module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        frozen = None
        if self.reference is not None:
            self.reference.to(batch["input_ids"].device)  # DeepSpeed moves only what is trained
            with torch.no_grad():
                frozen = Reference(language_model.hidden_states(self.reference, batch), self.reference.lm_head.weight)

        def summed(hidden: Tensor, weight: Tensor) -> tuple[Tensor, TokenStats]:
            return fused_loss_sum(self.config.loss, hidden, weight, batch["labels"][:, 1:], reference=frozen)

        total, stats = self.causal.lm_head(language_model.hidden_states(self.causal, batch), summed)
        tokens = batch["share"].sum()  # of M equal values: M times the share
        return {"loss": total / tokens, "cross_entropy": -stats.logp.detach().sum() / tokens}

    def save(self, path: Path) -> None:
        save_parameters(self.module, path)

    def publish(self, out: Path) -> dict[str, float | int | str]:
        if self.config.lora is not None:
            adapted: Any = self.module
            self.causal = adapted.merge_and_unload()
        language_model.save(self.causal, self.tokenizer, out)
        return {"chats": len(self.chats), "parameters": sum(p.numel() for p in self.causal.parameters())}


def _adapted(model: Any, config: TuneConfig) -> nn.Module:
    from peft import LoraConfig, get_peft_model

    assert config.lora is not None
    settings = LoraConfig(r=config.lora.rank, lora_alpha=config.lora.alpha, target_modules="all-linear")
    adapted: nn.Module = get_peft_model(model, settings)
    return adapted


def trainee(job: Job) -> ChatTrainee:
    """Entry of the training loop. Inputs: `model` (Hugging Face folder) and `chats` (a file that was validated)."""
    config = TuneConfig.model_validate(job.config)
    tokenizer = language_model.load_tokenizer(Path(job.inputs["model"]))
    rows = read_chats([Path(job.inputs["chats"])])
    chats = [tokenise(row.example, tokenizer, config.max_length) for row in rows if row.example is not None]
    if not chats:
        raise OrreryError("there is no chat to train on; every one was refused, see the validation's report")
    return ChatTrainee(config, job.train.batch_size, Path(job.inputs["model"]), chats, job.seed)
