"""`orrery doctor`: what is here, what is missing, and how to mend it."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from pipelines.commands.common import JsonOption, StoreOption, open_store, print_json
from pipelines.findings import Finding

PACKAGES = (
    "kfp",
    "torch",
    "diffusers",
    "deepspeed",
    "mujoco",
    "av",
    "pyarrow",
    "obstore",
    "minio",
    "great-expectations",
)
NEEDED_DISK = 8 << 30
NEEDED_MEMORY = 7 << 30


def doctor(
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Look at the cluster that KUBECONFIG names instead.")
    ] = False,
    context: Annotated[
        str | None, typer.Option("--context", help="Of KUBECONFIG. Default: its current one.", show_default=False)
    ] = None,
    namespace: Annotated[str, typer.Option("--namespace", help="Where pipelines run on the cluster.")] = "orrery",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look at this machine or a cluster: what is there, what is missing, how to mend it. Exit code 1 if something is.

    Example: orrery doctor --json
    """
    if cluster:
        from pipelines.cluster_doctor import connect, examine

        _tell(examine(connect(context), namespace), as_json, "pipelines can run there", "orrery doctor --cluster")
    findings = [found for check in CHECKS for found in check()] + [_store(store)]
    _tell(findings, as_json, "all that the demo needs is here", "orrery demo")


def _tell(findings: Sequence[Finding], as_json: bool, healthy_text: str, then: str) -> NoReturn:
    healthy = all(f.state != "missing" for f in findings)
    if as_json:
        print_json({"healthy": healthy, "findings": [asdict(f) for f in findings]})
    else:
        for f in findings:
            print(f"{f.state:<8} {f.name:<20} {f.what}" + (f"\n{'':29} mend: {f.mend}" if f.mend else ""))
        print(f"\n{healthy_text}" if healthy else f"\nmend what is missing, then run: {then}")
    raise typer.Exit(0 if healthy else 1)


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    right = sys.version_info[:2] == (3, 11)
    yield Finding(
        "python", "ok" if right else "missing", version, "" if right else "install Python 3.11, then: make setup"
    )


def _packages() -> Iterator[Finding]:
    for name in PACKAGES:
        try:
            yield Finding(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "missing", "not installed", "make setup")


def _machine() -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0))
    yield Finding(
        "cores", "ok" if cores >= 2 else "warn", str(cores), "" if cores >= 2 else "one core takes twice the time"
    )
    total, free = memory()
    enough = total >= NEEDED_MEMORY
    what = f"{total / 2**30:.1f} GiB, {free / 2**30:.1f} GiB available"
    yield Finding(
        "memory", "ok" if enough else "warn", what, "" if enough else "the demo is made for 8 GiB; close other programs"
    )
    left = shutil.disk_usage(Path.cwd()).free
    room = left >= NEEDED_DISK
    yield Finding(
        "disk",
        "ok" if room else "warn",
        f"{left / 2**30:.0f} GiB free",
        "" if room else "free 8 GiB, or name another store by ORRERY_STORE",
    )


def memory() -> tuple[int, int]:
    """(total, available) bytes that this process may use: the machine's, or its control group's if that is less."""
    page, total = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    free = os.sysconf("SC_AVPHYS_PAGES")
    for line in Path("/proc/meminfo").read_text().splitlines() if Path("/proc/meminfo").exists() else ():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024 // page
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    most = int(text) if text.isdigit() else total * page
    return min(total * page, most), min(free * page, most)


def _rendering() -> Iterator[Finding]:
    """A real, tiny rendering in a process of its own: a missing library of OpenGL may end the process that tries."""
    import subprocess

    code = (
        "import mujoco; m = mujoco.MjModel.from_xml_string("
        "'<mujoco><worldbody><geom size=\"1\"/></worldbody></mujoco>');"
        "r = mujoco.Renderer(m, 8, 8); r.update_scene(mujoco.MjData(m)); r.render(); print(mujoco.__version__)"
    )
    for backend in [os.environ["MUJOCO_GL"]] if "MUJOCO_GL" in os.environ else ["egl", "osmesa"]:
        try:
            done = subprocess.run(
                [sys.executable, "-c", code], env={**os.environ, "MUJOCO_GL": backend}, capture_output=True, timeout=60
            )
        except subprocess.TimeoutExpired:
            continue
        if done.returncode == 0:
            yield Finding("rendering", "ok", f"MuJoCo renders with {backend}")
            return
    yield Finding("rendering", "missing", "MuJoCo cannot render here", "apt-get install libosmesa6 (or libegl1)")


def _serving() -> Iterator[Finding]:
    from components.release.triton_server import serving_python
    from components.store.errors import OrreryError

    try:
        yield Finding("triton", "ok", f"real server in {serving_python().parent.parent}")
    except OrreryError as error:
        yield Finding("triton", "missing", str(error), "make setup")


def _sampling() -> Iterator[Finding]:
    from components.language.vllm_server import rollout_python
    from components.store.errors import OrreryError

    try:
        yield Finding("vllm", "ok", f"real engine in {rollout_python().parent.parent}")
    except OrreryError:
        yield Finding("vllm", "warn", "not here; only language models need it", "images/setup.sh rollout")


def _tools() -> Iterator[Finding]:
    minio = shutil.which("minio") or next((str(p) for p in _minio_places() if p.exists()), None)
    if minio:
        yield Finding("minio", "ok", minio)
    else:
        yield Finding("minio", "warn", "not here; only tests and MinIO stores need it", "make test builds it")
    try:
        import torch

        name = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none; the tiny recipe needs none"
        yield Finding("gpu", "ok", name)
    except Exception as error:  # a broken torch is the finding, whatever breaks it
        yield Finding("torch", "missing", f"does not import: {error}", "make setup")


def _minio_places() -> Iterator[Path]:
    from components.store.files import cache_root

    yield cache_root() / "bin" / "minio"
    yield Path.home() / "go" / "bin" / "minio"


def _store(option: str | None) -> Finding:
    """Reachable and writable: an object is written, read back and removed."""
    import secrets

    from components.store.errors import OrreryError

    try:
        store = open_store(option)
        key = f"runs/doctor/{secrets.token_hex(8)}.txt"
        store.overwrite(key, b"doctor")
        try:
            readable = store.read(key) == b"doctor"
        finally:
            store.delete(key)
        return Finding("store", "ok" if readable else "missing", f"{store.url} can be written and read")
    except OrreryError as error:
        return Finding("store", "missing", str(error), "name a folder or a bucket that is there by ORRERY_STORE")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python, _packages, _machine, _rendering, _serving, _sampling, _tools,
)  # fmt: skip
