"""Proof: a drop goes through the intake from a real MinIO while things go wrong; nothing is lost, nothing doubled.

Episodes are recorded, faults are injected into some, and the drop is uploaded as tars. While the pipeline runs over it
in shards, one shard is killed (SIGKILL) and MinIO is killed and started again. Then every sound episode must be in the
dataset once, every faulty one in quarantine for its reason, and the same drop again must change nothing.

By hand, with as many episodes as you have time for: python tests/pipelines/intake_proof.py --episodes 500 --shard 50
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from components.robots.config import RecordConfig, TaskPlan
from components.robots.raw_layout import EpisodeFiles, pack_tars
from components.robots.record import record_drop
from components.store.api import Store
from components.store.buckets import ensure_bucket
from components.store.open import open_store
from tests.engines import minio

URL, INBOX = "s3://orrery/proof", "raw/inbox/proof"
CAMERA = "head_color"
REASON = "video.empty-file"
_DOWN_SECONDS = 2.0
_RUN_SECONDS = 3 * 3600.0

Key = tuple[int, int]


def prove(
    folder: Path, server: minio.Server, episodes: int, shard: int, faults: float, recorded: Path | None = None
) -> dict[str, Any]:
    """Do all of it below `folder`, against `server`, whose environment is set; what happened. Raises AssertionError.

    Episodes that lie in `recorded` already are not recorded again.
    """
    keys, bad, tars = make_drop(folder, episodes, faults, recorded or folder / "recorded")
    store = open_store(URL)
    for path in sorted(p for p in tars.rglob("*") if p.is_file()):
        store.create_file(f"{INBOX}/{path.relative_to(tars).as_posix()}", path)
    killed = run(folder, shard, kill_a_shard)
    assert killed.returncode != 0, "the shard was killed too late to prove anything"
    assert not manifests(store), "half a drop was published"
    restarted = run(folder, shard, lambda process, kept: restart(server, kept))
    assert restarted.returncode == 0, restarted.stderr[-2000:]
    [manifest] = manifests(store)
    found = [(e["task_id"], e["episode_id"]) for e in manifest["episodes"]]
    assert sorted(found) == sorted(set(keys) - bad), "an episode was lost, doubled or taken in against its fault"
    refused = {tuple(map(int, Path(s.key).stem.split("-"))) for s in store.list(f"quarantine/{REASON}")}
    assert refused == bad, "a faulty episode is not in quarantine"
    before = [s.key for s in store.list("datasets")]
    again = run(folder, shard)
    assert again.returncode == 0, again.stderr[-2000:]
    assert [s.key for s in store.list("datasets")] == before, "the same drop again published something"
    size = sum(s.size for s in store.list("raw/inbox"))
    shards = len({s.key.split("/")[2] for s in store.list("datasets/proof.shards")})
    return {"episodes": len(keys), "published": len(found), "refused": len(refused), "shards": shards, "bytes": size}


def make_drop(folder: Path, episodes: int, faults: float, recorded: Path) -> tuple[list[Key], set[Key], Path]:
    """Every episode's key, those that have a fault, and the drop as tars."""
    plan = RecordConfig(name="proof", tasks=(TaskPlan(task="press"),), episodes=episodes, cameras=(CAMERA,))
    record_drop(plan, 11, folder / "drop", recorded)
    keys = sorted((int(p.parent.name), int(p.name)) for p in (folder / "drop" / "proprio_stats").glob("*/*"))
    count = max(1, round(faults * len(keys)))
    bad = set(keys[:: max(1, len(keys) // count)][:count])
    for key in bad:
        video = EpisodeFiles(folder / "drop", *key).video(CAMERA)
        video.unlink()
        video.write_bytes(b"")
    pack_tars(folder / "drop", folder / "tars", episodes_per_tar=max(2, episodes // 8))
    return keys, bad, folder / "tars"


Disturb = Callable[["subprocess.Popen[str]", Callable[[], int]], None]


def run(folder: Path, shard: int, disturb: Disturb | None = None) -> subprocess.CompletedProcess[str]:
    """The pipeline over the drop, as a person starts it; `disturb(process, kept)` may harm it meanwhile.

    `kept()` is how many episodes the shards of this machine have examined and not yet published.
    """
    settings = {
        "drop": INBOX, "intake.name": "proof", "intake.cameras": f'["{CAMERA}"]', "intake.shard": shard,
        "intake.strips": 1,
    }  # fmt: skip
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    command = [sys.executable, "-m", "pipelines.cli", "run", "drop_intake", "--store", URL, *words]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    stages = Path(os.environ["ORRERY_CACHE"]) / "stages"

    def kept() -> int:
        return len(list(stages.glob("agibot.examine-*/scratch/episodes/*.json")))

    if disturb is not None:
        threading.Thread(target=disturb, args=(process, kept), daemon=True).start()
    out, err = process.communicate(timeout=_RUN_SECONDS)
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + _RUN_SECONDS
    while not condition() and time.monotonic() < deadline and (process is None or process.poll() is None):
        time.sleep(0.01)


def kill_a_shard(process: subprocess.Popen[str], kept: Callable[[], int]) -> None:
    """SIGKILL the task's process as soon as it has examined an episode."""
    wait_for(lambda: kept() > 0, process)
    for child in children(process.pid):
        os.kill(child, signal.SIGKILL)


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    return [int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()]


def restart(server: minio.Server, kept: Callable[[], int]) -> None:
    """Take MinIO down as soon as more episodes were examined than the killed run left, and bring it back."""
    before = kept()
    wait_for(lambda: kept() != before)
    server.stop()
    time.sleep(_DOWN_SECONDS)
    server.start(wait=False)


def manifests(store: Store) -> list[dict[str, Any]]:
    return [json.loads(store.read(s.key)) for s in store.list("datasets/proof") if s.key.endswith("/manifest.json")]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--shard", type=int, default=50, help="episodes per shard")
    parser.add_argument("--faults", type=float, default=0.05, help="share of episodes with a fault")
    parser.add_argument("--recorded", type=Path, help="folder that keeps recorded episodes for the next time")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orrery-proof-") as name:
        engine = minio.Server(Path(name) / "minio", minio.binary())
        engine.start()
        root = Path(__file__).resolve().parents[2]
        os.environ |= engine.environment | {"ORRERY_CACHE": f"{name}/cache", "PYTHONPATH": str(root)}
        os.environ["ORRERY_HOME"] = f"{name}/home"
        ensure_bucket("s3://orrery")
        try:
            done = prove(Path(name), engine, given.episodes, given.shard, given.faults, given.recorded)
            print(json.dumps(done, indent=1))
        finally:
            engine.stop()
