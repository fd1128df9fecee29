"""A real Triton server as a child process: started, awaited, stopped, and gone when its parent is.

The server is the one in the `nvidia-pytriton` wheel, in a virtual environment of its own (numpy below 2, Debian's
libpython 3.11). That environment must also hold this project (`pip install --no-deps`), torch, diffusers, safetensors
and pydantic, because a repository's `model.py` imports `components.release.serving_model`. It is looked for at
`ORRERY_SERVING_PYTHON`, then in the running environment, then in `.venv-serving` beside the project or below the
working directory.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from components.release.errors import ServerUnavailable
from components.release.grpc_guard import GrpcGuard
from components.release.http_guard import HttpGuard
from components.store.files import scratch_folder

_LAUNCH = """
import ctypes, os, signal, sys
ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Runs between fork and exec: PR_SET_PDEATHSIG survives exec, and a parent that died before it was set is noticed."""


def serving_python() -> Path:
    """The interpreter of the serving environment. Raises ServerUnavailable that says how to make one."""
    if named := os.environ.get("ORRERY_SERVING_PYTHON"):
        places = [Path(named)]
    else:
        project = Path(__file__).resolve().parents[2]
        places = [
            Path(sys.executable),
            project / ".venv-serving/bin/python",
            Path(".venv-serving/bin/python").absolute(),
        ]
    for python in places:
        if _tritonserver(python).is_file():
            return python
    raise ServerUnavailable(
        f"no Triton server in {', '.join(str(p.parent.parent) for p in places)}; run `make setup`, "
        "or name the interpreter of an environment that holds nvidia-pytriton in ORRERY_SERVING_PYTHON"
    )


def _packages(python: Path) -> Path:
    return python.parent.parent / "lib/python3.11/site-packages"


def _tritonserver(python: Path) -> Path:
    return _packages(python) / "pytriton/tritonserver/bin/tritonserver"


class TritonServer:
    """One server for one model repository, on free ports of `host`. Use it in a `with` block."""

    def __init__(
        self,
        repository: Path,
        *,
        host: str = "127.0.0.1",
        ports: tuple[int, int, int] | None = None,
        python: Path | None = None,
        log: Path | None = None,
        ready_s: float = 180.0,
        threads: int | None = None,
        max_body: int = 16 << 20,
    ) -> None:
        """`ports` are HTTP, gRPC and metrics (default: free ones); `log` keeps the server's output; `max_body` is the
        largest request in bytes. Start it from a thread that lives on: the server dies with that thread."""
        self.repository, self.host = repository, host
        self._ports, self._python = ports, python or serving_python()
        self._ready_s, self._threads, self._max_body = ready_s, threads, max_body
        self._folders = contextlib.ExitStack()
        self._scratch = self._folders.enter_context(scratch_folder("triton-"))
        self.log = log or self._scratch / "triton.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._shm = f"orrery{os.getpid()}x{self._scratch.name[-6:]}"
        self.http_port = self.grpc_port = self.metrics_port = self._inner_http = self._inner_grpc = 0
        self._guards: list[HttpGuard | GrpcGuard] = []
        self._models: list[int] = []
        self.ready_seconds = 0.0

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process.pid

    @property
    def http_url(self) -> str:
        return f"http://{self.host}:{self.http_port}"

    @property
    def grpc_url(self) -> str:
        return f"grpc://{self.host}:{self.grpc_port}"

    def __enter__(self) -> TritonServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start and wait until every model is ready. Raises ServerUnavailable that says why not."""
        try:
            for _ in range(1 if self._ports else 3):
                problem = self._try()
                if not problem:
                    return
                self.stop()
                if "already in use" not in problem:
                    break
            raise ServerUnavailable(problem)
        except BaseException:  # Ctrl-C while it loads, too
            self.close()
            raise

    def _try(self) -> str:
        """Start once; what went wrong, or nothing."""
        began = time.monotonic()
        self._spawn()
        if not self._await_ready(began + self._ready_s):
            what = f"was not ready within {self._ready_s:g} s" if self.running() else "ended while it started"
            return f"Triton {what}: {self.why()}"
        self.ready_seconds = time.monotonic() - began
        try:
            self._models = [os.pidfd_open(pid) for pid in _followers(self.pid)]
            self._guards.append(HttpGuard(self.host, self.http_port, self._inner_http, self._max_body))
            self._guards.append(GrpcGuard(self.host, self.grpc_port, self._inner_grpc, self._max_body))
        except ProcessLookupError:
            return "Triton lost a model's process as soon as it was ready"
        except OSError as error:
            port = self.grpc_port if self._guards else self.http_port
            return f"{self.host}:{port} can't be listened on: {(error.strerror or str(error)).lower()}"
        return ""

    def running(self) -> bool:
        """Whether the server and the processes of its models live.

        Triton never restarts a model's process. Without it, it still says that it is ready, and answers every request
        with an error.
        """
        return self._process is not None and self._process.poll() is None and not self._lost_model()

    def _lost_model(self) -> bool:
        """Whether one of the models' processes has ended: a handle on a process is readable from then on."""
        return bool(self._models and select.select(self._models, [], [], 0)[0])

    def tail(self, lines: int) -> str:
        """The last lines of the server's log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return "(no log)"

    def why(self) -> str:
        """The reason for trouble: a lost model, else the log's error lines, else its last lines."""
        if self._lost_model():
            return "the process of a model was killed, most likely for want of memory"
        lines = [line for line in self.tail(400).splitlines() if line.strip() and line[0] not in "|+"]
        errors = [line for line in lines if re.match(r"E\d{4} ", line) or line.startswith("terminate called")]
        return "\n".join((errors or lines)[-6:])

    def stop(self, deadline_s: float = 20.0) -> None:
        """SIGTERM, then SIGKILL at the deadline; returns when the process is gone. Safe to repeat."""
        while self._guards:
            self._guards.pop().close()
        process, self._process = self._process, None
        if process is None:
            return
        if self._lost_model():  # it would wait for its model until its own deadline
            process.kill()
        while self._models:
            os.close(self._models.pop())
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(deadline_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        with contextlib.suppress(ProcessLookupError):  # a killed server leaves its models' processes for a moment
            os.killpg(process.pid, signal.SIGKILL)
        for leftover in Path("/dev/shm").glob(f"{self._shm}*"):
            leftover.unlink(missing_ok=True)

    def close(self) -> None:
        """Stop, and remove the scratch folder (a `log` of the caller's is kept)."""
        self.stop()
        self._folders.close()

    def _spawn(self) -> None:
        free = _free_ports(self.host, 5)
        self.http_port, self.grpc_port, self.metrics_port = self._ports or free[:3]
        self._inner_http, self._inner_grpc = free[3:]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _LAUNCH, str(os.getpid()), *self._command()],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches us alone; we stop the server in order
            )

    def _command(self) -> list[str]:
        return [
            str(_tritonserver(self._python)),
            f"--model-repository={self.repository}",
            f"--backend-directory={self._backends()}",
            f"--backend-config=python,shm-region-prefix-name={self._shm}",
            "--model-control-mode=none",  # nobody on the network can load or unload models
            "--exit-timeout-secs=10",
            "--http-address=127.0.0.1",
            f"--http-port={self._inner_http}",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={self._inner_grpc}",
            f"--grpc-restricted-protocol=model-repository,shared-memory,trace,logging:key={secrets.token_hex(16)}",
            f"--metrics-address={self.host}",
            f"--metrics-port={self.metrics_port}",
            "--allow-gpu-metrics=false",
            "--metrics-config=summary_latencies=true",
        ]

    def _environment(self) -> dict[str, str]:
        """The stub finds its packages through the first `python3` on PATH; it ignores PYTHONPATH."""
        binaries = self._python.parent
        libraries = _packages(self._python) / "nvidia_pytriton.libs"
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MINIO_", "AWS_"))}
        keep |= {
            "PATH": f"{binaries}:{os.environ.get('PATH', os.defpath)}",
            "LD_LIBRARY_PATH": f"{libraries}:{os.environ.get('LD_LIBRARY_PATH', '')}".rstrip(":"),
            "HF_HUB_OFFLINE": "1",
        }
        if self._threads:
            keep["OMP_NUM_THREADS"] = str(self._threads)
        return keep

    def _backends(self) -> Path:
        """A backend directory: the wheel's Python backend, beside the stub of the interpreter's version."""
        backend = self._scratch / "backends/python"
        if not backend.is_dir():
            backend.mkdir(parents=True)
            wheel = _packages(self._python) / "pytriton/tritonserver"
            for file in [*(wheel / "backends/python").iterdir(), *(wheel / "python_backend_stubs/3.11").iterdir()]:
                (backend / file.name).symlink_to(file)
        return backend.parent

    def _await_ready(self, deadline: float) -> bool:
        """False if the server exited or the deadline passed."""
        while self.running() and time.monotonic() < deadline:
            connection = http.client.HTTPConnection("127.0.0.1", self._inner_http, timeout=5)
            try:
                connection.request("GET", "/v2/health/ready")
                if connection.getresponse().status == 200:
                    return True
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()
            time.sleep(0.2)
        return False


def _followers(leader: int) -> list[int]:
    """The other processes of the group that `leader` began."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            state, _, group = status.read_text().rsplit(")", 1)[1].split()[:3]
            if int(group) == leader and int(status.parent.name) != leader and state != "Z":
                found.append(int(status.parent.name))
    return found


def _free_ports(host: str, count: int) -> list[int]:
    """Ports that were free a moment ago; `start` tries others if one is taken meanwhile."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((host, 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
