"""One training process: `torchrun -m components.training.worker JOB.json`."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def main() -> int:
    job_file = Path(sys.argv[1])
    from components.store.errors import OrreryError
    from components.store.shell import die_with_parent

    die_with_parent()  # torchrun starts workers in sessions of their own: killed, it would leave them training
    from components.training.job import Job, build
    from components.training.loop import train
    from components.training.output import ERROR_MARK

    job = Job.model_validate_json(job_file.read_text())
    try:
        metrics = train(job, build(job))
    except OrreryError as error:
        print(f"{ERROR_MARK}{error}", file=sys.stderr, flush=True)
        time.sleep(0.2)
        return error.exit_code
    if os.environ["RANK"] == "0":
        partial = job_file.with_name("metrics.partial")
        partial.write_text(json.dumps(metrics))
        os.replace(partial, job_file.with_name("metrics.json"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
