"""Chats to tokens through the tokenizer's own chat template, with labels on what the assistant says and nothing else.

The whole chat is rendered once and tokenised once. Which tokens are the assistant's is read from where the template
puts the turns: from the end of the prompt as sampling would render it, to the special token that ends the turn, which
is trained too: a model that never sees it never learns to stop.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter

import numpy as np
import torch
from jinja2 import TemplateError
from numpy.typing import NDArray
from tokenizers import Encoding
from torch import Tensor
from transformers import PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import _compile_jinja_template

from components.language.fused import IGNORED
from components.store.errors import ConfigurationError, OrreryError
from data_contracts.chat import ChatExample, Message

PREFIX = 8
"""More tokens than any tokenizer puts before a text"""
MULTIPLE = 8
"""Batches are padded to a multiple of this, which suits matrix units"""


@dataclass(frozen=True)
class Tokens:
    """One chat. `labels[t]` is `input_ids[t]` or IGNORED; models shift by one position themselves."""

    input_ids: NDArray[np.int32]
    """(T,)"""
    labels: NDArray[np.int32]
    """(T,)"""


class Refused(OrreryError):
    """The chat can't be trained on; `code` is one of `CHAT_REASONS`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def tokenise(
    example: ChatExample, tokenizer: PreTrainedTokenizerFast, max_length: int, cut_prompt: bool = False
) -> Tokens:
    """Tokens and labels of a chat, T <= max_length.

    A chat that is too long is refused. With `cut_prompt` it loses tokens at the left end of its first prompt instead,
    but never the assistant's and never the whole prompt. Nothing is ever cut at the right, where the end token is.

    A token that reaches over the end of a prompt (the response begins with white space that the tokenizer joins to the
    template's) is not trained: at sampling the prompt ends within it.

    Raises:
        Refused: the chat is too long, has nothing to train, spells special tokens, or the template has no place for it.
        ConfigurationError: the tokenizer has no chat template, or one that does not end the assistant's turns.
    """
    special = _special_tokens(tokenizer, len(tokenizer))
    text, turns = _rendered(example, tokenizer, special)
    return _labelled(text, turns, tokenizer, special, max_length, cut_prompt)


def refuse(example: ChatExample, tokenizer: PreTrainedTokenizerFast, max_length: int) -> None:
    """Raise what `tokenise` would raise, most often without tokenising.

    An ASCII character is at most one token (elsewhere a tokenizer may write one character as many), so a text of no
    more characters than `max_length` fits, but for the few tokens that a tokenizer may put before it.
    """
    special = _special_tokens(tokenizer, len(tokenizer))
    text, turns = _rendered(example, tokenizer, special)
    ended = turns and all(text[start:end].rstrip().endswith(special.contents) for start, end in turns)
    if not (ended and text.isascii() and len(text) + PREFIX <= max_length):
        _labelled(text, turns, tokenizer, special, max_length, False)


def _rendered(
    example: ChatExample, tokenizer: PreTrainedTokenizerFast, special: _Special
) -> tuple[str, list[tuple[int, int]]]:
    _refuse_special_text(example.messages, special)
    return _render(example.messages, tokenizer)


def _labelled(
    text: str,
    turns: list[tuple[int, int]],
    tokenizer: PreTrainedTokenizerFast,
    special: _Special,
    max_length: int,
    cut_prompt: bool,
) -> Tokens:
    encoded = _encode(text, tokenizer)
    ids, offsets = encoded.ids, encoded.offsets
    labels = np.full(len(ids), IGNORED, np.int32)
    for start, end in turns:
        first = bisect_left(offsets, start, key=itemgetter(0))
        last = bisect_right(offsets, end, lo=first, key=itemgetter(1))
        closing = next((t for t in range(last - 1, first - 1, -1) if ids[t] in special.ids), None)
        # The template may write white space after the end token; it is never sampled.
        if closing is None or text[offsets[closing][1] : end].strip():
            raise ConfigurationError(
                f"{_name(tokenizer)}'s chat template ends the assistant's turn in {text[start:end][-20:]!r}, without a "
                "special token, so a model would not learn to stop; add eos_token to the template"
            )
        labels[first : closing + 1] = ids[first : closing + 1]
    return _fit(Tokens(np.array(ids, np.int32), labels), max_length, cut_prompt)


