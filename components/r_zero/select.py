"""Whether to play on, and which iteration is the best: pseudo-labels get worse as iterations go on, and at some point
so does the solver (R-Zero, arXiv 2508.05004: its score falls after the third or fourth iteration).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from components.r_zero.config import SelectStageConfig
from components.store.errors import ConfigurationError
from data_contracts.r_zero import Iteration, Selection
from data_contracts.scores import Scores


def fallen(config: SelectStageConfig, base: Scores, played: Sequence[Scores]) -> str:
    """Why no further iteration is worth it, after those that were played; '' if one is.

    Raises ConfigurationError if the set was not judged, or was not the same for all.
    """
    first, *values = (scores.sets[config.on].mean.value for scores in _comparable(config, [base, *played]))
    best, best_at, worse = first, "the base", 0
    for number, value in enumerate(values, 1):
        worse = worse + 1 if best - value > config.stop.drop else 0
        if value > best:
            best, best_at = value, f"iteration {number}"
    if worse < config.stop.patience:
        return ""
    return (
        f"avg@{played[-1].sets[config.on].samples} on {config.on} fell to {100 * values[-1]:.1f} %, "
        f"{100 * (best - values[-1]):.1f} points below {best_at}; stop.drop allows {100 * config.stop.drop:.1f}"
    )


def plays_on(config: SelectStageConfig, base: Scores, played: Sequence[Scores]) -> tuple[bool, str]:
    """Whether another iteration is played, and why or why not."""
    if reason := fallen(config, base, played):
        return False, reason
    if len(played) >= config.iterations:
        return False, f"{config.iterations} iterations were asked for"
    return True, "the held-out score has not fallen"


def select(config: SelectStageConfig, base: Scores, judged: Mapping[str, Scores], out: Path) -> Selection:
    """The judged models in their order, and the index of the one with the highest avg@n; the first of equal ones.

    Writes `selection.json`. Raises ConfigurationError if the set was not judged, or was not the same for all.
    """
    played = list(judged.values())
    reason = fallen(config, base, played) if len(played) < config.iterations else ""
    iterations = tuple(
        Iteration(
            name=name, model=scores.model, score=scores.sets[config.on].mean, greedy=scores.sets[config.on].greedy
        )
        for name, scores in zip(judged, _comparable(config, played), strict=True)
    )
    best = max(range(len(iterations)), key=lambda i: (iterations[i].score.value, -i))
    selection = Selection(
        iterations=iterations, best=best, base=base.sets[config.on].mean, asked=config.iterations, stopped=reason
    )
    (out / "selection.json").write_text(selection.model_dump_json(indent=1))
    return selection


def _comparable(config: SelectStageConfig, judged: Sequence[Scores]) -> Sequence[Scores]:
    for scores in judged:
        if config.on not in scores.sets:
            known = ", ".join(scores.sets)
            raise ConfigurationError(f"{scores.model} was not judged on {config.on!r} but on {known}; set select.on")
    if len({scores.files[config.on] for scores in judged}) > 1:
        raise ConfigurationError(f"the iterations were judged on different files {config.on!r}; judge all on one")
    return judged
