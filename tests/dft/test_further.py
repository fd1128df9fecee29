"""A model that goes on to learn from data: checked against what it is judged by, or handed on as it is."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from components.dft import data_stages, training_stages
from components.dft.config import ChatsAdoptConfig, FurtherStageConfig, ModelAdoptConfig, Source, TuneConfig
from components.dft.loss_config import LossConfig
from components.language.config import ProblemsConfig
from components.language.problems import generate
from components.store.api import Store
from components.training.config import TrainConfig
from data_contracts.chat import ChatExample


def written(path: Path, rows: list[ChatExample]) -> Source:
    path.write_text("".join(f"{row.model_dump_json()}\n" for row in rows))
    return Source(uri=str(path))


@pytest.mark.timeout(600)
def test_it_learns_from_what_it_is_not_judged_by(folder_store: Store, folder: Path, tmp_path: Path) -> None:
    """Breaks if R-Zero's best solver were trained on the problems that then judge it."""
    model = data_stages.adopt_model(folder_store, ModelAdoptConfig(name="best", source=Source(uri=str(folder))), 0)
    rows = list(islice(generate(ProblemsConfig(), 0), 12))
    sets = {"test": written(tmp_path / "test.jsonl", rows[:2])}
    chats = ChatsAdoptConfig(name="x", train=written(tmp_path / "train.jsonl", rows), sets=sets)
    problems = data_stages.adopt_chats(folder_store, chats, 0)
    train = TrainConfig(steps=1, batch_size=4, warmup_steps=0, precision="fp32", zero_stage=1, processes=1)
    tune = TuneConfig(name="further", loss=LossConfig(variant="dft"), train=train, max_length=512)

    made = training_stages.further(folder_store, FurtherStageConfig(name="further", tune=tune), 0, model, problems)

    assert made.stage == "dft.further-dft"
    assert made.inputs["model"] == model.as_input()
    assert made.metrics["quarantined"] == made.metrics["reason/duplicate.held-out-prompt"] == 2
    assert made.metrics["chats"] == made.metrics["accepted"] == 10
    weights = {record.prefix: record.object("model.safetensors").sha256 for record in (model, made)}
    assert len(set(weights.values())) == 2, "it learned"
    assert training_stages.further(folder_store, FurtherStageConfig(name="further"), 0, model, problems) == model
