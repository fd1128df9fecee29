"""The fault corpus, alone and in pairs: is each fault found, and does one hide another?

    python -m tests.agibot.fault_pairs --table            every fault alone, at its strengths: the confusion table
    python -m tests.agibot.fault_pairs [--part 3/10]      every pair that can be in one episode, or the third tenth
    (--seed N makes other episodes and other cases)

Records a drop and injects the faults into copies of its longest episode, which has room for all of them. A pair's
faults get strengths at random; one that is not found though it is there is counted as hidden.
"""

from __future__ import annotations

import argparse
import shutil
from collections import Counter
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from components.agibot.validate import make_settings
from components.robots.config import RecordConfig, TaskPlan
from components.robots.record import record_drop
from components.telemetry.progress import progress
from data_contracts.report import Decode

from .conftest import RawDrop, RawEpisode
from .corpus import CORPUS, coexist, found_in
from .faults import Fault

VIEWS = ("head_color", "hand_left_color", "hand_right_color")


class Cases:
    """Copies of one recorded episode, each damaged, judged and removed."""

    def __init__(self, root: Path, seed: int) -> None:
        tasks = (TaskPlan(task="press"), TaskPlan(task="pick_place"))
        config = RecordConfig(name="pairs", tasks=tasks, episodes=1)
        record_drop(config, seed + 1, root / "drop", root / "scratch", workers=1)
        self._drop, self._copy = RawDrop(root / "drop"), root / "case"
        self._episode: RawEpisode = max(self._drop.episodes, key=lambda e: e.frames)

    def found(self, faults: tuple[Fault, ...], strengths: list[float], rng: np.random.Generator) -> set[str]:
        """The reasons that an episode with all of `faults` gets.

        Without a fault of the pictures a few of them are decoded: all other checks are the same then.
        """
        raw = self._drop.copy(self._copy, [self._episode]).episodes[0]
        for fault, strength in zip(faults, strengths, strict=True):
            fault.inject(raw, rng, strength)
        decode: Decode = "full" if any(f.code.startswith("video.") for f in faults) else "sampled"
        settings = make_settings("agibot_g1", VIEWS, True, True, "simulation", decode)
        found = found_in(raw.root, settings)
        shutil.rmtree(self._copy)
        return found


def alone(cases: Cases, seed: int) -> None:
    """Print what is found of each fault by itself, and what else."""
    found_in_all, tried = 0, sum(len(fault.strengths) for fault in CORPUS)
    print(f"{'injected':<34}{'found':>7}  also found")
    for number, fault in enumerate(CORPUS):
        found: Counter[str] = Counter()
        for strength in fault.strengths:
            found.update(cases.found((fault,), [strength], np.random.default_rng([seed, number, int(100 * strength)])))
        others = ", ".join(f"{other} {n}" for other, n in sorted(found.items()) if other != fault.code)
        print(f"{fault.code:<34}{found[fault.code]:>2} of {len(fault.strengths)}  {others}", flush=True)
        found_in_all += found[fault.code]
    print(f"{len(CORPUS)} faults, seed {seed}: {found_in_all} of {tried} cases found")


def in_pairs(cases: Cases, seed: int, part: str) -> None:
    """Print how often each fault was found beside another one, and each pair of which one was not."""
    every = [pair for pair in combinations(CORPUS, 2) if coexist(*pair)]
    number, parts = map(int, part.split("/"))
    pairs, rng = every[number - 1 :: parts], np.random.default_rng([seed, 2000, number, parts])
    found: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    with progress(len(pairs), "judging", "pairs") as bar:
        for pair in pairs:
            strengths = [float(rng.choice(fault.strengths)) for fault in pair]
            seen = cases.found(pair, strengths, rng)
            for fault, other in (pair, pair[::-1]):
                asked[fault.code] += 1
                found[fault.code] += fault.code in seen
                if fault.code not in seen:
                    print(f"HIDDEN: {fault.code} beside {other.code}, strengths {strengths}", flush=True)
            bar.advance()
    print(f"{'reason':<34}{'found':>6} of")
    for code, total in sorted(asked.items()):
        print(f"{code:<34}{found[code]:>6} of {total}")
    print(
        f"{len(pairs)} of {len(every)} pairs that can coexist (of {len(CORPUS) * (len(CORPUS) - 1) // 2}), "
        f"seed {seed}: {found.total()} of {asked.total()} faults found"
    )


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--table", action="store_true", help="every fault alone")
    options.add_argument("--part", default="1/1", help="3/10: every tenth pair, from the third on")
    given = options.parse_args()
    with TemporaryDirectory() as folder:
        corpus = Cases(Path(folder), given.seed)
        if given.table:
            alone(corpus, given.seed)
        else:
            in_pairs(corpus, given.seed, given.part)
