"""What a language model is trained and judged on: chats, as JSON lines or Parquet, one example a row."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from data_contracts.base import Contract

Role = Literal["system", "user", "assistant"]
AnswerKind = Literal["math", "choice", "exact"]
"""How an answer is compared with the true one: as mathematics, as the letter of an option, as a text."""


class Message(Contract):
    """One turn of a chat."""

    role: Role
    content: str


class ChatExample(Contract):
    """One chat. To train on it the last message must be the assistant's; to judge with it, `answer` must be known."""

    messages: tuple[Message, ...] = Field(min_length=1)
    answer: str = Field(default="", description="the true final answer, without \\boxed; '' if unknown")
    answer_kind: AnswerKind = Field(default="math", exclude_if=lambda kind: kind == "math")
    source: str = Field(default="", description="where it is from: a data set, a generator and its style")
    difficulty: int = Field(default=0, ge=0, description="level of a generated problem; 0 if unknown")

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The messages before the assistant's last turn."""
        last = self.messages[-1]
        return self.messages[:-1] if last.role == "assistant" else self.messages

    @property
    def response(self) -> str:
        """The assistant's last turn, '' if there is none."""
        last = self.messages[-1]
        return last.content if last.role == "assistant" else ""


class PreferencePair(Contract):
    """Two responses to one prompt: the chosen one is right, the rejected one is not."""

    prompt: tuple[Message, ...] = Field(min_length=1)
    chosen: str
    rejected: str

    @property
    def chats(self) -> tuple[ChatExample, ChatExample]:
        """The chosen and the rejected response, each as a whole chat."""
        chosen, rejected = (
            ChatExample(messages=(*self.prompt, Message(role="assistant", content=text)))
            for text in (self.chosen, self.rejected)
        )
        return chosen, rejected
