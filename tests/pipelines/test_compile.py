"""Pipelines as KFP YAML: the tasks they hold, and equal text for equal code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from components.images import names
from pipelines.catalog import DROP_INTAKE, LOOP, PIPELINES, find
from pipelines.compiler import compile_to
from pipelines.kfp_local import tasks
from pipelines.recipes import RECIPES, recipe


def numbered(task: str, count: int) -> list[str]:
    """How KFP names the tasks of one component: `x`, `x-2`, `x-3`, …"""
    return [task, *(f"{task}-{n}" for n in range(2, count + 1))]


CURRICULUM = [
    *numbered("r-zero-challenger", 5), *numbered("r-zero-questions", 6), *numbered("r-zero-labels", 6),
    *numbered("r-zero-solver", 6), *numbered("r-zero-decide", 4), *numbered("r-zero-select", 5),
    *numbered("dft-evaluate", 12), *numbered("dft-further", 5), *numbered("release-language-gate", 5),
    *numbered("release-language-publish", 5),
]  # fmt: skip
"""Five iterations, each with an end of its own if the score falls after it, and "base challenger"."""

TASKS = {
    "episode_intake": ["robots-record", "agibot-intake"],
    "drop_intake": ["agibot-adopt", "agibot-plan", "agibot-examine", "agibot-join"],
    "ge_base": ["ge-base-frames", "ge-base-codec", "ge-base-stage1", "ge-base-stage2"],
    "ge_act": [
        "ge-act-pretrain", "ge-act-adapt", "ge-act-specialize", "ge-act-from-scratch",
        "ge-act-evaluate", "ge-act-evaluate-2", "ge-act-evaluate-3", "ge-act-evaluate-4",
    ],
    "policy_release": ["release-gate", "release-publish", "release-check", "release-candidate"],
    "retrain": [
        "retrain-adopt", "retrain-take-in", "retrain-decide", "retrain-base", "retrain-notify",
        "ge-base-frames", "ge-base-frames-2", "ge-base-codec", "ge-base-stage1", "ge-base-stage2",
        "ge-act-pretrain", "ge-act-adapt", "ge-act-adapt-2", "ge-act-specialize", "ge-act-specialize-2",
        "ge-act-from-scratch", "ge-act-evaluate", "ge-act-evaluate-2", "ge-act-evaluate-3", "ge-act-evaluate-4",
        "ge-act-evaluate-5", "ge-act-evaluate-6", "release-gate", "release-gate-2", "release-publish",
        "release-publish-2", "release-check", "release-check-2", "release-candidate", "release-candidate-2",
    ],
    "dft": [
        "dft-problems", "dft-base", "dft-validate", "dft-train", "dft-train-2", "dft-train-3", "dft-train-4",
        "dft-evaluate", "dft-evaluate-2", "dft-evaluate-3", "dft-evaluate-4", "dft-evaluate-5",
        "dft-analyse", "dft-analyse-2", "dft-analyse-3", "dft-analyse-4",
        "release-language-gate", "release-language-publish",
    ],
    "dft_adopted": [
        "dft-adopt-model", "dft-adopt-chats", "dft-validate", "dft-train", "dft-train-2", "dft-train-3",
        "dft-evaluate", "dft-evaluate-2", "dft-evaluate-3", "dft-evaluate-4",
        "dft-analyse", "dft-analyse-2", "dft-analyse-3", "release-language-gate", "release-language-publish",
    ],
    "dft_paper": [
        "dft-problems", "dft-base", "dft-validate", "dft-sample", "dft-sample-2", "dft-sample-3",
        *numbered("dft-train", 21), *numbered("dft-dpo", 3), *numbered("dft-online", 6),
        *numbered("dft-arms", 3), "dft-table",
    ],
    "r_zero": ["dft-problems", "dft-base", *CURRICULUM],
    "r_zero_adopted": [*numbered("dft-adopt-model", 2), "dft-adopt-chats", *CURRICULUM],
    "r_zero_paper": [
        "dft-problems", "dft-base", *numbered("r-zero-challenger", 12), *numbered("r-zero-questions", 18),
        *numbered("r-zero-labels", 18), *numbered("r-zero-solver", 18), *numbered("dft-players", 3), "dft-table",
    ],
}  # fmt: skip

GROUPS = ("for-loop-", "condition-", "exit-handler-")
"""How KFP calls the bodies of loops, conditions and exit handlers; each is a DAG of its own."""


def documents(pipeline: str, folder: Path) -> dict[str, Any]:
    return next(iter(yaml.load_all(compiled(pipeline, folder).read_text(), yaml.CSafeLoader)))


def compiled(pipeline: str, folder: Path) -> Path:
    """The file to upload, with the first recipe of the pipeline's track."""
    entry = find(pipeline)
    return compile_to(entry, recipe(entry.track, next(iter(RECIPES[entry.track]))), folder)[0]


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_it_compiles_with_the_stages_of_the_paper(pipeline: str, tmp_path: Path) -> None:
    """A stage that is lost from the DAG would simply never run."""
    spec = documents(pipeline, tmp_path)
    dags = [spec["root"], *(c for c in spec["components"].values() if "dag" in c)]  # a loop's body is a DAG of its own
    found = [name for dag in dags for name in dag["dag"]["tasks"] if not name.startswith(GROUPS)]
    assert sorted(found) == sorted(TASKS[pipeline])
    assert sorted(tasks(find(pipeline).load())) == sorted(TASKS[pipeline])
    images = [e["container"]["image"] for e in spec["deploymentSpec"]["executors"].values()]
    assert all(any(f"orrery/{name}" in image for name in names()) for image in images)
    hands_on = spec["root"].get("outputDefinitions", {}).get("parameters")
    assert bool(hands_on) == (pipeline != "retrain"), "only a retrain, which may end early, hands nothing on"


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_kfp_keeps_no_cache_of_its_own(pipeline: str, tmp_path: Path) -> None:
    """KFP's cache does not see code: after a new image it would hand on what the old one made."""
    for task in documents(pipeline, tmp_path)["root"]["dag"]["tasks"].values():
        assert not task.get("cachingOptions", {}).get("enableCache"), task["taskInfo"]["name"]


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_equal_code_compiles_to_equal_bytes(pipeline: str, tmp_path: Path) -> None:
    """A YAML file that changes by itself cannot be reviewed."""
    assert compiled(pipeline, tmp_path / "a").read_bytes() == compiled(pipeline, tmp_path / "b").read_bytes()
    left = {path.relative_to(tmp_path / "a").as_posix() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert left == {f"{pipeline}.yaml", f"kubernetes/{pipeline}.yaml"}


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_a_component_carries_no_package_installation(pipeline: str, tmp_path: Path) -> None:
    """Images hold all they import; a pip at run time needs a network that a cluster may not have."""
    assert "pip install" not in compiled(pipeline, tmp_path).read_text()


def test_each_pipeline_takes_its_inputs_from_outputs_of_one_before_it() -> None:
    """A wrong name here ends the demo after its longest stage."""
    outputs: dict[str, set[str]] = {}
    for pipeline in (DROP_INTAKE, *LOOP):
        spec = pipeline.load().component_spec
        for name, sources in pipeline.inputs.items():
            for source in sources:
                assert name in outputs[source], f"{pipeline.name} takes {name} from {source}"
        assert set(pipeline.inputs) <= set(spec.inputs)
        outputs[pipeline.name] = set(spec.outputs)
