"""The loop under the real torchrun and DeepSpeed: it learns, resumes exactly, and fails in words."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from components.store.errors import OrreryError
from components.training.config import TrainConfig
from components.training.job import Job
from components.training.launch import run_local


def job(folder: Path, steps: int = 60, processes: int = 2, **config: object) -> Job:
    train = TrainConfig(
        steps=steps, batch_size=16, learning_rate=1e-2, warmup_steps=5, ema=0.9, precision="fp32", zero_stage=1,
        processes=processes, checkpoint_seconds=0.2, log_every=5,
    )  # fmt: skip
    return Job(
        entry="components.training.selfcheck:trainee", config=config, train=train, seed=3, inputs={},
        out=str(folder / "out"), scratch=str(folder / "scratch"),
    )  # fmt: skip


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(str(folder / "out" / "model.safetensors"))


def workers(job: Job) -> list[int]:
    """Processes that train this very job."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if b"components.training.worker" in words and b"torch.distributed.run" not in words:
                found += [int(folder.name)] if f"{job.scratch}/job.json".encode() in words else []
    return found


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run_local(job(folder, steps=400), deadline_seconds=200)
    return folder


def test_it_learns_and_logs(uninterrupted):
    """Breaks if gradients, the optimiser or the log were lost between torchrun, DeepSpeed and the loop."""
    lines = [json.loads(line) for line in (uninterrupted / "out" / "losses.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(5, 401, 5))
    assert lines[-1]["loss"] < 0.1 * lines[0]["loss"]


def test_killed_and_started_again_gives_the_same_weights(uninterrupted, tmp_path):
    """Breaks if a resumed run differed from one that was never killed: moments, averages, samples or schedule."""
    whole = job(tmp_path, steps=400)
    code = (
        "import sys; from components.training.job import Job; from components.training.launch import run_local; "
        "run_local(Job.model_validate_json(sys.argv[1]))"
    )
    command = [sys.executable, "-c", code, whole.model_dump_json()]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "scratch").glob("checkpoint-*")):
        assert time.monotonic() < deadline, "no checkpoint appeared"
        assert process.poll() is None, "the run ended before it was killed"
        time.sleep(0.02)
    assert len(workers(whole)) == 2
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    while workers(whole):
        assert time.monotonic() < deadline, "the training outlived the stage that was killed"
        time.sleep(0.02)
    step = int(next((tmp_path / "scratch").glob("checkpoint-*")).name.removeprefix("checkpoint-"))
    assert 0 < step < 400
    run_local(whole, deadline_seconds=200)
    for name, tensor in weights(uninterrupted).items():
        torch.testing.assert_close(weights(tmp_path)[name], tensor, rtol=0, atol=0)


def test_one_process_learns_what_two_do(uninterrupted, tmp_path):
    """Breaks if the batch, and not only its sharing out, depended on the number of processes."""
    run_local(job(tmp_path, steps=400, processes=1), deadline_seconds=200)
    for name, tensor in weights(uninterrupted).items():
        torch.testing.assert_close(weights(tmp_path)[name], tensor, rtol=1e-3, atol=1e-3)


def test_a_loss_that_is_not_finite_stops_the_run_in_words(tmp_path):
    with pytest.raises(OrreryError, match=r"the loss became nan; lower train\.learning_rate"):
        run_local(job(tmp_path, poison=True), deadline_seconds=200)
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_a_run_past_its_deadline_is_stopped(tmp_path):
    with pytest.raises(OrreryError, match="did not finish within 6 s"):
        run_local(job(tmp_path, steps=1_000_000), deadline_seconds=6)
