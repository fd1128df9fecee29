"""What every recipe is: the whole typed configuration of a track's pipelines."""

from __future__ import annotations

from abc import abstractmethod

from pydantic import Field

from data_contracts.base import Contract
from data_contracts.cost import Budget
from pipelines.recipes.cluster import Cluster


class Recipe(Contract):
    """`stages()` gives each stage its own configuration; what several stages share is written once in the recipe."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    seed: int = Field(default=0, ge=0)
    estimates: dict[str, float] = Field(
        default_factory=dict, description="seconds a stage takes on two cores, until a run has measured them"
    )
    cluster: Cluster = Cluster()

    def budget(self) -> Budget:
        """What a run may spend, as its steps are told it."""
        of = self.cluster
        return Budget(gpu_hours=of.budget_gpu_hours, cpu_hours=of.budget_cpu_hours, seconds=self.estimates)

    def judged(self) -> str:
        """The policy, or the language model, that the recipe's gate judges; '' if it has none."""
        return str(getattr(self.stages().get("gate"), "policy", ""))

    def outline(self) -> dict[str, object]:
        """What a step may have to say of its run; see `components.store.status.introduce`."""
        return {"recipe": self.name, "policy": self.judged(), "config": {"cluster": {"team": self.cluster.team}}}

    def plans(self, title: str) -> bool:
        """Whether a run is expected to reach the task of this title: some pipelines hold branches for the rare case."""
        return True

    @abstractmethod
    def stages(self) -> dict[str, Contract]:
        """The configuration of every stage, under the name of the pipelines' `<name>_config` parameters."""
