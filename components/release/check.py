"""The check of a published policy: a real Triton server has to give the same actions as the policy in process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.envisioner.memory import SessionMemory
from components.envisioner.policy import Policy
from components.release.client import PolicyClient
from components.release.config import CheckConfig
from components.release.errors import ServedDiffers
from components.release.gate import summary
from components.release.triton_repository import materialise
from components.release.triton_server import TritonServer
from components.store.stage import Workspace
from data_contracts.bundle import PolicyBundle
from data_contracts.lineage import Metric
from data_contracts.release import CheckResult


def run(ws: Workspace, config: CheckConfig, seed: int) -> dict[str, Metric]:
    """Serve the input `published`, ask over HTTP and gRPC, compare; writes `result.json` and `triton.log`."""
    published = ws.inputs["published"]
    folder = ws.scratch / "published"
    repository = materialise(ws.store, published, folder)
    bundle = PolicyBundle.model_validate_json((folder / "bundle.json").read_bytes())
    expected = list(in_process(bundle, folder, config.requests, seed))
    difference, latency = {}, {}
    with TritonServer(repository, log=ws.out / "triton.log", ready_s=config.ready_s) as server:
        for protocol, url in (("http", server.http_url), ("grpc", server.grpc_url)):
            answers, seconds = ask(url, bundle, published.version, config.requests, seed, session=f"check-{protocol}")
            difference[protocol] = float(np.abs(np.subtract(answers, expected)).max())
            latency[protocol] = summary(seconds[1:])
    result = CheckResult(
        policy=bundle.policy,
        version=published.version,
        actions=(bundle.action.chunk, bundle.action.width),
        max_difference=difference,
        tolerance=config.tolerance,
        latency=latency,
        ready_seconds=round(server.ready_seconds, 3),
    )
    wrong = [protocol for protocol, by in difference.items() if not by <= config.tolerance]  # what is no number, too
    if wrong:
        raise ServedDiffers(
            f"{published.prefix} answers differently over {wrong[0]} than in process: by up to "
            f"{difference[wrong[0]]:.3g}, tolerance {config.tolerance:g}; it is not made a candidate"
        )
    (ws.out / "result.json").write_text(result.model_dump_json(indent=2))
    return {
        "max_difference": max(difference.values()),
        "ready_seconds": result.ready_seconds,
        **{f"{protocol}_p95_s": latency[protocol].p95 for protocol in latency},
    }


Moment = tuple[NDArray[np.uint8], NDArray[np.float32], int]
"""Frames (V, H, W, 3), state (D,), control steps executed before them."""


def moments(bundle: PolicyBundle, count: int, seed: int) -> Iterator[Moment]:
    """`count` moments of one session; equal for equal seeds."""
    random = np.random.default_rng(seed)
    shape = (len(bundle.cameras), bundle.image_height, bundle.image_width, 3)
    mean, std = np.asarray(bundle.action.state.mean), np.asarray(bundle.action.state.std)
    for i in range(count):
        frame = random.integers(0, 256, shape, dtype=np.uint8)
        state = (mean + std * random.normal(size=mean.shape)).astype(np.float32)
        yield frame, state, bundle.execute_steps if i else 0


def in_process(bundle: PolicyBundle, folder: Path, count: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """What the policy answers here, with its memory moving along."""
    policy = Policy.load(bundle, folder)
    memory = SessionMemory(bundle.memory.frames, bundle.memory.stride_steps)
    for i, (frame, state, executed) in enumerate(moments(bundle, count, seed)):
        yield policy.act(memory.observe(frame, executed), state, bundle.instructions[0], seed + i)


def ask(
    url: str, bundle: PolicyBundle, version: str, count: int, seed: int, session: str
) -> tuple[list[NDArray[np.float32]], list[float]]:
    """The server's answers to the same moments, and the seconds each took. Raises ServedDiffers on a wrong version."""
    answers, seconds = [], []
    with PolicyClient(url, bundle.policy, timeout_s=60) as client:
        for i, (frame, state, executed) in enumerate(moments(bundle, count, seed)):
            began = time.perf_counter()
            actions, served = client.act(
                frame, state, bundle.instructions[0], session, executed_steps=executed, reset=i == 0, seed=seed + i
            )
            seconds.append(time.perf_counter() - began)
            if served != version or actions.shape != (bundle.action.chunk, bundle.action.width):
                raise ServedDiffers(f"{url} serves version {served} with actions {actions.shape}, not {version}")
            answers.append(actions)
    return answers, seconds
