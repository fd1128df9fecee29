"""The trainee: its step does not depend on how a batch is split, and what it publishes is what it trained."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor

from components.dft.config import LoraConfig, TuneConfig
from components.dft.loss_config import LossConfig, Variant
from components.dft.train import ChatTrainee
from components.language import model as language_model
from components.language.config import ProblemsConfig
from components.language.problems import generate
from components.language.tokenise import Tokens, tokenise
from components.training.config import TrainConfig

BATCH = 8


@pytest.fixture(scope="module")
def chats(folder: Path) -> list[Tokens]:
    fast = language_model.load_tokenizer(folder)
    return [tokenise(example, fast, 512) for example in islice(generate(ProblemsConfig(), 1), BATCH)]


def trainee(folder: Path, chats: list[Tokens], variant: Variant = "dft", lora: LoraConfig | None = None) -> ChatTrainee:
    torch.manual_seed(0)
    train = TrainConfig(steps=2, batch_size=BATCH, warmup_steps=0, processes=1, precision="fp32")
    config = TuneConfig(name="arm", loss=LossConfig(variant=variant), train=train, lora=lora)
    return ChatTrainee(config, BATCH, folder, chats, seed=5)


def gradient(of: ChatTrainee, batches: list[dict[str, Tensor]]) -> Tensor:
    """Of the mean loss over micro-batches, as the training loop takes it."""
    of.module.zero_grad()
    for batch in batches:
        (of.loss(of.module, batch)["loss"] / len(batches)).backward()
    return torch.cat([p.grad.flatten() for p in of.module.parameters() if p.grad is not None])


def batch(of: ChatTrainee) -> dict[str, Tensor]:
    return of.collate([of.sample(torch.Generator(), number) for number in range(BATCH)])


@pytest.mark.parametrize("variant", ["sft", "dft", "iw-sft", "asft"])
def test_micro_batches_do_not_change_the_step(folder: Path, chats: list[Tokens], variant: Variant) -> None:
    """Breaks if each micro-batch were divided by its own tokens: long answers would count less than short ones."""
    one = trainee(folder, chats, variant)
    whole = batch(one)
    parts = [{name: tensor[i : i + 2] for name, tensor in whole.items()} for i in range(0, BATCH, 2)]
    assert len({int((part["labels"] >= 0).sum()) for part in parts}) > 1, "the parts must differ in their tokens"
    torch.testing.assert_close(gradient(one, parts), gradient(one, [whole]), rtol=1e-4, atol=1e-7)


def test_padding_does_not_change_the_step(folder: Path, chats: list[Tokens]) -> None:
    one = trainee(folder, chats)
    whole = batch(one)
    fill = {"input_ids": 0, "attention_mask": 0, "labels": -100}
    padded = {
        name: torch.nn.functional.pad(tensor, (0, 24), value=fill[name]) if name in fill else tensor
        for name, tensor in whole.items()
    }
    torch.testing.assert_close(gradient(one, [padded]), gradient(one, [whole]), rtol=1e-4, atol=1e-7)


def test_every_chat_is_seen_once_an_epoch(folder: Path, chats: list[Tokens]) -> None:
    """Breaks if chats were drawn with replacement, or every epoch had the same batches."""
    one, again = trainee(folder, chats), trainee(folder, chats)
    seen = [int(one.sample(torch.Generator(), number)["chat"]) for number in range(3 * BATCH)]
    epochs = [seen[i : i + BATCH] for i in range(0, 3 * BATCH, BATCH)]
    assert all(sorted(epoch) == list(range(BATCH)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert seen == [int(again.sample(torch.Generator(), number)["chat"]) for number in range(3 * BATCH)]


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2)])
def test_what_is_published_is_what_was_trained(
    folder: Path, chats: list[Tokens], tmp_path: Path, lora: LoraConfig | None
) -> None:
    """Breaks if adapters got lost when they were merged, or a published model answered otherwise than the trained."""
    one = trainee(folder, chats, "sft", lora)
    optimizer = torch.optim.SGD([p for p in one.module.parameters() if p.requires_grad], lr=1.0)
    whole = batch(one)
    before = one.loss(one.module, whole)["loss"].item()
    for _ in range(5):
        gradient(one, [whole])
        optimizer.step()
    after = one.loss(one.module, whole)["loss"].item()
    assert after < before
    one.publish(tmp_path)
    published = trainee(tmp_path, chats, "sft")
    assert published.loss(published.module, whole)["loss"].item() == pytest.approx(after, rel=1e-4)
