"""The loop under the real torchrun and DeepSpeed: it learns, resumes exactly, and fails in words.

Every launch imports torch and DeepSpeed anew in every process, which takes longer than these trainings: few launches.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from components.launcher.order import Order, download, find_result, place_order
from components.store.api import Store
from components.store.errors import OrreryError
from components.store.stage import Workspace
from components.training.config import TrainConfig
from components.training.job import Job
from components.training.launch import run_local

STEPS = 60
DEADLINE = 240.0
LAUNCH = (
    "import sys; from components.training.job import Job; from components.training.launch import run_local; "
    "run_local(Job.model_validate_json(sys.argv[1]))"
)


def job(
    folder: Path, processes: int = 2, checkpoint_seconds: float = 1000.0, micro_batch: int = 0, **config: object
) -> Job:
    train = TrainConfig(
        steps=STEPS, batch_size=16, learning_rate=2e-2, warmup_steps=5, ema=0.9, precision="fp32", zero_stage=1,
        processes=processes, checkpoint_seconds=checkpoint_seconds, log_every=5, snapshots=2, micro_batch=micro_batch,
    )  # fmt: skip
    return Job(
        entry="components.training.selfcheck:trainee", config=config, train=train, seed=3, inputs={},
        out=str(folder / "out"), scratch=str(folder / "scratch"),
    )  # fmt: skip


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(str(folder / "out" / "model.safetensors"))


def losses(folder: Path) -> list[dict[str, float]]:
    """The published log, but for how long each step took."""
    lines = map(json.loads, (folder / "out" / "losses.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def snapshots(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {path.name: load_file(str(path)) for path in sorted((folder / "out" / "snapshots").iterdir())}


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "scratch").glob("checkpoint-*"))


def workers(folder: Path) -> list[int]:
    """Processes that have to do with the job in `folder`: torchrun and its workers."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            if os.fsencode(folder / "scratch" / "job.json") in (process / "cmdline").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def all_gone(folder: Path) -> bool:
    """Whether nothing trains there any more, within a few seconds; what still does is ended, for the other tests."""
    until = time.monotonic() + 30
    while (left := workers(folder)) and time.monotonic() < until:
        time.sleep(0.05)
    for process in left:
        os.kill(process, signal.SIGKILL)
    return not left


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole training where no program can be found, as in an image: no compiler, what set-up compiled is loaded."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(folder))
        run_local(job(folder), DEADLINE)
    return folder


def test_it_learns_and_logs(uninterrupted: Path) -> None:
    """Breaks if gradients, the optimiser or the log were lost between torchrun, DeepSpeed and the loop."""
    lines = losses(uninterrupted)
    assert [line["step"] for line in lines] == list(range(5, STEPS + 1, 5))
    assert lines[-1]["loss"] < 0.2 * lines[0]["loss"]


def test_snapshots_are_the_weights_on_the_way(uninterrupted: Path) -> None:
    """Breaks if the curve of success against training time showed one and the same policy."""
    kept = snapshots(uninterrupted)
    assert list(kept) == ["step-0000020.safetensors", "step-0000040.safetensors"]
    first, second, last = (*kept.values(), weights(uninterrupted))
    assert first.keys() == second.keys() == last.keys()
    assert all((first[n] != second[n]).any() and (second[n] != last[n]).any() for n in last)


def test_killed_and_started_again_gives_the_same_weights(uninterrupted: Path, tmp_path: Path) -> None:
    """Breaks if a resumed run differed from one that was never killed (moments, averages, samples, schedule), or if the
    killed one's processes went on writing beside it."""
    hangs = job(tmp_path, checkpoint_seconds=1e-3, hang_at=30)
    command = [sys.executable, "-c", LAUNCH, hangs.model_dump_json()]
    stage = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    until = time.monotonic() + DEADLINE
    while checkpoints(tmp_path) != ["checkpoint-29"] and time.monotonic() < until and stage.poll() is None:
        time.sleep(0.02)
    training = len(workers(tmp_path))
    stage.kill()
    stage.wait()
    assert all_gone(tmp_path)
    assert training == 3, "torchrun and two workers"
    assert checkpoints(tmp_path) == ["checkpoint-29"]

    (tmp_path / "scratch" / ".partial-1").mkdir()  # as if the kill had come while a checkpoint, and a line, was written
    with (tmp_path / "scratch" / "losses.jsonl").open("a") as log:
        log.write('{"step": 30, "seco')
    run_local(job(tmp_path), DEADLINE)
    assert losses(tmp_path) == losses(uninterrupted)
    for name, tensor in weights(uninterrupted).items():
        torch.testing.assert_close(weights(tmp_path)[name], tensor, rtol=0, atol=0)
    for name, tensors in snapshots(uninterrupted).items():
        torch.testing.assert_close(snapshots(tmp_path)[name], tensors, rtol=0, atol=0)


