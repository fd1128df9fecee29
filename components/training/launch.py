"""How a training job is launched: on this machine by torchrun. (On a cluster the same worker runs in a TrainJob.)"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import deque
from pathlib import Path

from components.store.errors import OrreryError
from components.store.files import cache_root, locked
from components.training.job import Job
from components.training.output import ERROR_MARK, is_noise

_COPY_SECONDS = 300.0  # the longest wait for another process that copies a megabyte


def run_local(job: Job, deadline_seconds: float = 7 * 24 * 3600) -> dict[str, float | int | str]:
    """Train `job` with torchrun on this machine and return its metrics. Its output is passed on line by line.

    Raises:
        OrreryError: with the workers' own message, or their last lines, or that the deadline passed.
    """
    alone = [
        "--nnodes=1",
        f"--nproc-per-node={job.train.processes}",
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=127.0.0.1:0",
    ]
    return _run(job, alone, deadline_seconds)


def run_node(job: Job, deadline_seconds: float) -> dict[str, float | int | str]:
    """Be one node of a training: which one, and how many processes it has, torchrun reads from `PET_*`.

    The metrics on the node of rank 0, nothing on others. Raises what `run_local` does.
    """
    return _run(job, [], deadline_seconds)


def _run(job: Job, where: list[str], deadline_seconds: float) -> dict[str, float | int | str]:
    scratch = Path(job.scratch)
    scratch.mkdir(parents=True, exist_ok=True)
    Path(job.out).mkdir(parents=True, exist_ok=True)
    job_file, metrics_file = scratch / "job.json", scratch / "metrics.json"
    job_file.write_text(job.model_dump_json())
    metrics_file.unlink(missing_ok=True)
    torchrun = [sys.executable, "-m", "torch.distributed.run", *where, "--max-restarts=0"]
    tail = _follow([*torchrun, "-m", "components.training.worker", str(job_file)], _environment(), deadline_seconds)
    if tail is not None:
        raise OrreryError(tail)
    if not metrics_file.exists():
        return {}
    metrics: dict[str, float | int | str] = json.loads(metrics_file.read_text())
    return metrics


def _environment() -> dict[str, str]:
    import torch

    environment = dict(os.environ)
    # Torch looks for `ninja` on PATH, even to load what is compiled already; the environment has its own.
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    if "TORCH_EXTENSIONS_DIR" not in environment:
        environment["TORCH_EXTENSIONS_DIR"] = str(_compiled_ops(Path(sys.prefix) / "torch_extensions"))
    if not torch.cuda.is_available():
        # One thread per process: ranks share the cores. MKL and OpenBLAS choose their kernels themselves.
        environment |= {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    environment |= {"PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore", "TORCHELASTIC_ERROR_FILE": os.devnull}
    return environment


def _compiled_ops(ours: Path) -> Path:
    """Where DeepSpeed's compiled operations lie, as a folder that may be written: torch locks it even to load them.

    They name the environment's folders, so they stay with it: shared, two environments would compile them in turns. In
    an image the environment is read-only and a copy is loaded, with its times, by which ninja sees that all is done.
    """
    if not ours.is_dir() or os.access(ours, os.W_OK):
        return ours
    copy = cache_root() / "torch_extensions" / hashlib.sha256(str(ours).encode()).hexdigest()[:8]
    with locked(copy.with_suffix(".lock"), _COPY_SECONDS):
        if not copy.is_dir():
            part = copy.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(ours, part)
            os.replace(part, copy)
    return copy


def _follow(command: list[str], environment: dict[str, str], deadline: float) -> str | None:
    """Run to the end, passing lines on. None on success, else a message that says why it failed."""
    lines: deque[str] = deque(maxlen=30)
    named = ""  # torchrun says a lot after a worker's own message
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=_die_with_parent, start_new_session=True,
    )  # fmt: skip
    timer = _Killer(process, deadline)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            lines.append(line.rstrip())
            if ERROR_MARK in line:
                named = line.rstrip().split(ERROR_MARK, 1)[1]
            if not is_noise(line):
                print(line, end="", flush=True)
        code = process.wait()
    except BaseException:
        timer.kill()
        raise
    finally:
        timer.cancel()
    if timer.fired:
        return f"training did not finish within {deadline:.0f} s and was stopped; it resumes from its last checkpoint"
    if code == 0:
        return None
    if named:
        return named
    return f"training failed with exit code {code}; its last lines:\n" + "\n".join(lines)


class _Killer:
    """Ends the process group at the deadline: TERM, then KILL ten seconds later."""

    def __init__(self, process: subprocess.Popen[str], deadline: float):
        import threading

        self._process, self.fired = process, False
        self._timer = threading.Timer(deadline, self._fire)
        self._timer.daemon = True
        self._timer.start()

    def _fire(self) -> None:
        self.fired = True
        self.kill()

    def kill(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                return
            os.killpg(self._process.pid, number)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                continue

    def cancel(self) -> None:
        self._timer.cancel()


def _die_with_parent() -> None:
    """A killed stage must not leave training behind: the kernel ends torchrun with it (Linux)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
