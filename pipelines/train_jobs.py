"""Which steps train in a TrainJob, and what they ask for it: the recipe's `cluster`, when a pipeline is compiled."""

from __future__ import annotations

from components.images import image as image_of
from components.launcher.trainjob import Placement
from components.store.errors import ConfigurationError
from pipelines.recipes.cluster import Cluster


def train_job_of(cluster: Cluster, ranks: int, image: str) -> Placement | None:
    """Where a step with so many training processes trains; None: in itself.

    A step of the rollout image does: it samples, with an engine on its own machine, while it trains. Raises
    ConfigurationError if the processes can't be shared out over the nodes.
    """
    if not cluster.nodes or not ranks or image == image_of("rollout"):
        return None
    if ranks % cluster.nodes:
        raise ConfigurationError(
            f"cluster.nodes {cluster.nodes} do not divide the {ranks} of train.processes; change one of them"
        )
    share = ranks // cluster.nodes
    return Placement(
        runtime="orrery-gpu" if cluster.accelerator else "orrery-cpu",
        image=image,
        nodes=cluster.nodes,
        processes_per_node=share,
        cpus=cluster.cpus,
        memory_gib=cluster.memory_gib * share + cluster.shared_memory_gib,
        scratch_gib=cluster.scratch_gib,
        accelerator=cluster.accelerator,
        queue=cluster.queue,
        priority=cluster.priority,
        hours=cluster.hours,
    )
