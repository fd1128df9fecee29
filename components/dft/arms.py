"""Arms side by side: a repetition's models judged by one engine, the table over repetitions (paper DFT, Table 1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

from components.dft.config import ArmsStageConfig
from components.dft.token_classes import over_seeds
from components.store.errors import ConfigurationError
from components.store.files import hash_file
from data_contracts.arms import ArmOnSet, ArmRow, ArmTable, Difference, Judged, Trained
from data_contracts.interval import Z_95, score_interval
from data_contracts.scores import Share, TokenAnalysis

BASE = "base"
STUDENT_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom"""


def judge_arms(
    config: ArmsStageConfig,
    models: Mapping[str, tuple[Path, str]],
    sets: Mapping[str, Path],
    chats: Path | None,
    seed: int,
    scratch: Path,
    out: Path,
) -> Judged:
    """Judge `models` (arm -> folder and version; `base` first) one after the other. Writes `arms.json` and the samples.

    With `chats`, and if the configuration says how, what a training did to their tokens is analysed, too.

    One engine serves them all, whose weights are exchanged: on two cores its start takes as long as its samples. The
    models must be of one architecture and have one tokenizer, as trainings of one base do.

    Raises:
        ConfigurationError: a problem without an answer, or a set without problems.
        EngineUnavailable: vLLM can't be started or kept alive.
    """
    from components.dft.analyse import Start
    from components.dft.evaluate import judge_sets
    from components.language import model as language_model
    from components.language.grading import Grader
    from components.language.sampling import open_engine

    start = Start.of(config.analyse, models[BASE][0], chats) if config.analyse and chats else None
    served, arms = scratch / "served", {}
    engine = config.evaluate.engine
    language_model.save_for_engine(*language_model.load(models[BASE][0]), served, engine.dtype)
    with open_engine(served, scratch / "vllm.log", engine) as server, Grader() as grader:
        for arm, (folder, version) in models.items():
            network, tokenizer = language_model.load(folder)
            if arm != BASE:  # which the engine started with
                language_model.save_for_engine(network, tokenizer, served, engine.dtype)
                server.reload()
            for place in (scratch / arm, out / arm):
                place.mkdir(exist_ok=True)
            arms[arm] = Trained(
                model=version,
                sets=judge_sets(config.evaluate, server, grader, tokenizer, sets, seed, scratch / arm, out / arm),
                tokens=start.against(network, version) if start and arm != BASE else None,
            )
    judged = Judged(seed=seed, arms=arms, files={name: hash_file(file) for name, file in sets.items()})
    (out / "arms.json").write_text(judged.model_dump_json(indent=1))
    return judged


def table(repetitions: Sequence[Judged], against: Sequence[str] = (BASE,)) -> ArmTable:
    """A row per arm, over repetitions that judged the same arms by the same problems; each beside those of `against`.

    Raises:
        ConfigurationError: they did not, or there is no arm to compare with.
    """
    first = repetitions[0]
    if any(other.files != first.files or other.arms.keys() != first.arms.keys() for other in repetitions):
        raise ConfigurationError("the repetitions differ in their arms or problems; judge them all with one recipe")
    if unknown := [other for other in against if other not in first.arms]:
        raise ConfigurationError(f"against: there is no arm {unknown[0]!r}; there are: {', '.join(first.arms)}")
    analysed = [t for j in repetitions for arm in j.arms.values() if (t := arm.tokens) is not None]
    return ArmTable(
        seeds=tuple(j.seed for j in repetitions),
        files=first.files,
        bimodality_before=analysed[0].bimodality_before if analysed else None,
        entropy_before=analysed[0].entropy_before if analysed else None,
        rows={arm: _row(repetitions, arm, against) for arm in first.arms},
    )


def _row(repetitions: Sequence[Judged], arm: str, against: Sequence[str]) -> ArmRow:
    trained = [j.arms[arm] for j in repetitions]
    first = next(iter(trained[0].sets))
    analysed = [t.tokens for t in trained if t.tokens is not None]

    def mean(of: Callable[[TokenAnalysis], float]) -> float | None:
        return fmean(map(of, analysed)) if analysed else None

    return ArmRow(
        sets={name: _on_set(repetitions, arm, name, against) for name in trained[0].sets},
        unboxed=fmean(t.sets[first].unboxed for t in trained),
        tokens=fmean(t.sets[first].tokens for t in trained),
        bimodality=mean(lambda t: t.bimodality_after),
        entropy=mean(lambda t: t.entropy_after),
        distance=mean(lambda t: t.distance),
        classes=over_seeds(t.classes for t in analysed),
    )


def _on_set(repetitions: Sequence[Judged], arm: str, name: str, against: Sequence[str]) -> ArmOnSet:
    scores = [j.arms[arm].sets[name] for j in repetitions]
    of_problems = _of_problems(repetitions, arm, name)
    mean, by_seed = float(of_problems.mean()), tuple(s.mean.value for s in scores)
    low, high = score_interval(mean, float(of_problems.var()), len(of_problems))
    others = {other: _of_problems(repetitions, other, name) for other in against if other != arm}
    return ArmOnSet(
        problems=len(of_problems),
        mean=Share(value=mean, low=low, high=high),
        by_seed=by_seed,
        over_seeds=student(by_seed) if len(by_seed) > 1 else None,
        greedy=fmean(s.greedy.value for s in scores),
        kept=_kept(repetitions, arm, name) if arm != BASE else None,
        against={other: _difference(of_problems - theirs) for other, theirs in others.items()},
    )


def _of_problems(repetitions: Iterable[Judged], arm: str, name: str) -> NDArray[np.float64]:
    """(problems,): the share of right samples of each problem, over all repetitions."""
    scores = [j.arms[arm].sets[name] for j in repetitions]
    return np.mean([np.array(s.right) / s.samples for s in scores], axis=0)


def _kept(repetitions: Sequence[Judged], arm: str, name: str) -> Share | None:
    """Of the problems that the base solves greedily in every repetition, those that the arm does too."""
    base, own = (np.array([j.arms[a].sets[name].greedy_right for j in repetitions], bool) for a in (BASE, arm))
    of_problems = own.mean(axis=0)[base.all(axis=0)]
    if not len(of_problems):
        return None
    mean = float(of_problems.mean())
    low, high = score_interval(mean, float(of_problems.var()), len(of_problems))
    return Share(value=mean, low=low, high=high)


def _difference(of_problems: NDArray[np.float64]) -> Difference:
    """Mean of paired differences, and the normal interval over problems."""
    mean = float(of_problems.mean())
    half = Z_95 * float(of_problems.std(ddof=1)) / math.sqrt(len(of_problems)) if len(of_problems) > 1 else 1.0
    return Difference(value=round(mean, 6), low=round(mean - half, 4), high=round(mean + half, 4))


def student(values: Sequence[float]) -> Share:
    """The mean of a few shares with Student's 95 % interval, cut off at 0 and 1."""
    mean = fmean(values)
    quantile = STUDENT_95[min(len(values) - 1, len(STUDENT_95)) - 1]
    half = quantile * stdev(values) / math.sqrt(len(values))
    return Share(value=mean, low=round(max(0.0, mean - half), 4), high=round(min(1.0, mean + half), 4))
