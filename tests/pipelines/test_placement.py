"""What a compiled step asks of a cluster. If these fail, a step is refused, starves others, or may do too much."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.images import image
from components.launcher.train import PLACEMENT
from components.launcher.trainjob import Placement
from components.store import access
from components.store.code import folder_fingerprints
from components.store.errors import ConfigurationError
from data_contracts.base import canonical_json
from pipelines.catalog import PIPELINES, find
from pipelines.compiler import compile_to
from pipelines.placement import ROLES
from pipelines.recipes import RECIPES, recipe

ROOT = Path(__file__).resolve().parents[2]
Document = dict[str, Any]

BUDGET = "cluster.budget_gpu_hours=6"
STAGE1_ON_GPUS: Document = {
    "image": image("trainer"),
    "resources": {
        "cpuRequest": 8.0,
        "resourceCpuRequest": "8",
        "memoryRequest": 25.769803776,
        "resourceMemoryRequest": "24Gi",
        "memoryLimit": 25.769803776,
        "resourceMemoryLimit": "24Gi",
        "accelerator": {
            "count": "4",
            "type": "nvidia.com/gpu",
            "resourceCount": "4",
            "resourceType": "nvidia.com/gpu",
        },
    },
    "env": [
        {"name": "ORRERY_PIPELINE", "value": "ge_base"},
        {"name": "ORRERY_TASK", "value": "ge-base-stage1"},
        {
            "name": "ORRERY_RUN_OF",
            "value": '{"config":{"cluster":{"team":""}},"policy":"ge-act","recipe":"tiny"}',
        },
        {"name": "ORRERY_IMAGE", "value": image("trainer")},
        {"name": "ORRERY_ROLE", "value": "training"},
        {"name": "HOME", "value": "/tmp"},
        {"name": "ORRERY_SHARE", "value": '{"cpus":8.0,"gpus":4.0,"nodes":1}'},
        {"name": "ORRERY_BUDGET", "value": canonical_json(recipe("robots", "tiny", [BUDGET]).budget())},
        {"name": "ORRERY_CODE", "value": canonical_json(folder_fingerprints())},
    ],
    "retryPolicy": {
        "maxRetryCount": 3,
        "backoffDuration": "30s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "3600s",
    },
    "kubernetes": {
        "activeDeadlineSeconds": "5400",
        "configMapAsEnv": [
            {
                "configMapName": "store",
                "configMapNameParameter": {"runtimeValue": {"constant": "store"}},
                "keyToEnv": [{"configMapKey": "MINIO_ENDPOINT", "envVar": "MINIO_ENDPOINT"}],
                "optional": True,
            }
        ],
        "emptyDirMounts": [
            {"mountPath": "/tmp", "sizeLimit": "20Gi", "volumeName": "tmp"},
            {"medium": "Memory", "mountPath": "/dev/shm", "sizeLimit": "16Gi", "volumeName": "shm"},
        ],
        "fieldPathAsEnv": [{"name": "ORRERY_RUN", "fieldPath": "metadata.labels['pipeline/runid']"}],
        "imagePullPolicy": "IfNotPresent",
        "podMetadata": {"labels": {"orrery/store-client": "true"}},
        "secretAsEnv": [
            {
                "keyToEnv": [
                    {"envVar": "AWS_ACCESS_KEY_ID", "secretKey": "access-key-id"},
                    {"envVar": "AWS_SECRET_ACCESS_KEY", "secretKey": "secret-access-key"},
                ],
                "optional": True,
                "secretName": "store-training",
                "secretNameParameter": {"runtimeValue": {"constant": "store-training"}},
            }
        ],
        "securityContext": {"runAsGroup": "65532", "runAsNonRoot": True, "runAsUser": "65532"},
        "tolerations": [{"effect": "NoSchedule", "key": "nvidia.com/gpu", "operator": "Exists"}],
    },
}
"""Everything that `ge_base.stage1` asks for with the settings of the test below."""


def compiled(pipeline: str, folder: Path, *settings: str) -> tuple[Document, Document]:
    """The pipeline's specification and what it says to Kubernetes."""
    entry = find(pipeline)
    upload, _ = compile_to(entry, recipe(entry.track, next(iter(RECIPES[entry.track])), settings), folder)
    spec, platform = yaml.load_all(upload.read_text(), yaml.CSafeLoader)
    return spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def test_a_step_asks_for_what_the_recipe_says(tmp_path: Path) -> None:
    """The whole of one step, so that nothing is added or lost unseen."""
    settings = (
        "cluster.accelerator=nvidia.com/gpu", "cluster.cpus=2", "cluster.memory_gib=2", "cluster.shared_memory_gib=16",
        "cluster.hours=1.5", "cluster.retries=3", "cluster.retry_seconds=30",
        "stage1.train.processes=4", "stage1.train.batch_size=8", BUDGET,
    )  # fmt: skip
    spec, kubernetes = compiled("ge_base", tmp_path, *settings)
    container = spec["deploymentSpec"]["executors"]["exec-ge-base-stage1"]["container"]
    asked = {key: container[key] for key in ("image", "resources", "env")}
    asked["retryPolicy"] = spec["root"]["dag"]["tasks"]["ge-base-stage1"]["retryPolicy"]
    asked["kubernetes"] = kubernetes["exec-ge-base-stage1"]
    assert asked == STAGE1_ON_GPUS


