"""Every pair of faults in one episode: does one hide the other?

    python -m tests.agibot.fault_pairs --seed 0 [--count 60] [--strength 0.5]

Records a drop, injects both faults of each pair into a copy of one of its episodes, and prints how often each reason
was found, and each pair of which one was not. Two faults that write the same values can't be there both: those pairs
(`SAME_VALUES`) are left out. One that was not found though it was there is counted as hidden.
"""

from __future__ import annotations

import argparse
import shutil
from collections import Counter
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from components.robots.config import RecordConfig, TaskPlan
from components.robots.record import record_drop

from .conftest import RawDrop
from .faults import FAULTS, Fault
from .test_faults import codes

SAME_VALUES = (
    {"language.unknown-skill", "language.span-short", "language.span-gap"},
    {"kinematics.gripper-not-following", "kinematics.gripper-unit"},
    {"video.black", "video.blurred", "video.frozen"},
    {"kinematics.idle", "kinematics.velocity-high", "kinematics.velocity-impossible", "kinematics.jerk"},
    {"kinematics.idle", "kinematics.end-step", "kinematics.end-turn"},
    {"time.not-increasing", "time.jitter", "time.rate"},
)
"""Faults that each set the same values: labels, a gripper, the head's pictures, joints that are held, the clock."""


def coexist(a: Fault, b: Fault) -> bool:
    return not any({a.code, b.code} <= group for group in SAME_VALUES)


def run(root: Path, seed: int, count: int, strength: float) -> None:
    config = RecordConfig(name="pairs", tasks=(TaskPlan(task="press"), TaskPlan(task="pick_place")), episodes=1)
    record_drop(config, seed + 1, root / "drop", root / "scratch", workers=1)
    drop = RawDrop(root / "drop")
    longest = max(drop.episodes, key=lambda e: e.frames)  # room for every fault
    pairs = [pair for pair in combinations(FAULTS, 2) if coexist(*pair)]
    every, rng = len(pairs), np.random.default_rng([seed, 2000])
    if 0 < count < every:
        pairs = [pairs[n] for n in sorted(rng.choice(every, count, replace=False))]
    found: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    hidden = []
    for number, pair in enumerate(pairs):
        raw = drop.copy(root / str(number), [longest]).episodes[0]
        for fault in pair:
            fault.inject(raw, rng, strength)
        seen = codes(raw)
        for fault in pair:
            asked[fault.code] += 1
            found[fault.code] += fault.code in seen
        hidden += [(f.code, other.code) for f, other in (pair, pair[::-1]) if f.code not in seen]
        shutil.rmtree(root / str(number))
    print(f"{'reason':<34}{'found':>6} of")
    for code, total in sorted(asked.items()):
        print(f"{code:<34}{found[code]:>6} of {total}")
    for code, other in hidden:
        print(f"HIDDEN: {code} beside {other}")
    print(
        f"{len(pairs)} of {every} pairs that can coexist (of {len(FAULTS) * (len(FAULTS) - 1) // 2}), seed {seed}, "
        f"strength {strength:g}: {found.total()} of {asked.total()} faults found"
    )


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--count", type=int, default=0, help="a random sample of so many pairs; 0: all")
    options.add_argument("--strength", type=float, default=0.5)
    given = options.parse_args()
    with TemporaryDirectory() as folder:
        run(Path(folder), given.seed, given.count, given.strength)
