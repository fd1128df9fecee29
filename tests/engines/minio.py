"""A real MinIO server for tests: found on this machine, or built once from source and kept.

`python tests/engines/minio.py` finds or builds it beforehand and prints where it is.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from components.store.files import cache_root
from tests.engines.go_tool import GoTool, go_tool

MINIO = GoTool("minio", "github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c")
START_SECONDS = 60.0


def binary() -> Path:
    """The server's program: `ORRERY_MINIO`, one on PATH, one in the cache, else built there (minutes, once)."""
    kept = cache_root() / "bin" / "minio"
    for candidate in (os.environ.get("ORRERY_MINIO"), shutil.which("minio"), kept):
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    built = go_tool(MINIO)
    if not kept.exists():
        kept.symlink_to(built.name)
    return kept


class Server:
    """One server over a folder, on a port of its own, with credentials of its own. Stopped by its process id."""

    def __init__(self, folder: Path, program: Path) -> None:
        self.folder, self._program = folder, program
        self.port, self._console = _free_port(), _free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.access_key, self.secret_key = f"user{secrets.token_hex(4)}", secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a store needs to reach this server."""
        return {
            "MINIO_ENDPOINT": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }

    def start(self, wait: bool = True) -> None:
        """Start, and by default wait until it serves. Raises RuntimeError with the end of its log."""
        environment = {
            **os.environ,
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_UPDATE": "off",
            "MINIO_BROWSER": "off",
            "MINIO_PROMETHEUS_AUTH_TYPE": "public",
            "GOMAXPROCS": "2",
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        address = f"127.0.0.1:{self.port}"
        command = [str(self._program), "server", str(self.folder), "--address", address, "--quiet"]
        command += ["--console-address", f"127.0.0.1:{self._console}"]
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        if wait:
            self._wait_until_ready()

    def stop(self) -> None:
        """End it as a crash does: no goodbye to clients."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(30)
            self._process = None

    @property
    def _log(self) -> Path:
        return self.folder.with_name(self.folder.name + ".log")

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.endpoint}/minio/health/ready", timeout=2) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.1)
        tail = self._log.read_text(errors="replace")[-2000:]
        self.stop()
        raise RuntimeError(f"MinIO did not start within {START_SECONDS:.0f} s:\n{tail}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    print(binary())