def test_memory_is_asked_for_in_whole_numbers(tmp_path: Path) -> None:
    """KFP refuses "1.5Gi" for a step's memory: a recipe that halves something would not compile."""
    spec, _ = compiled("drop_intake", tmp_path, "cluster.memory_gib=1", "cluster.shared_memory_gib=0.51")
    asked = spec["deploymentSpec"]["executors"]["exec-agibot-join"]["container"]["resources"]
    assert (asked["resourceMemoryRequest"], asked["resourceMemoryLimit"]) == ("1547Mi", "1547Mi")


def test_accelerators_go_to_steps_that_use_them(tmp_path: Path) -> None:
    """Breaks if recording held a GPU for hours, or sampling started without one."""
    held = {}
    for pipeline in ("episode_intake", "ge_base", "ge_act", "dft"):
        spec, _ = compiled(pipeline, tmp_path, "cluster.accelerator=nvidia.com/gpu")
        for name, executor in spec["deploymentSpec"]["executors"].items():
            held[name.removeprefix("exec-")] = "accelerator" in executor["container"]["resources"]
    assert {name for name, holds in held.items() if not holds} >= {
        "robots-record", "agibot-intake", "ge-base-frames", "ge-base-codec", "dft-problems", "dft-validate"
    }  # fmt: skip
    assert all(held[name] for name in ("ge-act-specialize", "ge-act-evaluate", "dft-base", "dft-evaluate"))


def test_a_training_on_nodes_of_its_own_leaves_its_step_small(tmp_path: Path) -> None:
    """Breaks if a step that only waits held a GPU too, or if its TrainJob lost processes, memory or the queue."""
    settings = (
        "cluster.nodes=2", "cluster.queue=training", "cluster.priority=orrery-by-hand",
        "cluster.accelerator=nvidia.com/gpu", "cluster.cpus=2",
        "cluster.memory_gib=4", "cluster.hours=3", "stage1.train.processes=4", "stage1.train.batch_size=8",
    )  # fmt: skip
    spec, kubernetes = compiled("ge_base", tmp_path, *settings)
    step = spec["deploymentSpec"]["executors"]["exec-ge-base-stage1"]["container"]
    assert "accelerator" not in step["resources"]
    assert (step["resources"]["resourceCpuRequest"], step["resources"]["resourceMemoryLimit"]) == ("2", "5Gi")
    [text] = [e["value"] for e in step["env"] if e["name"] == PLACEMENT]
    assert Placement.model_validate_json(text) == Placement(
        runtime="orrery-gpu", image=image("trainer"), nodes=2, processes_per_node=2, cpus=2, memory_gib=9,
        scratch_gib=20, accelerator="nvidia.com/gpu", queue="training", priority="orrery-by-hand",
        hours=3,
    )  # fmt: skip
    limits = {
        name: int(kubernetes[f"exec-{name}"]["activeDeadlineSeconds"]) for name in ("ge-base-stage1", "ge-base-frames")
    }
    assert limits["ge-base-frames"] == 3 * 3600
    assert limits["ge-base-stage1"] > 3 * 3600 + 600, "else it is killed before it has taken a late TrainJob away"
    frames = spec["deploymentSpec"]["executors"]["exec-ge-base-frames"]["container"]
    assert PLACEMENT not in {e["name"] for e in frames["env"]}, "it does not train"
    with pytest.raises(ConfigurationError, match=r"cluster\.nodes 3 do not divide the 4 of train\.processes"):
        compiled("ge_base", tmp_path, *settings, "cluster.nodes=3")


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_every_step_is_bounded_and_has_its_own_roles_credentials(pipeline: str, tmp_path: Path) -> None:
    spec, kubernetes = compiled(pipeline, tmp_path)
    for label, executor in spec["deploymentSpec"]["executors"].items():
        said = kubernetes[label]
        assert executor["container"]["resources"].keys() >= {"resourceCpuRequest", "resourceMemoryLimit"}, label
        assert int(said["activeDeadlineSeconds"]) > 0, label
        [task] = [e["value"] for e in executor["container"]["env"] if e["name"] == "ORRERY_TASK"]
        assert task == label.removeprefix("exec-"), "what a run tells of one task would be taken for another's"
        assert said["securityContext"]["runAsNonRoot"] is True, label
        secret, *others = said["secretAsEnv"]
        component = re.sub(r"^exec-|-\d+$", "", label)  # a component's second task is its name and a number
        assert secret["secretName"] == f"store-{ROLES[component]}", label
        assert [s["secretName"] for s in others] == ["webhook"] * (component == "retrain-notify"), label
        assert all(s["optional"] for s in said["secretAsEnv"]), "its pod would wait for one that is not there, for ever"
    for name, task in spec["root"]["dag"]["tasks"].items():
        if "executorLabel" in spec["components"][task["componentRef"]["name"]]:
            assert task["retryPolicy"]["maxRetryCount"] > 0, name


