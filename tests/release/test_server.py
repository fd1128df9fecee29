"""The server as a process. If these fail, a test or a killed runner leaves servers behind, or a start hangs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from components.release.errors import ServerUnavailable
from components.release.triton_server import TritonServer, serving_python
from tests.release.conftest import all_gone, in_group

CONFIG = """
name: "{name}"
backend: "python"
max_batch_size: 0
input [ {{ name: "x" data_type: TYPE_FP32 dims: [ 1 ] }} ]
output [ {{ name: "y" data_type: TYPE_FP32 dims: [ 1 ] }} ]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
"""
MODEL = """
import triton_python_backend_utils as pb_utils
class TritonPythonModel:
    def initialize(self, args):
        {initialize}
    def execute(self, requests):
        return [pb_utils.InferenceResponse(output_tensors=[]) for _ in requests]
"""


@pytest.fixture
def plain(tmp_path: Path) -> Any:
    """A repository that starts fast: no torch."""

    def make(initialize: str = "pass") -> Path:
        version = tmp_path / "repository" / "plain" / "1"
        version.mkdir(parents=True)
        (version.parent / "config.pbtxt").write_text(CONFIG.format(name="plain"))
        (version / "model.py").write_text(MODEL.format(initialize=initialize))
        return tmp_path / "repository"

    return make


def test_start_and_stop_leave_nothing(plain: Any, tmp_path: Path) -> None:
    log = tmp_path / "logs" / "triton.log"
    before = set(Path("/dev/shm").iterdir())
    with TritonServer(plain(), log=log) as server:
        pid = server.pid
        assert server.ready_seconds > 0
        assert len(in_group(pid)) == 2, "the server and its model's process"
    assert in_group(pid) == []
    assert "Started HTTPService" in log.read_text()
    assert not [p for p in set(Path("/dev/shm").iterdir()) - before if f"orrery{os.getpid()}x" in p.name]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.host, server.http_port), timeout=1)


def test_a_killed_parent_takes_the_server_with_it(plain: Any) -> None:
    """kill -9 of a runner leaves no orphan."""
    code = (
        "import sys, time; from pathlib import Path; from components.release.triton_server import TritonServer\n"
        "server = TritonServer(Path(sys.argv[1])); server.start(); print(server.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(plain())], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        try:
            child = int(parent.stdout.readline())
            os.kill(child, 0)
        finally:
            parent.send_signal(signal.SIGKILL)
        assert all_gone(child)


def test_a_killed_server_leaves_no_model_running(plain: Any) -> None:
    """The kernel kills it for want of memory: its model's process must not keep the weights in memory."""
    with TritonServer(plain()) as server:
        pid = server.pid
        os.kill(pid, signal.SIGKILL)
        while server.running():
            time.sleep(0.05)
    assert all_gone(pid)


def test_a_server_that_lost_its_model_is_not_running(plain: Any) -> None:
    """Triton stays `ready` for ever although it answers nothing: somebody else must notice, or no pod is restarted."""
    with TritonServer(plain()) as server:
        pid = server.pid
        (model,) = set(in_group(pid)) - {pid}
        assert server.running()
        os.kill(model, signal.SIGKILL)
        while server.running():
            time.sleep(0.05)
        assert "want of memory" in server.why()
    assert all_gone(pid)


def test_a_model_that_can_not_load_is_told_with_its_reason(plain: Any) -> None:
    repository = plain('raise ValueError("the weights do not fit the GE-Base")')
    with (
        pytest.raises(ServerUnavailable, match="the weights do not fit the GE-Base") as failed,
        TritonServer(repository),
    ):
        pass
    assert failed.value.exit_code == 3


def test_a_model_that_loads_forever_meets_the_deadline(plain: Any) -> None:
    server = TritonServer(plain("import time; time.sleep(600)"), ready_s=3)
    with pytest.raises(ServerUnavailable, match="within 3 s"):
        server.start()
    assert not server.running()
    assert not server.log.exists(), "its scratch folder is left"


def test_a_port_that_is_taken_is_said_to_be(plain: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = TritonServer(plain(), ports=(taken.getsockname()[1], *_two_free()), ready_s=60)
        with pytest.raises(ServerUnavailable, match="already in use"):
            server.start()


def _two_free() -> tuple[int, int]:
    with socket.socket() as a, socket.socket() as b:
        a.bind(("127.0.0.1", 0))
        b.bind(("127.0.0.1", 0))
        return a.getsockname()[1], b.getsockname()[1]


def test_without_a_serving_environment_the_message_says_how_to_get_one(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("ORRERY_SERVING_PYTHON", str(tmp_path / "bin/python"))
    with pytest.raises(ServerUnavailable, match="make setup"):
        serving_python()
