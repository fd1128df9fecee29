"""Writes the embedded data: generated problems as files of chats."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from components.dft.config import ProblemsStageConfig
from components.language.config import ProblemsConfig
from components.language.problems import generate
from data_contracts.lineage import Metric


def write_files(config: ProblemsStageConfig, seed: int, out: Path) -> Mapping[str, Metric]:
    """`base`, `train`, `test` and `harder` as JSON lines. Test problems are held out, and have no noisy solutions."""
    judged = config.train.model_copy(update={"split": "held-out", "noise_share": 0.0})
    files: dict[str, tuple[ProblemsConfig, int]] = {
        "base": (config.base, config.base_examples),
        "train": (config.train, config.train_examples),
        "test": (judged, config.test_examples),
        "harder": (judged.model_copy(update={"levels": config.harder_levels}), config.harder_examples),
    }
    for number, (name, (problems, count)) in enumerate(files.items()):
        with (out / f"{name}.jsonl").open("w", encoding="utf-8") as file:
            for example in islice(generate(problems, seed * len(files) + number), count):
                file.write(example.model_dump_json() + "\n")
    return {name: count for name, (_, count) in files.items()}
