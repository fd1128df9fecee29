"""How many pseudo-labels are right: by the true answer where it is known, else by a judge, else nobody says.

R-Zero (arXiv 2508.05004) has 200 labels of each iteration judged by an outside model.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from components.language.engine_config import EngineConfig
from components.language.grading import Grader
from components.language.judge import Claim, judge
from components.language.truth import true_answer
from components.r_zero.config import AuditConfig
from data_contracts.interval import wilson
from data_contracts.r_zero import Audit
from data_contracts.scores import Share


def by_truth(claims: Sequence[Claim], grader: Grader) -> Audit:
    """Of all labels whose true answer is known."""
    known = [(claim.answer, truth) for claim in claims if (truth := true_answer(claim.question)) is not None]
    return _audit([bool(verdict) for verdict in grader.equal_all(known)])


def by_truth_or_judge(
    claims: Sequence[Claim], config: AuditConfig, auditor: Path, engine: EngineConfig, seed: int, grader: Grader,
    scratch: Path,
) -> Audit:  # fmt: skip
    """Of `config.questions` labels, drawn at random: by the true answer where it is known, else by the judge whose
    folder `auditor` is. A verdict that is none counts as wrong."""
    places = random.Random(seed).sample(range(len(claims)), min(config.questions, len(claims)))
    chosen = [claims[place] for place in sorted(places)]
    unknown = [claim for claim in chosen if true_answer(claim.question) is None]
    known = [(claim.answer, truth) for claim in chosen if (truth := true_answer(claim.question)) is not None]
    right = [bool(verdict) for verdict in grader.equal_all(known)]
    said = judge(unknown, auditor, engine, config.max_tokens, scratch / "auditor.jsonl") if unknown else []
    return _audit(
        [*right, *(bool(verdict) for verdict in said)], judged=len(said), unparsable=sum(v is None for v in said)
    )


def _audit(right: Sequence[bool], judged: int = 0, unparsable: int = 0) -> Audit:
    if not right:
        return Audit(known=0)
    low, high = wilson(sum(right), len(right))
    share = Share(value=sum(right) / len(right), low=low, high=high)
    return Audit(known=len(right), judged=judged, unparsable=unparsable, right=share)
