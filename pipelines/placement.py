"""Where the steps of a compiled pipeline run: the one place for resources, time-outs, retries, secrets and volumes.

All of it comes from the recipe. `kfp.local` knows nothing of it, so it is added when a pipeline is compiled, and the
pipelines stay a table of contents.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from components.images import image
from components.language.engine_config import EngineConfig
from components.launcher.train import PLACEMENT
from components.retrain.config import NotifyConfig
from components.store.access import KEY_FILE, SECRET_FILE
from components.store.code import COMPILED_FROM, folder_fingerprints
from components.store.cost import BUDGET, SHARE
from components.store.errors import ConfigurationError
from components.store.status import RUN_OF, TASK
from components.training.config import TrainConfig
from data_contracts.base import Contract, canonical_json
from data_contracts.cost import Share
from pipelines.recipes.base import Recipe
from pipelines.train_jobs import train_job_of

if TYPE_CHECKING:
    from kfp.dsl import PipelineTask

USER = 65532
"""Who a step is in its image: `USER` of every Dockerfile."""

WEBHOOK = "webhook"
"""The Secret with the entry `url`: whom a retrain tells how it ended; without it, nobody but the store."""

ATTENDING_SECONDS = 900
"""How much longer than its TrainJob a step may take: to order it, to take away a late one, to fetch the result."""

RUN_ID = "metadata.labels['pipeline/runid']"
"""Where a pod of KFP finds the id of its run."""

ROLES = {
    "robots-record": "recording",
    "agibot-adopt": "recording",
    "agibot-intake": "intake",
    "agibot-plan": "intake",
    "agibot-examine": "intake",
    "agibot-join": "intake",
    "ge-base-frames": "intake",
    "ge-base-codec": "training",
    "ge-base-stage1": "training",
    "ge-base-stage2": "training",
    "ge-act-pretrain": "training",
    "ge-act-adapt": "training",
    "ge-act-specialize": "training",
    "ge-act-from-scratch": "training",
    "ge-act-evaluate": "evaluation",
    "retrain-adopt": "recording",
    "retrain-take-in": "intake",
    "retrain-decide": "release",
    "retrain-base": "release",
    "retrain-notify": "release",
    "release-gate": "release",
    "release-publish": "release",
    "release-check": "release",
    "release-candidate": "release",
    "release-language-gate": "release",
    "release-language-publish": "release",
    "dft-problems": "intake",
    "dft-adopt-chats": "intake",
    "dft-validate": "intake",
    "dft-sample": "intake",
    "dft-adopt-model": "training",
    "dft-base": "training",
    "dft-train": "training",
    "dft-dpo": "training",
    "dft-online": "training",
    "dft-further": "training",
    "dft-arms": "evaluation",
    "dft-players": "evaluation",
    "dft-table": "evaluation",
    "dft-evaluate": "evaluation",
    "dft-analyse": "evaluation",
    "r-zero-challenger": "training",
    "r-zero-questions": "intake",
    "r-zero-labels": "intake",
    "r-zero-solver": "training",
    "r-zero-decide": "training",
    "r-zero-select": "training",
}
"""Whose credentials a component gets: its role in `components.store.access`."""


def place(task: PipelineTask, recipe: Recipe, pipeline: str) -> None:
    """Tell a task of `pipeline` where it is, and ask for what `recipe.cluster` says, for as many processes as its stage
    starts.

    Raises ConfigurationError for a component whose role is not known.
    """
    from kfp import kubernetes

    cluster, role = recipe.cluster, role_of(task.component_spec.name)
    config = recipe.stages().get(task.inputs["config"].name.removesuffix("_config"))
    ranks = training_ranks(config)
    count = ranks or getattr(config, "processes", 1)
    apart = train_job_of(cluster, ranks, task.container_spec.image)
    own = 1 if apart else count  # a step whose training is a TrainJob starts and follows it
    memory = cluster.memory_gib * own + cluster.shared_memory_gib  # what lies in /dev/shm counts as memory
    task.set_cpu_request(f"{cluster.cpus * own:g}")
    task.set_memory_request(_whole(memory)).set_memory_limit(_whole(memory))
    task.set_retry(cluster.retries, f"{cluster.retry_seconds}s", 2.0, "3600s")
    kubernetes.use_field_path_as_env(task, "ORRERY_RUN", RUN_ID)
    kubernetes.set_timeout(task, int(cluster.hours * 3600) + (ATTENDING_SECONDS if apart else 0))
    kubernetes.set_image_pull_policy(task, "IfNotPresent")
    kubernetes.set_security_context(task, run_as_user=USER, run_as_group=USER, run_as_non_root=True)
    kubernetes.add_pod_label(task, "orrery/store-client", "true")
    # optional: without them the step itself ends and names what is missing; its pod would wait for them without an end
    kubernetes.use_config_map_as_env(task, "store", {"MINIO_ENDPOINT": "MINIO_ENDPOINT"}, optional=True)
    keys = {KEY_FILE: "AWS_ACCESS_KEY_ID", SECRET_FILE: "AWS_SECRET_ACCESS_KEY"}
    kubernetes.use_secret_as_env(task, f"store-{role}", keys, optional=True)
    if isinstance(config, NotifyConfig):
        kubernetes.use_secret_as_env(task, WEBHOOK, {"url": config.webhook_env}, optional=True)
        kubernetes.add_pod_label(task, "orrery/webhook-client", "true")
    kubernetes.empty_dir_mount(task, "tmp", "/tmp", size_limit=f"{cluster.scratch_gib:g}Gi")
    kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=f"{cluster.shared_memory_gib:g}Gi")
    samples = role == "evaluation" or task.container_spec.image == image("rollout")
    gpus = (ranks + engine_gpus(config) or 1) if cluster.accelerator and (ranks or samples) else 0
    task.container_spec.env = {
        **(task.container_spec.env or {}),  # `set_env_variable` looks through the whole stack, each time
        "ORRERY_PIPELINE": pipeline,
        TASK: task.name,
        RUN_OF: canonical_json(recipe.outline()),
        "ORRERY_IMAGE": task.container_spec.image,
        "ORRERY_ROLE": role,
        "HOME": "/tmp",  # the one place where a step may write, whoever built its image
        SHARE: canonical_json(Share(cpus=cluster.cpus * count, gpus=gpus)),
        BUDGET: canonical_json(recipe.budget()),
        COMPILED_FROM: canonical_json(folder_fingerprints()),
        **({PLACEMENT: canonical_json(apart)} if apart else {}),
    }
    if gpus and not apart:
        task.set_accelerator_type(cluster.accelerator).set_accelerator_limit(gpus)
        kubernetes.add_toleration(task, key=cluster.accelerator, operator="Exists", effect="NoSchedule")


def role_of(component: str) -> str:
    """Raises ConfigurationError for a component that has none."""
    if component not in ROLES:
        raise ConfigurationError(
            f"component {component!r} has no role in the store; give it one in pipelines/placement.py"
        )
    return ROLES[component]


def _whole(gib: float) -> str:
    """A quantity as KFP takes it: it refuses fractions."""
    return f"{gib:g}Gi" if gib == int(gib) else f"{math.ceil(gib * 1024)}Mi"


def training_ranks(config: Contract | None) -> int:
    """How many processes the stage trains with; 0 for one that does not train."""
    train = getattr(config, "train", None) or getattr(getattr(config, "tune", None), "train", None)
    return train.processes if isinstance(train, TrainConfig) else 0


def engine_gpus(config: Contract | None) -> int:
    """How many GPUs the stage's engines have for themselves, behind those that train; see EngineConfig."""
    engine = getattr(config, "engine", None) or getattr(getattr(config, "evaluate", None), "engine", None)
    return engine.gpus * getattr(config, "engines", 1) if isinstance(engine, EngineConfig) else 0
