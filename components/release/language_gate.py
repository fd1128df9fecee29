"""The gate of a language model: is it, on every set of problems, as good as what it was made from and production?

All are judged on the same problems, so they are compared problem by problem: the difference of two models' shares of
right samples varies far less than the shares do, since hard problems are hard for both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import ValidationError

from components.release.config import LanguageGateConfig
from components.release.decision import written
from components.store.errors import ConfigurationError
from components.store.stage import Workspace
from data_contracts.interval import score_interval
from data_contracts.lineage import Metric
from data_contracts.release import Decision, Rule
from data_contracts.scores import Scores, SetScores


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean over problems of (candidate - rival), shares of right samples, with its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


def run(ws: Workspace, config: LanguageGateConfig) -> dict[str, Metric]:
    """Decide on the input `model`; writes `decision.json` and `report.md`, whatever the decision is."""
    model, evaluation = ws.inputs["model"], ws.inputs["evaluation"]
    if evaluation.inputs.get("model") != model.as_input():
        raise ConfigurationError(
            f"{evaluation.prefix} did not judge {model.prefix}; give the gate the evaluation of this very version"
        )
    candidate, base = read_scores(ws, "evaluation", config.sets), read_scores(ws, "base", config.sets)
    for name in config.sets:
        if candidate.files[name] != base.files[name]:
            raise ConfigurationError(f"candidate and base were judged on different problems {name!r}; judge both alike")
    judged = [rule for name in config.sets for rule in _not_worse(config, name, candidate, base, "base")]
    rivals = {"base": base}
    if "production" in ws.inputs:
        rivals["production"] = read_scores(ws, "production", config.sets)
        judged += _against_production(config, candidate, rivals["production"])
    decision = Decision(
        policy=config.policy, model=model.as_input(), passed=all(rule.passed for rule in judged), rules=tuple(judged),
        production=ws.inputs["production"].as_input() if "production" in ws.inputs else None,
    )  # fmt: skip
    return written(ws, decision, _evidence(config, {"candidate": candidate, **rivals})) | metrics(candidate)


def read_scores(ws: Workspace, name: str, sets: Iterable[str] = ()) -> Scores:
    """The scores of the input `name`, problem by problem for every one of `sets`. Raises ConfigurationError."""
    record = ws.inputs[name]
    try:
        scores = Scores.model_validate_json(ws.fetch(name, "scores.json").read_bytes())
    except (KeyError, ValidationError) as error:
        raise ConfigurationError(f"{record.prefix} holds no usable scores.json; run dft.evaluate again") from error
    missing = [s for s in sets if s not in scores.sets or len(scores.sets[s].right) != scores.sets[s].problems]
    if missing:
        raise ConfigurationError(
            f"{record.prefix} does not say how each problem of {', '.join(missing)} was solved; run dft.evaluate on it"
        )
    return scores


def metrics(scores: Scores) -> dict[str, Metric]:
    """What a bundle, a card and a record say of the scores: avg@n with its interval, by set."""
    out: dict[str, Metric] = {}
    for name, found in scores.sets.items():
        share = found.mean
        out |= {f"{name}/mean": round(share.value, 4), f"{name}/low": share.low, f"{name}/high": share.high}
        out |= {f"{name}/problems": found.problems, f"{name}/samples": found.samples}
    return out


def difference(candidate: SetScores, rival: SetScores) -> Difference:
    """Paired over problems. The interval is Wilson's of the differences moved from -1..1 to 0..1, so that it is sound
    where few problems differ, or none."""
    change = np.array(candidate.right) / candidate.samples - np.array(rival.right) / rival.samples
    moved = (change + 1) / 2
    low, high = score_interval(float(moved.mean()), float(moved.var()), len(moved))
    return Difference(float(change.mean()), 2 * low - 1, 2 * high - 1)


def _against_production(config: LanguageGateConfig, candidate: Scores, production: Scores) -> Iterator[Rule]:
    for name in config.sets:
        if candidate.files[name] == production.files[name]:
            yield from _not_worse(config, name, candidate, production, "production")
        else:
            yield Rule(
                name=f"{name}/not-worse-than-production", value=None, threshold=None, passed=False,
                sentence=f"Production was judged on other problems {name!r}, so they can't be compared; judge the "
                "candidate on production's problems too.",
            )  # fmt: skip


def _not_worse(config: LanguageGateConfig, name: str, candidate: Scores, rival: Scores, who: str) -> Iterator[Rule]:
    """Neither proven worse, nor fallen so far that only the number of problems keeps it from being proven."""
    ours, theirs = candidate.sets[name], rival.sets[name]
    found = difference(ours, theirs)
    fair, small = found.high >= 0, -found.mean <= config.max_drop + 1e-12
    yield Rule(
        name=f"{name}/not-worse-than-{who}", value=round(found.high, 4), threshold=0.0, passed=fair,
        sentence=f"On {name} ({ours.problems} problems) the candidate's avg@{ours.samples} is {ours.mean.value:.3f}, "
        f"that of {who} {theirs.mean.value:.3f}: a paired difference of {found}, "
        f"{'no proof' if fair else 'proof'} that the candidate is worse.",
    )  # fmt: skip
    yield Rule(
        name=f"{name}/drop-from-{who}", value=round(-found.mean, 4), threshold=config.max_drop, passed=small,
        sentence=f"On {name} avg@{ours.samples} {'falls' if found.mean < 0 else 'rises'} by {abs(found.mean):.3f} "
        f"against {who}; a fall of at most {config.max_drop:.3f} is allowed.",
    )  # fmt: skip


def _evidence(config: LanguageGateConfig, judged: Mapping[str, Scores]) -> list[str]:
    lines = ["| model | set | problems | greedy | avg@n |", "|---|---|---|---|---|"]
    for who, scores in judged.items():
        for name in config.sets:
            s = scores.sets[name]
            shares = (f"{x.value:.3f} ({x.low:.3f} to {x.high:.3f})" for x in (s.greedy, s.mean))
            lines.append(f"| {who} | {name} | {s.problems} | {' | '.join(shares)} |")
    return lines