def test_the_recipes_values_are_a_runs_defaults(tmp_path: Path) -> None:
    """Breaks if a person who uploads a pipeline had to type its configurations."""
    spec, _ = compiled("ge_base", tmp_path)
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert {name for name, p in parameters.items() if "defaultValue" not in p} == {"store", "dataset"}
    assert '"frames":57' in parameters["stage1_config"]["defaultValue"].replace(" ", "")


def test_the_kubernetes_objects_carry_the_same_pipeline(tmp_path: Path) -> None:
    """A version is named by its content: applied again it is the same one, and a changed pipeline is a new one."""
    entry = find("episode_intake")
    upload, manifest = compile_to(entry, recipe("robots", "tiny"), tmp_path)
    spec, platform = yaml.load_all(upload.read_text(), yaml.CSafeLoader)
    pipeline, version = yaml.load_all(manifest.read_text(), yaml.CSafeLoader)
    assert (pipeline["kind"], version["kind"]) == ("Pipeline", "PipelineVersion")
    for document in (pipeline, version):
        assert re.fullmatch("[a-z0-9]([a-z0-9-]{,61}[a-z0-9])?", document["metadata"]["name"]), "or it is refused"
    assert version["spec"]["pipelineName"] == pipeline["metadata"]["name"] == "episode-intake"
    assert version["spec"]["pipelineSpec"] == spec
    assert version["spec"]["platformSpec"] == platform
    _, changed = compile_to(entry, recipe("robots", "tiny", ["cluster.retries=0"]), tmp_path)
    _, other = yaml.load_all(changed.read_text(), yaml.CSafeLoader)
    assert other["metadata"]["name"] != version["metadata"]["name"]


QUESTIONS = {"agibot-plan", "r-zero-decide", "retrain-base", "retrain-notify"}
"""Components that publish nothing."""


def test_a_components_role_may_write_what_its_stage_publishes() -> None:
    """Breaks if a stage ended with "access denied" after its work was done."""
    published = dict(kinds())
    assert published.keys() == ROLES.keys(), "every component has a role, and every role a component"
    assert {component for component, kind in published.items() if kind is None} == QUESTIONS
    for component, kind in published.items():
        assert kind is None or kind in access.ROLES[ROLES[component]].writes, component


def kinds() -> Iterator[tuple[str, str | None]]:
    """Each component, and the folder that its stage publishes into: the `kind` of its run_stage, as the source says.

    None: it publishes nothing.
    """
    for file in sorted(ROOT.glob("components/*/component.py")):
        for shell in [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)]:
            [(module, stage)] = [
                (str(node.module), node.names[0].name)
                for node in shell.body
                if isinstance(node, ast.ImportFrom) and str(node.module).endswith("stages")
            ]
            functions = functions_of(module)
            found = {
                keyword.value.value
                for call in calls(functions, stage)
                for keyword in call.keywords
                if keyword.arg == "kind" and isinstance(keyword.value, ast.Constant)
            }
            [kind] = found or {None}
            yield shell.name.replace("_", "-"), kind


def functions_of(module: str) -> dict[str, ast.FunctionDef]:
    """The functions of a stages module, with those that it takes from another one."""
    body = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text()).body
    own = {node.name: node for node in body if isinstance(node, ast.FunctionDef)}
    for node in body:
        if isinstance(node, ast.ImportFrom) and str(node.module).endswith("stages"):
            own = functions_of(str(node.module)) | own
    return own


def calls(functions: dict[str, ast.FunctionDef], name: str, seen: frozenset[str] = frozenset()) -> Iterator[ast.Call]:
    """The calls that a function makes, itself or through functions of its module."""
    for node in ast.walk(functions[name]):
        if isinstance(node, ast.Call):
            yield node
            inner = node.func.id if isinstance(node.func, ast.Name) else ""
            if inner in functions and inner not in {name, *seen}:
                yield from calls(functions, inner, seen | {name})
