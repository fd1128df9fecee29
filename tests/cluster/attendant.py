"""A step that waits for its TrainJob, as a process of its own: `python attendant.py JOB.json SECONDS`.

With a folder instead of a file, it follows every job of the folder together and says of each when it ended.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from components.launcher.client import TrainerClient
from components.launcher.follow import attend, follow, start
from components.store.errors import OrreryError


def main(path: Path, seconds: float) -> int:
    client = TrainerClient()
    if path.is_file():
        try:
            attend(client, json.loads(path.read_text()), seconds)
        except OrreryError as error:
            print(f"error: {error}", flush=True)
            return error.exit_code
        return 0
    jobs = [json.loads(file.read_text()) for file in sorted(path.iterdir())]
    uids = {job["metadata"]["name"]: start(client, job)["metadata"]["uid"] for job in jobs}
    print("following", flush=True)
    for ending in follow(client, uids, seconds):
        print(f"{ending.how} {ending.name} {time.time():.3f}", flush=True)
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(f"peak {peak.split()[1]}", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), float(sys.argv[2])))
