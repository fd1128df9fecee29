from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from components.ge_base.frames import TableMeta
from components.release import stages
from components.release.config import GateConfig, PublishConfig
from components.release.triton_server import TritonServer
from components.store.api import Store
from components.store.stage import Build, Workspace, run_stage
from data_contracts.base import Contract
from data_contracts.bundle import PolicyBundle
from data_contracts.evaluation import EvaluationResult
from data_contracts.lineage import Kind, Metric, StageRecord
from tests.engines import triton


def in_group(leader: int) -> list[int]:
    """Processes that run in the group that `leader` began; a zombie that nobody has awaited does not run."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, group = status.read_text().rsplit(")", 1)[1].split()[:3]
            found += [int(status.parent.name)] if int(group) == leader and state != "Z" else []
    return found


def all_gone(leader: int, deadline_s: float = 20.0) -> bool:
    """Whether the server and its models' processes end within the deadline."""
    end = time.monotonic() + deadline_s
    while in_group(leader):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


@pytest.fixture(scope="session")
def small() -> ModuleType:
    """tests/engines/triton.py: the small policy."""
    return triton


@dataclass(frozen=True)
class Published:
    folder: Path
    bundle: PolicyBundle
    version: str


@pytest.fixture(scope="session")
def published(small: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("published")
    return Published(folder, small.write_version(folder), small.VERSION)


@pytest.fixture(scope="session")
def server(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """The real Triton server, once for all tests."""
    log = tmp_path_factory.mktemp("triton") / "triton.log"
    with TritonServer(published.folder / "triton", log=log, threads=1) as running:
        yield running


@pytest.fixture
def store(folder_store: Store) -> Store:
    return folder_store


class Upstream:
    """The versions that release reads, written as the stages before it write them."""

    def __init__(self, store: Store, small: ModuleType) -> None:
        self.store, self._small = store, small
        self.codec = self._version("ge_base.codec", "models", "codec", {}, 0, self._networks("codec.safetensors"))
        self.frames = self._version("ge_base.frames", "datasets", "frames", {}, 0, self._table)

    def model(self, seed: int = 0, drop: str = "") -> StageRecord:
        names = [n for n in ("model.safetensors", "network.json", "action.json") if n != drop]
        inputs = {"codec": self.codec, "frames": self.frames}
        return self._version("ge_act.specialize", "models", "trained", inputs, seed, self._networks(*names))

    def evaluation(
        self,
        model: StageRecord,
        successes: int,
        episodes: int = 20,
        arm: str = "policy",
        task: str = "press",
        first: int = 0,
    ) -> StageRecord:
        """`successes` of `episodes` scenes, seeds counted from `first`."""
        outcomes = [
            {"task": task, "level": 1, "seed": first + i, "success": i < successes, "steps": 90}
            for i in range(episodes)
        ]
        result = EvaluationResult.model_validate({"arm": arm, "embodiment": "agibot_g1", "episodes": outcomes})

        def build(ws: Workspace) -> dict[str, Metric]:
            (ws.out / "result.json").write_text(result.model_dump_json())
            return {"successes": successes}

        inputs = {"model": model, "frames": self.frames} if arm == "policy" else {"frames": self.frames}
        return self._version(
            "ge_act.evaluate", "evaluations", f"{arm}-{task}-{successes}-{episodes}-{first}", inputs, 0, build
        )

    def mean_action(self, successes: int = 0, episodes: int = 20) -> StageRecord:
        return self.evaluation(self.model(), successes, episodes, arm="mean-action")

    def inputs(self, successes: int = 18, seed: int = 0) -> dict[str, StageRecord]:
        """What the gate gets."""
        model = self.model(seed)
        return {
            "model": model,
            "codec": self.codec,
            "frames": self.frames,
            "evaluation": self.evaluation(model, successes),
            "mean_action": self.mean_action(),
        }

    def _version(
        self, stage: str, kind: Kind, name: str, inputs: dict[str, StageRecord], seed: int, build: Build
    ) -> StageRecord:
        return run_stage(
            store=self.store, stage=stage, kind=kind, name=name, inputs=inputs, config=Evaluated(), seed=seed,
            sources=("data_contracts/base.py",), build=build,
        )  # fmt: skip

    def _networks(self, *names: str) -> Build:
        def build(ws: Workspace) -> dict[str, Metric]:
            self._small.write_networks(ws.scratch, seed=int(ws.version, 16) % 1000)
            for name in names:
                (ws.scratch / name).rename(ws.out / name)
            return {}

        return build

    def _table(self, ws: Workspace) -> dict[str, Metric]:
        rows = [
            {
                "index": i,
                "start": 10 * i,
                "stop": 10 * i + 10,
                "instruction": f"press the {colour} button",
                "held_out": False,
            }
            for i, colour in enumerate(("red", "blue"))
        ]
        meta = {
            "embodiment": "agibot_g1",
            "cameras": self._small.CAMERAS,
            "image_height": 16,
            "image_width": 24,
            "fps": 30,
        }
        (ws.out / "episodes.json").write_text(TableMeta.model_validate(meta | {"episodes": rows}).model_dump_json())
        return {}


class Evaluated(Contract):
    """The settings of an evaluation that a bundle takes over."""

    execute_steps: int = 18
    memory_stride_steps: int = 30
    sampling_steps: int = 3


@pytest.fixture
def upstream(store: Store, small: ModuleType) -> Upstream:
    return Upstream(store, small)


@dataclass(frozen=True)
class Release:
    """Gate and publish with the defaults of these tests."""

    upstream: Upstream

    def gate(self, inputs: dict[str, StageRecord], **rules: float) -> StageRecord:
        config = GateConfig.model_validate({"policy": "press", "latency_requests": 5, "max_latency_p95_s": 30, **rules})
        return stages.gate(self.upstream.store, config, 0, **inputs)

    def publish(self, inputs: dict[str, StageRecord], gate: StageRecord | None = None) -> StageRecord:
        rest = {name: record for name, record in inputs.items() if name != "mean_action"}
        return stages.publish(
            self.upstream.store, PublishConfig(policy="press"), 0, **rest, gate=gate or self.gate(inputs)
        )


@pytest.fixture
def release(upstream: Upstream) -> Release:
    return Release(upstream)
