"""Stands between a process and the vLLM engine that it wants: when either of them ends, nothing of the engine is left.

    python -I -S vllm_supervisor.py PARENT SCRATCH COMMAND...

vLLM answers in one process and computes in another, and the second outlives a killed first one, together with its
memory. So the engine runs in the group of this process, which ends as a whole and takes the scratch folder with it.
Only the standard library: it must start at once and stay small.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys

_LOOK_SECONDS = 0.5
_GRACE_SECONDS = 10.0
_SIGNALS = (signal.SIGTERM, signal.SIGCHLD)
_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, scratch, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # they are waited for, so none interrupts what follows
    engine = subprocess.Popen(command, cwd=scratch, preexec_fn=_before_engine)
    while os.getppid() == parent and engine.poll() is None:
        caught = signal.sigtimedwait(_SIGNALS, _LOOK_SECONDS)
        if caught and caught.si_signo == signal.SIGTERM:
            break
    if engine.poll() is None:
        engine.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            engine.wait(_GRACE_SECONDS)
    shutil.rmtree(scratch, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def _before_engine() -> None:
    """Between fork and exec: the kernel kills the engine with its supervisor, and signals reach it again."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


if __name__ == "__main__":
    main()
