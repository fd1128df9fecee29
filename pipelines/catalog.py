"""The pipelines there are: what each takes from which, and where its code is. Importing this imports no pipeline."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from components.store.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One pipeline: `module` holds a KFP pipeline function of the same name.

    `inputs` maps a parameter that takes a record reference to the pipelines whose output of the same name feeds it.
    `track` names the recipes that configure it.
    """

    name: str
    summary: str
    inputs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    track: str = "robots"

    def load(self) -> Any:
        """The KFP pipeline (imports kfp and the component shells)."""
        return getattr(importlib.import_module(f"pipelines.{self.name}"), self.name)


INTAKES = ("episode_intake", "drop_intake")

LOOP = (
    Pipeline("episode_intake", "record episodes in simulation, validate them, publish a dataset version"),
    Pipeline("ge_base", "train the world model: frames, codec, stage 1, stage 2", {"dataset": INTAKES}),
    Pipeline(
        "ge_act",
        "train the policy in three phases and evaluate it in closed loop, beside three other arms",
        {"dataset": INTAKES, "frames": ("ge_base",), "codec": ("ge_base",), "video": ("ge_base",)},
    ),
    Pipeline(
        "policy_release",
        "gate the policy, publish its bundle, ask the real server, make it the candidate",
        {name: ("ge_act",) for name in ("model", "evaluation", "mean_action")}
        | {name: ("ge_base",) for name in ("codec", "frames")},
    ),
)
"""The pipelines of the whole loop, in their order."""

DROP_INTAKE = Pipeline("drop_intake", "validate an uploaded raw drop (--set drop=FOLDER), publish a dataset version")

RETRAIN = Pipeline(
    "retrain", "take in the drops that arrived in a place (--set drop=PLACE); if they are new, adapt and release again"
)

DFT = Pipeline("dft", "fine-tune a language model with DFT, SFT and their relatives, and judge them", track="dft")

DFT_PAPER = Pipeline(
    "dft_paper", "every arm of the DFT paper, given and own answers, three times each: one table", track="dft"
)

DFT_ADOPTED = Pipeline(
    "dft_adopted", "fine-tune a model from outside on chats from outside, as the DFT paper did", track="dft_adopted"
)

R_ZERO = Pipeline("r_zero", "let a challenger and a solver teach each other from zero data", track="r_zero")

R_ZERO_PAPER = Pipeline(
    "r_zero_paper", "R-Zero's iterations beside what the paper takes away, three times each: one table", track="r_zero"
)

R_ZERO_ADOPTED = Pipeline(
    "r_zero_adopted", "R-Zero from a model from outside, as the paper played it", track="r_zero_adopted"
)

PIPELINES = {
    pipeline.name: pipeline
    for pipeline in (*LOOP, DROP_INTAKE, RETRAIN, DFT, DFT_PAPER, DFT_ADOPTED, R_ZERO, R_ZERO_PAPER, R_ZERO_ADOPTED)
}


def find(name: str) -> Pipeline:
    """The pipeline `name` (`-` and `_` alike). Raises ConfigurationError that lists the known ones."""
    pipeline = PIPELINES.get(name.replace("-", "_"))
    if pipeline is None:
        raise ConfigurationError(f"there is no pipeline {name!r}; there are: {', '.join(PIPELINES)}")
    return pipeline
