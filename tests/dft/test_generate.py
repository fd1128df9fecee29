"""The embedded data: what is judged was never trained on, and is what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.dft.config import ProblemsStageConfig
from components.dft.generate import write_files
from components.dft.reading import read_chats
from components.language.config import ProblemsConfig
from data_contracts.chat import ChatExample


def config(**changes: object) -> ProblemsStageConfig:
    usual = {
        "name": "x", "base": ProblemsConfig(levels=(1,)), "train": ProblemsConfig(levels=(1, 2), noise_share=0.5),
        "base_examples": 300, "train_examples": 200, "test_examples": 60, "harder_examples": 40,
    }  # fmt: skip
    return ProblemsStageConfig.model_validate(usual | changes)


def chats(path: Path) -> list[ChatExample]:
    rows = list(read_chats([path]))
    assert all(row.example is not None for row in rows)
    return [row.example for row in rows if row.example is not None]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[ChatExample]]:
    folder = tmp_path_factory.mktemp("problems")
    write_files(config(), 3, folder)
    return {path.stem: chats(path) for path in sorted(folder.iterdir())}


def test_every_file_has_its_examples(written: dict[str, list[ChatExample]]) -> None:
    assert {name: len(rows) for name, rows in written.items()} == {"base": 300, "train": 200, "test": 60, "harder": 40}


def test_what_is_judged_was_not_trained_on(written: dict[str, list[ChatExample]]) -> None:
    """Breaks if the accuracy on held-out problems measured memory."""
    trained = {row.prompt for name in ("base", "train") for row in written[name]}
    judged = {row.prompt for name in ("test", "harder") for row in written[name]}
    assert not trained & judged


def test_harder_problems_are_of_the_level_above(written: dict[str, list[ChatExample]]) -> None:
    assert {row.difficulty for row in written["test"]} == {1, 2}
    assert {row.difficulty for row in written["harder"]} == {3}


def test_what_is_judged_has_its_answer_and_no_noise(written: dict[str, list[ChatExample]]) -> None:
    for name in ("test", "harder"):
        assert all(row.answer and row.source.endswith("/clean") for row in written[name])


def test_levels_that_leave_nothing_harder_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing is harder; leave 5 out"):
        config(train=ProblemsConfig(levels=(4, 5)))


def test_training_on_the_held_out_split_is_refused() -> None:
    with pytest.raises(ValueError, match=r"train\.split is 'held-out'.*set it to 'train'"):
        config(train=ProblemsConfig(split="held-out"))
