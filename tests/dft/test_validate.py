"""What validation writes: accepted chats as they are trained on, places and reasons of the rest, and a warning."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest

from components.dft.checks import CheckConfig
from components.dft.reading import read_chats
from components.dft.validate import validate_file
from components.language.config import ProblemsConfig
from components.language.problems import generate
from components.store.errors import OrreryError
from data_contracts.chat import ChatExample, Message

WARNING = "DFT is known to lose on such data"


def facts(count: int) -> list[ChatExample]:
    """Questions of fact, answered in a word or two."""
    said = [(f"Who ruled land {n}?", f"King {n} of it.") for n in range(count)]
    return [
        ChatExample(messages=(Message(role="user", content=asked), Message(role="assistant", content=answer)))
        for asked, answer in said
    ]


def write(path: Path, chats: list[ChatExample], *bad: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in (*(chat.model_dump_json() for chat in chats), *bad)))
    return path


def test_bare_answers_are_measured_and_warned_of(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Breaks if nobody were told that the data is of the one kind on which DFT's paper reports a loss."""
    solutions = list(islice(generate(ProblemsConfig(styles=("verbose",)), 0), 30))
    held_out = write(tmp_path / "test.jsonl", list(islice(generate(ProblemsConfig(split="held-out"), 0), 5)))
    for chats, warned in ((solutions + facts(10), False), (solutions[:10] + facts(30), True)):
        train = write(tmp_path / "train.jsonl", chats, "no json")
        metrics = validate_file(CheckConfig(max_length=512), train, [held_out], folder, tmp_path)
        accepted = [row.example for row in read_chats([tmp_path / "accepted.jsonl"]) if row.example]
        bare = sum(chat.response.startswith("King") for chat in accepted) / len(accepted)
        assert metrics["bare_answers"] == pytest.approx(bare, abs=1e-4)
        assert (WARNING in capsys.readouterr().out) == warned
        [refused] = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()][-1:]
        assert refused["where"] == f"train.jsonl:{len(chats) + 1}"


EMPTY = "it is empty"


@pytest.mark.parametrize(
    ("lines", "reason"), [(["no json"], r"inventory.malformed-row \(1\)"), ([], EMPTY), (["", " "], EMPTY)]
)
def test_data_without_a_usable_chat_is_refused_with_the_reasons(
    folder: Path, tmp_path: Path, lines: list[str], reason: str
) -> None:
    """Breaks if a model were trained on nothing, and published as if it had learned."""
    train = write(tmp_path / "train.jsonl", [], *lines)
    with pytest.raises(OrreryError, match=f"no chat can be trained on: {reason}"):
        validate_file(CheckConfig(), train, [], folder, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["train.jsonl"], "nothing half-written"
