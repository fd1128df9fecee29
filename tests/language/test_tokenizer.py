"""The own tokenizer: lossless on the problems, short sequences, a chat template that trainers and engines can use."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import TemplateError
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from components.language.config import LEVELS, ProblemsConfig, TokenizerConfig
from components.language.problems import generate
from components.language.tokenizer import CHARACTERS, ROLES, create
from data_contracts.chat import ChatExample

CONFIG = TokenizerConfig(examples=1000)
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is 12+7?"},
    {"role": "assistant", "content": "12+7=19\n\\boxed{19}"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    create(CONFIG, ProblemsConfig(), 0, folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """As everyone else gets it: from its folder."""
    loaded: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return loaded


def chats(level: int, count: int) -> list[ChatExample]:
    return list(islice(generate(ProblemsConfig(levels=(level,), noise_share=0.5), 9), count))


def ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def rendered(tokenizer: PreTrainedTokenizerFast, messages: list[dict[str, str]], prompt: bool = False) -> str:
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt))


@pytest.mark.parametrize("level", LEVELS)
def test_problems_come_through_unchanged(tokenizer: PreTrainedTokenizerFast, level: int) -> None:
    """A character lost on the way changes a number or a box, silently."""
    for chat in chats(level, 40):
        for message in chat.messages:
            tokens = ids(tokenizer, message.content)
            assert tokenizer.unk_token_id not in tokens
            assert tokenizer.decode(tokens) == message.content


@pytest.mark.parametrize(("level", "mean", "longest"), [(1, 60, 128), (2, 85, 160), (5, 170, 256)])
def test_sequences_are_short(tokenizer: PreTrainedTokenizerFast, level: int, mean: int, longest: int) -> None:
    """Time on a slow CPU goes with tokens, and the context holds what is asked of it."""
    lengths = [
        len(ids(tokenizer, rendered(tokenizer, [m.model_dump() for m in c.messages]))) for c in chats(level, 100)
    ]
    assert sum(lengths) / len(lengths) < mean
    assert max(lengths) < longest


def test_the_vocabulary_is_as_large_as_asked(tokenizer: PreTrainedTokenizerFast) -> None:
    """Every entry costs a row of the embedding."""
    assert len(tokenizer) == CONFIG.vocabulary
    assert sorted(tokenizer.get_vocab().values()) == list(range(CONFIG.vocabulary))


@pytest.mark.parametrize("character", "0123456789+-*/%=().")
def test_numbers_and_operators_stay_apart(tokenizer: PreTrainedTokenizerFast, character: str) -> None:
    """`12` as one token would be another number than `1` and `2`: every sum would be its own fact."""
    (token,) = ids(tokenizer, character)
    assert ids(tokenizer, f"a{character}{character}b")[1:3] == [token, token]


@given(st.text(max_size=40))
def test_every_character_counts(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    """Unknown characters must show as one `<unk>` each: dropped or merged ones would let two texts look the same."""
    for special in (*ROLES, "<pad>", "<unk>", "<bos>", "<eos>"):
        text = text.replace(special, "")
    told = tokenizer.decode(ids(tokenizer, text))
    assert told == "".join(c if c in CHARACTERS else "<unk>" for c in text)


def test_the_same_arguments_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    """A version is named by what goes in: two tokenizers of one name must not differ."""
    create(CONFIG, ProblemsConfig(), 0, tmp_path)
    files = sorted(path.name for path in folder.iterdir())
    assert files == sorted(path.name for path in tmp_path.iterdir())
    assert all((folder / name).read_bytes() == (tmp_path / name).read_bytes() for name in files)


def test_a_chat_has_a_token_before_and_after_each_turn(tokenizer: PreTrainedTokenizerFast) -> None:
    """The model knows by these who speaks and when to stop."""
    text = rendered(tokenizer, CHAT)
    assert text == ("<bos><system>Be brief.<eos><user>What is 12+7?<eos><assistant>12+7=19\n\\boxed{19}<eos>")
    special = [t for t in tokenizer.convert_ids_to_tokens(ids(tokenizer, text)) if t in tokenizer.all_special_tokens]
    assert special == ["<bos>", "<system>", "<eos>", "<user>", "<eos>", "<assistant>", "<eos>"]


def test_a_prompt_is_the_beginning_of_its_chat(tokenizer: PreTrainedTokenizerFast) -> None:
    """Sampling must start exactly where training had the answer start, in text and in tokens."""
    prompt, whole = rendered(tokenizer, CHAT[:2], prompt=True), rendered(tokenizer, CHAT)
    assert prompt.endswith("<assistant>")
    before, all_of_it = ids(tokenizer, prompt), ids(tokenizer, whole)
    assert all_of_it[: len(before)] == before
    assert tokenizer.decode(all_of_it[len(before) :]) == CHAT[2]["content"] + "<eos>"


def test_the_template_marks_what_the_assistant_says(tokenizer: PreTrainedTokenizerFast) -> None:
    """Trainers take the loss mask from these marks; the token that ends the turn belongs to it."""
    encoded = tokenizer.apply_chat_template(CHAT, return_dict=True, return_assistant_tokens_mask=True)
    said = [i for i, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mask]
    assert tokenizer.decode(said) == CHAT[2]["content"] + "<eos>"


def test_an_unknown_role_is_named(tokenizer: PreTrainedTokenizerFast) -> None:
    """Its `<tool>` would be split into letters, and the turn would have no speaker."""
    with pytest.raises(TemplateError, match="role tool; use system, user or assistant"):
        rendered(tokenizer, [{"role": "tool", "content": "19"}])
