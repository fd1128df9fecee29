"""A real vLLM engine as a child process: started when it is first needed, restarted when it dies, gone with its parent.

The engine lives in a virtual environment of its own (it holds an older transformers): the one that
`ORRERY_ROLLOUT_PYTHON` names, else `.venv-rollout` beside the project, else the running one, as in the image `rollout`.

It listens on a Unix socket in a private folder. There is no port that somebody else could take or hold: vLLM binds
TCP ports so that two servers on the same one would quietly share its requests.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from components.language.engine_config import EngineConfig
from components.language.vllm_command import arguments, environment, require_build, rollout_python
from components.store.errors import ConfigurationError, OrreryError
from components.telemetry.progress import progress

_PREFIX = re.compile(r"^(\(\w+ pid=\d+\) )?((DEBUG|INFO|WARNING|ERROR) \S+ \S+ \[\S+\] )?")
_ERROR = re.compile(r"[\w.]+(Error|Exception): ")
"""The last line of a traceback."""
_POINTER = re.compile(r"See (root cause|stack trace) \(?above")
"""An error that only points to the real one."""
_SUPERVISOR = Path(__file__).with_name("vllm_supervisor.py")
_LOOK_SECONDS = 0.25
_HEALTH_SECONDS, _HEALTH_PATIENCE, _HEALTH_MISSES = 10.0, 30.0, 3
"""Between two questions after its health, for an answer, and how many in a row may stay without one."""
_RELOAD_SECONDS = 600.0
_END_SECONDS = 20.0
"""More than the supervisor gives the engine."""


class EngineUnavailable(OrreryError):
    """The engine did not become ready, died too often, or does not answer."""

    exit_code = 3


class VllmServer:
    """One engine for one model folder. Use it in a `with` block; threads may share it.

    `start` is cheap where it runs already, and whoever asks calls it first: a stage that finds all its samples in place
    never pays for a start (a minute on two cores).
    """

    def __init__(
        self, model: Path, log: Path, config: EngineConfig, python: Path | None = None, first_gpu: int = 0
    ) -> None:
        """`model` is a folder as transformers saves it, with its tokenizer; `log` keeps the engine's output; `config`
        says how long sequences are. Of the GPUs that are visible here the engine gets those from `first_gpu` on.

        Raises ConfigurationError: no model folder, or no vLLM for the engine's device.
        """
        if not (model / "config.json").is_file():
            raise ConfigurationError(f"{model} is no model folder: it holds no config.json")
        if config.max_model_len < 2:
            raise ConfigurationError("engine.max_model_len says no length; open the engine by sampling.open_engine")
        self.model, self.log, self.config, self._first_gpu = model.absolute(), log.absolute(), config, first_gpu
        self._python = python or rollout_python()
        if python is None:
            require_build(self._python, config)
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch = Path()
        self._log_start = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._starts = 0
        self._failure = ""

    def __enter__(self) -> VllmServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Of the supervisor, which leads the group of the engine's processes."""
        if self._process is None:
            raise RuntimeError("the engine was not started")
        return self._process.pid

    def running(self) -> bool:
        """Whether the supervisor lives; it ends with the engine. It is not reaped, so that its group's number stays."""
        ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return self._process is not None and os.waitid(os.P_PID, self._process.pid, ended) is None

    def start(self) -> None:
        """Start the engine unless it runs, and wait until it answers; after a death, start it again.

        Raises:
            EngineUnavailable: with the engine's own reason: it can't start, or died more than `restarts` times.
        """
        with self._lock:
            if self._closing.is_set():
                raise EngineUnavailable("the vLLM engine was stopped")
            if self.running():
                return
            if self._starts > self.config.restarts:
                self._failure = self._failure or f"vLLM died {self._starts} times, at last with: {self.why()}"
            if self._failure:
                raise EngineUnavailable(self._failure)
            self._end()  # what a death left
            if self._starts:
                print(f"warning: vLLM died and is started again: {self.why()}", file=sys.stderr, flush=True)
            self._starts += 1
            try:
                self._spawn()
                self._failure = self._await_ready()
            except BaseException:  # Ctrl-C while it loads
                self._end()
                raise
            if self._failure:
                self._end()
                raise EngineUnavailable(self._failure)
            threading.Thread(target=self._watch, args=(self._process,), daemon=True, name="vllm-health").start()

    def close(self) -> None:
        """TERM, then KILL; returns when no process of the engine is left. It can't be started again."""
        self._closing.set()
        with self._lock:
            self._end()

    def ask(self, method: str, path: str, body: object, seconds: float, most: int) -> tuple[int, Any]:
        """One request: the status and the JSON of the answer (None if it has none).

        Raises:
            OSError, http.client.HTTPException: the engine is not there or broke off; TimeoutError after `seconds`.
            EngineUnavailable: the answer has more than `most` bytes or is no JSON.
        """
        connection = _UnixConnection(self._scratch / "http", seconds)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read(most + 1)
        finally:
            connection.close()
        if len(answer) > most:
            raise EngineUnavailable(f"vLLM answered with more than {most} bytes")
        if response.length:
            raise http.client.IncompleteRead(answer, response.length)
        try:
            return response.status, json.loads(answer) if answer else None
        except (ValueError, RecursionError) as error:
            raise EngineUnavailable(f"vLLM's answer is no JSON: {answer[:80]!r}") from error

    def reload(self) -> None:
        """Read the weights of `model` again, which have changed since; an engine that does not run reads them anyway.

        The head must be no shared tensor (`language.model.save_for_engine`): vLLM 0.32 leaves a shared one as it was.

        Raises:
            EngineUnavailable: it does not answer, or refuses them.
        """
        with self._lock:
            if not self.running():
                return
        calls: tuple[tuple[str, object], ...] = (
            ("/collective_rpc", {"method": "reload_weights"}),
            ("/reset_prefix_cache", None),  # keys and values of the old weights
        )
        for path, body in calls:
            try:
                status, answer = self.ask("POST", path, body, _RELOAD_SECONDS, 1 << 20)
            except (OSError, http.client.HTTPException) as error:
                raise EngineUnavailable(f"vLLM did not take new weights ({error}); see {self.log}") from error
            if status != 200:
                raise EngineUnavailable(f"vLLM refuses new weights ({answer}): {self.why()}")

    def why(self) -> str:
        """The engine's own reason for trouble: its first error since it was started, else its last lines."""
        try:
            with self.log.open("rb") as log:
                log.seek(self._log_start)
                lines = log.read(8 << 20).decode(errors="replace").splitlines()
        except OSError:
            return f"(no log at {self.log})"
        return "\n".join(_reason(lines))

    def _spawn(self) -> None:
        # Not where TMPDIR says: a socket's path has at most 107 bytes.
        self._scratch = Path(tempfile.mkdtemp(prefix="orrery-vllm-", dir="/tmp"))
        self.log.parent.mkdir(parents=True, exist_ok=True)
        supervisor = [sys.executable, "-I", "-S", str(_SUPERVISOR), str(os.getpid()), str(self._scratch)]
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                [*supervisor, *self._command()],
                env=environment(self.config, self._python, self._scratch, self._first_gpu),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches us alone; we stop the engine in order
            )

    def _command(self) -> list[str]:
        # Not `vllm serve`: in the CPU build it looks for a package named vllm.
        server = [str(self._python), "-I", "-m", "vllm.entrypoints.openai.api_server"]
        return [*server, *arguments(self.config, self.model, self._scratch / "http")]

    def _await_ready(self) -> str:
        """Wait until it answers; nothing, or what went wrong."""
        began = time.monotonic()
        with progress(None, "vLLM starts", "s") as shown:
            while self.running() and not self._closing.wait(_LOOK_SECONDS):
                waited = time.monotonic() - began
                shown.advance(waited - shown.done)
                if self._healthy():
                    return ""
                if waited > self.config.start_seconds:
                    return f"vLLM was not ready within {self.config.start_seconds:g} s; its last lines:\n{self.why()}"
        if self._closing.is_set():
            return "vLLM was stopped while it started"
        return f"vLLM ended while it started: {self.why()}"

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """End an engine that lives but does not say so any more: whoever waits for its answer starts another.

        vLLM can come to this: sent a SIGTERM, it may stop computing and wait for ever for its callers to leave.
        """
        missed = 0
        while missed < _HEALTH_MISSES:
            if self._closing.wait(_HEALTH_SECONDS) or self._process is not process or not self.running():
                return
            missed = 0 if self._healthy(_HEALTH_PATIENCE) else missed + 1
        with self._lock:
            if self._process is process:
                print("warning: vLLM does not say that it is well; it is ended", file=sys.stderr, flush=True)
                os.killpg(process.pid, signal.SIGKILL)

    def _healthy(self, seconds: float = 2.0) -> bool:
        try:
            return self.ask("GET", "/health", None, seconds, 1 << 16)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def _end(self) -> None:
        """End the whole group, of a living or a dead supervisor, and remove what it left."""
        if self._process is None:
            return
        os.kill(self._process.pid, signal.SIGTERM)
        deadline = time.monotonic() + _END_SECONDS
        while self.running() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        shutil.rmtree(self._scratch, ignore_errors=True)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _reason(lines: list[str]) -> list[str]:
    """Of a log: the last error that names something, with what belongs to it; without any, the last lines."""
    bare = [_PREFIX.sub("", line)[:500] for line in lines if line.strip()]
    errors = [i for i, line in enumerate(bare) if _ERROR.match(line) and not _POINTER.search(line)]
    if not errors:
        return bare[-6:]
    after = itertools.takewhile(lambda line: line.startswith("  "), bare[errors[-1] + 1 :])
    return [bare[errors[-1]], *itertools.islice(after, 3)]