def prompt_tokens(example: ChatExample, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """What is sampled from: the tokens before the last answer, up to where the assistant begins.

    Raises Refused and ConfigurationError as `tokenise` does.
    """
    return _prompt(example.prompt, tokenizer)


def asked(question: str, system: str, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """The prompt of a user's question, after a system's message unless that is ''. Raises as `prompt_tokens` does."""
    told = (Message(role="system", content=system),) if system else ()
    return _prompt((*told, Message(role="user", content=question)), tokenizer)


def _prompt(messages: Sequence[Message], tokenizer: PreTrainedTokenizerFast) -> list[int]:
    _refuse_special_text(messages, _special_tokens(tokenizer, len(tokenizer)))
    text = _renderer(tokenizer)([message.model_dump() for message in messages], True)
    return list(_encode(text, tokenizer).ids)


def collate(batch: Sequence[Tokens]) -> dict[str, Tensor]:
    """Pad B chats on the right to the longest, rounded up to a multiple of 8: int64 tensors (B, L).

    `input_ids` is 0 and `labels` IGNORED where `attention_mask` is 0, so no padding token is needed.
    """
    length = -(-max(len(tokens.input_ids) for tokens in batch) // MULTIPLE) * MULTIPLE
    ids = torch.zeros(len(batch), length, dtype=torch.int64)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for row, tokens in enumerate(batch):
        size = len(tokens.input_ids)
        ids[row, :size] = torch.from_numpy(tokens.input_ids)
        labels[row, :size] = torch.from_numpy(tokens.labels)
        mask[row, :size] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


@dataclass(frozen=True)
class _Special:
    """A tokenizer's special tokens: their ids, how they are written, and a pattern that finds them in text."""

    ids: frozenset[int]
    contents: tuple[str, ...]
    pattern: re.Pattern[str]


@lru_cache(maxsize=4)
def _special_tokens(tokenizer: PreTrainedTokenizerFast, size: int) -> _Special:
    """`size`, the number of tokens, makes the cache notice tokens that were added.

    A tokenizer's `all_special_ids` would miss some: base models of Llama 3 do not list the token that ends a turn.
    """
    special = {number: token.content for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    if not special:
        raise ConfigurationError(f"{_name(tokenizer)} has no special tokens, so no turn can end; choose another")
    pattern = "|".join(re.escape(content) for content in special.values())
    return _Special(frozenset(special), tuple(special.values()), re.compile(pattern))


def _refuse_special_text(messages: Sequence[Message], special: _Special) -> None:
    for position, message in enumerate(messages):
        if found := special.pattern.search(message.content):
            raise Refused(
                "language.special-token",
                f"message {position} spells the special token {found[0]!r} at character {found.start()}",
            )


def _render(messages: Sequence[Message], tokenizer: PreTrainedTokenizerFast) -> tuple[str, list[tuple[int, int]]]:
    """The chat as the template writes it, and (start, end) in characters of each of the assistant's turns."""
    turns = [{"role": message.role, "content": message.content} for message in messages]
    render = _renderer(tokenizer)
    text = render(turns, False)
    spans = []
    for position, turn in enumerate(turns):
        if turn["role"] == "assistant":
            prompt = render(turns[:position], True)
            told = render(turns[: position + 1], False) if position + 1 < len(turns) else text
            for part, shown in (("the prompt of", prompt), ("the chat up to", told)):
                if not text.startswith(shown):
                    raise Refused(
                        "language.template-unstable",
                        f"{_name(tokenizer)}'s chat template renders {part} message {position} otherwise than within "
                        "the whole chat",
                    )
            spans.append((len(prompt), len(told)))
    return text, spans


def _renderer(tokenizer: PreTrainedTokenizerFast) -> Callable[[list[dict[str, str]], bool], str]:
    """Turns, and whether the assistant is to go on, as the chat template writes them."""
    if not tokenizer.chat_template:
        raise ConfigurationError(f"{_name(tokenizer)} has no chat template; set its chat_template, or choose another")
    # What `apply_chat_template` does in the end; its copies and checks of tools and documents take four times as long.
    template = _compile_jinja_template(tokenizer.get_chat_template())
    shared = {"tools": None, "documents": None, **tokenizer.special_tokens_map}

    def render(turns: list[dict[str, str]], prompt: bool) -> str:
        try:
            return str(template.render(messages=turns, add_generation_prompt=prompt, **shared))
        except TemplateError as error:
            message = " ".join(str(error).split())[:200]
            raise Refused(
                "language.template-refused", f"{_name(tokenizer)}'s chat template says: {message or 'nothing'}"
            ) from error

    return render


def _encode(text: str, tokenizer: PreTrainedTokenizerFast) -> Encoding:
    """By the Rust tokenizer itself: the wrapper around it takes as long again. A saved one may truncate in silence."""
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    return backend.encode(text, add_special_tokens=False)


def _fit(tokens: Tokens, max_length: int, cut_prompt: bool) -> Tokens:
    trainable = np.flatnonzero(tokens.labels != IGNORED)
    if len(trainable) == 0:
        raise Refused("language.no-trainable-token", "no token is the assistant's")
    excess = len(tokens.input_ids) - max_length
    if excess <= 0:
        return tokens
    if not cut_prompt or excess >= trainable[0]:
        raise Refused("language.too-long", f"{len(tokens.input_ids)} tokens, at most {max_length} are trained on")
    return Tokens(tokens.input_ids[excess:], tokens.labels[excess:])


def _name(tokenizer: PreTrainedTokenizerFast) -> str:
    return tokenizer.name_or_path or "the tokenizer"
