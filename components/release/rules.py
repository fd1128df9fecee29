"""The gate's rules: pure functions of counts and seconds. Raising a success never turns a pass into a refusal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from components.release.config import GateConfig
from data_contracts.evaluation import EvaluationResult
from data_contracts.interval import wilson
from data_contracts.release import Rule


@dataclass(frozen=True, slots=True)
class Count:
    """`successes` of `episodes`."""

    successes: int
    episodes: int

    @property
    def rate(self) -> float:
        return self.successes / self.episodes

    def __str__(self) -> str:
        return f"{self.successes}/{self.episodes}"


def interval(count: Count) -> tuple[float, float]:
    """95 % Wilson score interval of the rate."""
    return wilson(count.successes, count.episodes)


def margin_lower(better: Count, worse: Count) -> float:
    """Lower end of the 95 % interval of `better.rate - worse.rate` (Newcombe 1998, method 10, from Wilson's limits)."""
    low, high = interval(better)[0], interval(worse)[1]
    return better.rate - worse.rate - math.hypot(better.rate - low, high - worse.rate)


def worse_p(candidate: Count, production: Count) -> float:
    """One-sided Fisher's exact test: how likely is so low a count of the candidate's if both were equally good."""
    total, hits = candidate.episodes + production.episodes, candidate.successes + production.successes
    ways = sum(
        math.comb(candidate.episodes, k) * math.comb(production.episodes, hits - k)
        for k in range(max(0, hits - production.episodes), candidate.successes + 1)
    )
    return ways / math.comb(total, hits)


def counts(result: EvaluationResult) -> dict[str, Count]:
    """Successes by `<task>-<level>`: levels of a task are as different as tasks."""
    wins: dict[str, list[bool]] = {}
    for episode in result.episodes:
        wins.setdefault(f"{episode.task}-{episode.level}", []).append(episode.success)
    return {task: Count(sum(won), len(won)) for task, won in sorted(wins.items())}


def success_rules(config: GateConfig, policy: dict[str, Count], mean: dict[str, Count]) -> list[Rule]:
    """The candidate is good enough, and clearly better than replaying the mean action, on enough tasks."""
    lows = {task: interval(count)[0] for task, count in policy.items()}
    margins = {task: margin_lower(count, mean[task]) for task, count in policy.items()}
    return [
        _on_tasks("success", "success rate's lower bound", lows, config.min_success, config, policy),
        _on_tasks("margin-over-mean-action", "lead over the mean action's lower bound", margins, config.min_margin,
                  config, policy, strict=True),
    ]  # fmt: skip


def _on_tasks(
    name: str,
    what: str,
    values: dict[str, float],
    threshold: float,
    config: GateConfig,
    policy: dict[str, Count],
    strict: bool = False,
) -> Rule:
    """The rule holds on the `tasks_needed`-th best task (so on that many). `strict`: equality is not enough."""
    needed = config.tasks_needed
    ranked = sorted(values, key=lambda task: -values[task])
    if len(ranked) < needed:
        sentence = f"{needed} tasks are needed for {name}, but only {len(ranked)} were evaluated: {', '.join(ranked)}."
        return Rule(name=name, value=None, threshold=threshold, passed=False, sentence=sentence)
    task = ranked[needed - 1]
    value = values[task]
    passed = value > threshold if strict else value >= threshold
    where = (
        f"on {task} ({policy[task]})" if needed == 1 else f"on the {needed} best tasks (last: {task}, {policy[task]})"
    )
    verdict = "meets" if passed else "misses"
    relation = "more than" if strict else "at least"
    sentence = f"The {what} {where} is {value:.3f}, which {verdict} the required {relation} {threshold:.3f}."
    return Rule(name=name, value=value, threshold=threshold, passed=passed, sentence=sentence)


def production_rules(config: GateConfig, policy: Count, production: Count | None) -> list[Rule]:
    """Not worse than production: neither by Fisher's test, nor by a large fall that few episodes can't prove."""
    if production is None:
        sentence = "Nothing else is in production, so there is nothing to be worse than."
        return [Rule(name="not-worse-than-production", value=None, threshold=None, passed=True, sentence=sentence)]
    p, drop = worse_p(policy, production), production.rate - policy.rate
    not_worse, small = p >= config.worse_alpha, drop <= config.max_drop + 1e-12
    return [
        Rule(
            name="not-worse-than-production", value=p, threshold=config.worse_alpha, passed=not_worse,
            sentence=f"The candidate reached {policy}, production {production}; Fisher's one-sided p is {p:.4f}, "
            f"{'no' if not_worse else 'clear'} evidence (level {config.worse_alpha:g}) that the candidate is worse.",
        ),
        Rule(
            name="drop-from-production", value=drop, threshold=config.max_drop, passed=small,
            sentence=f"The success rate {'falls' if drop > 0 else 'rises'} by {abs(drop):.3f} against production's; "
            f"a fall of at most {config.max_drop:.3f} is allowed.",
        ),
    ]  # fmt: skip


def latency_rule(config: GateConfig, p95: float) -> Rule:
    passed = p95 <= config.max_latency_p95_s
    sentence = (
        f"95 % of the answers took at most {p95:.3f} s on this machine, "
        f"{'within' if passed else 'more than'} the allowed {config.max_latency_p95_s:.3f} s"
    )
    mend = "" if passed else f"; if other work ran beside it, measure again with gate.attempt={config.attempt + 1}"
    sentence += f"{mend}."
    return Rule(name="latency-p95", value=p95, threshold=config.max_latency_p95_s, passed=passed, sentence=sentence)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]
