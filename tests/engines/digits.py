"""A small model that can box a digit, and nothing else: enough to be rewarded, and to vote."""

from __future__ import annotations

from pathlib import Path

import torch

from components.dft.config import TuneConfig
from components.dft.loss_config import LossConfig
from components.dft.train import ChatTrainee
from components.language import model as language_model
from components.language import tokenizer
from components.language.config import ModelConfig, ProblemsConfig, TokenizerConfig
from components.language.tokenise import tokenise
from components.training.config import TrainConfig
from data_contracts.chat import ChatExample, Message

DIGITS = "2357"
QUESTIONS = [f"What is {sum_}?" for sum_ in ("1+1", "1+2", "2+3", "3+4", "4-2", "5-2", "7-2", "9-2")]
ASK = "Write a problem."


def chat(question: str, response: str) -> ChatExample:
    return ChatExample(messages=(Message(role="user", content=question), Message(role="assistant", content=response)))


def write_model(path: Path) -> None:
    """It answers every question with one of four digits, equally often, and writes those questions when asked."""
    fast = tokenizer.create(TokenizerConfig(vocabulary=160, examples=100), ProblemsConfig(), 0, path)
    size = ModelConfig(layers=1, width=64, heads=2, key_value_heads=1, feed_forward=128, context=128)
    language_model.create(size, fast, 0, path)
    said = [chat(question, f"\\boxed{{{digit}}}") for question in QUESTIONS for digit in DIGITS]
    asked = [chat(ASK, f"<question>{question}</question>\n\\boxed{{1}}") for question in QUESTIONS for _ in DIGITS]
    chats = [tokenise(example, fast, 128) for example in (*said, *asked)]
    train = TrainConfig(steps=2, batch_size=len(chats), warmup_steps=0, processes=1, precision="fp32")
    trainee = ChatTrainee(
        TuneConfig(name="digits", loss=LossConfig(variant="sft"), train=train, max_length=128),
        len(chats), path, chats, seed=0,
    )  # fmt: skip
    optimiser = torch.optim.Adam(trainee.module.parameters(), lr=5e-3)
    for step in range(150):
        numbers = range(step * len(chats), (step + 1) * len(chats))
        batch = trainee.collate([trainee.sample(torch.Generator(), number) for number in numbers])
        optimiser.zero_grad()
        loss = trainee.loss(trainee.module, batch)["loss"]
        loss.backward()
        optimiser.step()
    language_model.save(trainee.causal, trainee.tokenizer, path)