@pytest.mark.timeout(600)  # twice six processes that import torch
def test_two_nodes_that_vanish_go_on_from_the_store(uninterrupted: Path, tmp_path: Path, folder_store: Store) -> None:
    """As the pods of a TrainJob do: nothing but the store outlives them, and the weights are one machine's, bit by bit.

    The first attempt stops in its 40th step and is killed; a step counts anew in each process, so the second ends.
    """
    (tmp_path / "note").write_text("an input")
    asked = job(tmp_path, checkpoint_seconds=1e-3, hang_at=40)
    asked = asked.model_copy(update={"inputs": {"note": str(tmp_path / "note"), "phase": "adapt"}})
    places = [tmp_path / name for name in ("out", "scratch", "views")]
    order = place_order(Workspace(folder_store, "toy.train", "v1", {}, *places), asked)
    with two_nodes(folder_store, order, tmp_path / "first") as nodes:
        until = time.monotonic() + DEADLINE
        while kept(folder_store, order) != [39] and time.monotonic() < until and nodes[0].poll() is None:
            time.sleep(0.1)
    assert kept(folder_store, order) == [39], (tmp_path / "first-0").read_text()

    with two_nodes(folder_store, order, tmp_path / "second") as nodes:
        assert [node.wait(DEADLINE) for node in nodes] == [0, 0], (tmp_path / "second-0").read_text()
    assert "going on from step 39" in (tmp_path / "second-0").read_text()
    assert kept(folder_store, order) == [], "what is done needs no checkpoints"
    result = find_result(folder_store, order)
    assert result is not None
    assert (result.metrics["steps"], result.metrics["processes"]) == (STEPS, 2)
    download(folder_store, result.pieces, tmp_path / "out")
    assert losses(tmp_path) == losses(uninterrupted)
    for name, tensor in weights(uninterrupted).items():
        torch.testing.assert_close(weights(tmp_path)[name], tensor, rtol=0, atol=0)
    assert snapshots(tmp_path).keys() == snapshots(uninterrupted).keys()


@contextlib.contextmanager
def two_nodes(store: Store, order: Order, said: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two nodes of one process each, told what Trainer tells its pods; killed in the end, as pods are."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    gang = {"PET_NNODES": "2", "PET_NPROC_PER_NODE": "1", "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port)}
    environment = {**os.environ, **gang, "ORRERY_STORE": store.url}
    command = [sys.executable, "-m", "components.launcher.node", order.key]
    nodes = []
    for rank in range(2):
        with open(f"{said}-{rank}", "wb") as log:
            own = {**environment, "PET_NODE_RANK": str(rank)}
            nodes.append(subprocess.Popen(command, env=own, stdout=log, stderr=log))
    try:
        yield nodes
    finally:
        for node in nodes:
            node.kill()
            node.wait()


def kept(store: Store, order: Order) -> list[int]:
    """The steps of the whole checkpoints in the store."""
    keys = [stat.key for stat in store.list(f"{order.checkpoints}/kept/")]
    return [int(key.split("/step-")[1].split("-")[0]) for key in keys if key.endswith("/kept.json")]


def test_one_process_in_micro_batches_learns_what_two_do(uninterrupted: Path, tmp_path: Path) -> None:
    """Breaks if the step depended on how its batch is shared out, over processes or over forward passes; or if the
    gradients of micro-batches were summed."""
    run_local(job(tmp_path, processes=1, micro_batch=4), DEADLINE)
    for name, tensor in weights(uninterrupted).items():
        torch.testing.assert_close(weights(tmp_path)[name], tensor, rtol=1e-4, atol=1e-4)


def test_a_loss_that_is_not_finite_stops_the_run_in_words(tmp_path: Path) -> None:
    """Nothing is published, and the last checkpoint is one from before: resumed from NaN, no run recovers."""
    with pytest.raises(OrreryError, match=r"the loss became nan; lower train\.learning_rate"):
        run_local(job(tmp_path, processes=1, checkpoint_seconds=1e-3, poison_at=8), DEADLINE)
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "scratch" / "metrics.json").exists()
    assert checkpoints(tmp_path) == ["checkpoint-7"]
    kept = load_file(str(tmp_path / "scratch" / "checkpoint-7" / "state.safetensors"))
    assert all(tensor.isfinite().all() for tensor in kept.values())


def test_a_run_past_its_deadline_is_stopped_with_all_its_processes(tmp_path: Path) -> None:
    with pytest.raises(OrreryError, match="did not finish within 10 s and was stopped; it resumes from its last"):
        run_local(job(tmp_path, hang_at=1), deadline_seconds=10)
    assert all_gone(tmp_path)
    assert list((tmp_path / "out").iterdir()) == []
