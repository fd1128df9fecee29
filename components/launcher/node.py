"""One node of a TrainJob: `python -m components.launcher.node ORDER_KEY`, in a pod that Kubeflow Trainer made.

Trainer says which node it is and where the first one listens (`PET_*`, which torchrun reads). The node fetches what the
order names, goes on from the newest checkpoint in the store, and, if it is the first, hands back what was made.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from components.launcher import lease
from components.launcher.keeper import Keeper
from components.launcher.order import find_result, hand_back, take_order
from components.store.errors import OrreryError
from components.store.files import scratch_folder
from components.store.open import open_store
from components.training.launch import run_node
from components.training.output import ERROR_MARK

SECONDS = "ORRERY_TRAINING_SECONDS"
"""How long a node may train: a bound for pods whose step was killed and can't take them away."""


def train_node(key: str) -> None:
    """Take part in the training that `key` orders. Raises OrreryError."""
    store, first = open_store(), os.environ.get("PET_NODE_RANK", "0") == "0"
    with scratch_folder("training") as folder:
        order, job = take_order(store, key, folder)
        if find_result(store, order) is not None:
            return  # this pod was started again after the work was done
        lease.check(store, order.lease_key)
        keeper = Keeper(store, order.checkpoints, Path(job.scratch))
        step = keeper.restore()
        if first and step:
            print(f"going on from step {step}", flush=True)
        seconds = float(os.environ.get(SECONDS, "604800"))
        if not first:
            run_node(job, seconds)
            return
        with keeper, lease.watching(store, order.lease_key, lambda: os.kill(os.getpid(), signal.SIGTERM)):
            metrics = run_node(job, seconds)
        hand_back(store, order, Path(job.out), metrics)
        keeper.clear()


def main() -> int:
    # As the first process of its pod it would not hear SIGTERM otherwise: nothing is left of the grace period then.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        train_node(sys.argv[1])
    except OrreryError as error:
        print(f"{ERROR_MARK}{' '.join(str(error).split())}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
