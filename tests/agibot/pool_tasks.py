"""Tasks for worker processes, in a module that those processes can import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from components.agibot.examine import Examined, Job


def work(task: str) -> str:
    """Do as the task says: answer, raise, die or hang."""
    if task == "raise":
        raise ValueError("a defect\nof ours")
    if task == "memory":
        raise MemoryError
    if task == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if task == "hang":
        time.sleep(60)
    return f"did {task}"


def examine_or_die(job: Job) -> Examined:
    """The real work, but for an episode whose states say `crash`: as if a C library had fallen over them."""
    from components.agibot.examine import examine

    blob = job.source.proprio
    if blob is not None and Path(blob.path).read_bytes() == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    return examine(job)
