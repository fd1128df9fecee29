"""Stages that do little, and do it through the real store, the real shell and the real KFP runner."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping

from components.store.api import Store
from components.store.errors import ConfigurationError, OrreryError, StoreError
from components.store.stage import Workspace, run_stage
from components.telemetry.progress import progress
from data_contracts.base import Contract
from data_contracts.lineage import Metric, StageRecord

ERRORS: dict[str, type[OrreryError]] = {"work": OrreryError, "configuration": ConfigurationError, "store": StoreError}


class ToyConfig(Contract):
    """`fail` names how `second` ends; `wait` keeps it busy; `trace` is a file that every build appends its stage to;
    `effective` is what it says it used for `text`."""

    text: str = "hello"
    fail: str = ""
    wait: float = 0.0
    trace: str = ""
    effective: str = ""


def first(store: Store, config: ToyConfig, seed: int) -> StageRecord:
    return _stage(store, "toy.first", config, seed, {})


def second(store: Store, config: ToyConfig, seed: int, source: StageRecord) -> StageRecord:
    return _stage(store, "toy.second", config, seed, {"source": source})


def _stage(store: Store, stage: str, config: ToyConfig, seed: int, inputs: dict[str, StageRecord]) -> StageRecord:
    def build(ws: Workspace) -> Mapping[str, Metric]:
        if config.trace:
            with open(config.trace, "a") as file:
                file.write(f"{stage} {os.getpid()}\n")
        if config.fail in ERRORS:
            raise ERRORS[config.fail]("the toy broke; wind it up again")
        if config.fail == "bug":
            raise ZeroDivisionError("a fault of ours")
        if config.fail == "killed":  # with a child that holds the stage's output open
            subprocess.Popen(["sleep", "600"])
            os.kill(os.getpid(), 9)
        with progress(10, "toy", "turns") as bar:
            for _ in range(10):
                time.sleep(config.wait / 10)
                bar.advance()
        (ws.out / "text.txt").write_text(config.text)
        metrics: dict[str, Metric] = {"length": len(config.text)}
        return metrics | ({"effective/text": config.effective} if config.effective else {})

    return run_stage(
        store=store, stage=stage, kind="models", name="toy", inputs=inputs, config=config, seed=seed,
        sources=("data_contracts/base.py",), build=build,
    )  # fmt: skip
