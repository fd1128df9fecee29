"""Tokens by kind: whatever the tokenizer, a token belongs to its word; and intervals count chats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from components.dft.analyse import Start
from components.dft.config import AnalyseStageConfig
from components.dft.token_classes import (
    CLASSES,
    END,
    FUNCTION,
    MATHEMATICS,
    PUNCTUATION,
    SPACE,
    STYLE,
    WORD,
    changes,
    classes_of,
    clustered,
    over_seeds,
)  # fmt: skip
from components.language import model as language_model
from components.language.tokenise import tokenise
from data_contracts.chat import ChatExample, Message

SAID = "First, the apples of Ben:\n3.5+4=\\boxed{7}."
WANTED = {
    "First": STYLE, ",": PUNCTUATION, "the": FUNCTION, "apples": WORD, "of": FUNCTION, "Ben": WORD, ":": PUNCTUATION,
    "\n": SPACE, "3.5+4=\\boxed{7}": MATHEMATICS, ".": PUNCTUATION,
}  # fmt: skip


def answer(folder: Path) -> tuple[ChatExample, NDArray[np.int32], list[str]]:
    """The chat, its trained tokens, and how each is written."""
    fast = language_model.load_tokenizer(folder)
    chat = ChatExample(messages=(Message(role="user", content="?"), Message(role="assistant", content=SAID)))
    labels = tokenise(chat, fast, 256).labels
    trained = labels[labels != -100]
    return chat, trained, [fast.decode([int(token)]) for token in trained]


def test_a_token_has_the_class_of_the_word_it_is_in(folder: Path) -> None:
    """Breaks if pieces of words were judged by themselves: `ap`, `ples` and ` of` say nothing alone."""
    fast = language_model.load_tokenizer(folder)
    _, trained, pieces = answer(folder)
    kinds = [CLASSES[number] for number in classes_of([trained], fast)]
    assert len(pieces) > len(WANTED) + 1, "some words are in pieces"
    assert kinds[-1] == END
    place = 0
    expected = [SPACE] * len(SAID)
    for word, kind in WANTED.items():
        start = SAID.index(word, place)
        expected[start : start + len(word)] = [kind] * len(word)
        place = start + len(word)
    place = 0
    for piece, kind in zip(pieces[:-1], kinds[:-1], strict=True):
        begins = place + len(piece) - len(piece.lstrip())
        assert kind == expected[min(begins, place + len(piece) - 1)], piece
        place += len(piece)


def test_classes_change_as_their_tokens_do() -> None:
    """Breaks if a class got another's numbers, or the lowest bin were counted before instead of after."""
    kind = np.array([0, 0, 3, 3, 3])
    was, now = np.log([0.5, 0.05, 0.9, 0.9, 0.05]), np.log([0.05, 0.5, 0.9, 0.8, 0.06])
    found = changes(kind, np.array([0, 1, 0, 0, 1]), was, now)
    assert list(found) == [FUNCTION, MATHEMATICS]
    words, numbers = found[FUNCTION], found[MATHEMATICS]
    assert (words.tokens, words.fell.value, words.low_before, words.low_after.value) == (2, 0.5, 0.5, 0.5)
    assert numbers.change.value == pytest.approx((np.log(0.8 / 0.9) + np.log(0.06 / 0.05)) / 3)
    assert (words.of_low, numbers.of_low) == (0.5, 0.5), "one of the two tokens below 0.1 each"
    assert 0 <= words.fell.low < words.fell.high <= 1
    assert over_seeds([found, found]) == found
    assert over_seeds([]) == {}


def test_a_chat_of_equal_tokens_is_one_observation() -> None:
    """Breaks if tokens counted as independent: 1,000 copies of a token would make any difference sure."""
    values, chats = np.array([0.0, 1.0, 0.0, 1.0]), np.arange(4)
    once, often = clustered(values, chats), clustered(np.repeat(values, 1000), np.repeat(chats, 1000))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))
    assert (once.high - once.low) / 2 == pytest.approx(1.96 * values.std(ddof=1) / 2, rel=1e-3)


def test_classes_and_probabilities_are_of_the_same_tokens(folder: Path, tmp_path: Path) -> None:
    """Breaks if one of them left out a token that the other has: every later class would shift."""
    chat, trained, _ = answer(folder)
    file = tmp_path / "chats.jsonl"
    file.write_text(chat.model_dump_json() + "\n" + chat.model_dump_json() + "\n")
    start = Start.of(AnalyseStageConfig(name="x", max_length=256), folder, file)
    assert start.seen.token.tolist() == [*trained, *trained]
    assert len(start.classes) == len(start.seen.token)
    found = start.against(language_model.load(folder)[0], "same")
    assert sum(change.tokens for change in found.classes.values()) == found.tokens
    assert all(change.change.value == 0 for change in found.classes.values())
