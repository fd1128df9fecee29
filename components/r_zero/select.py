"""Which iteration is the best: pseudo-labels get worse as iterations go on, and at some point so does the solver."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from components.r_zero.config import SelectStageConfig
from components.store.errors import ConfigurationError
from data_contracts.r_zero import Iteration, Selection
from data_contracts.scores import Scores


def select(config: SelectStageConfig, judged: Mapping[str, Scores], out: Path) -> Selection:
    """The judged models in their order, and the index of the one with the highest avg@n; the first of equal ones.

    Writes `selection.json`. Raises ConfigurationError if the set was not judged, or was not the same for all.
    """
    for name, scores in judged.items():
        if config.on not in scores.sets:
            known = ", ".join(scores.sets)
            raise ConfigurationError(f"{name} was not judged on {config.on!r} but on {known}; set select.on")
    if len({scores.files[config.on] for scores in judged.values()}) > 1:
        raise ConfigurationError(f"the iterations were judged on different files {config.on!r}; judge all on one")
    iterations = tuple(
        Iteration(
            name=name, model=scores.model, score=scores.sets[config.on].mean, greedy=scores.sets[config.on].greedy
        )
        for name, scores in judged.items()
    )
    best = max(range(len(iterations)), key=lambda i: (iterations[i].score.value, -i))
    selection = Selection(iterations=iterations, best=best)
    (out / "selection.json").write_text(selection.model_dump_json(indent=1))
    return selection
