"""What a policy is asked in online training, and what its answers earn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from components.language.grading import Grader
from components.language.grpo_config import GrpoConfig
from components.training.job import epoch_order


@dataclass(frozen=True)
class Earned:
    """The rewards of a rollout, and what is worth a curve."""

    rewards: NDArray[np.float64]
    """(N,), groups one after another"""
    of_task: dict[str, float] = field(default_factory=dict)


class Player(Protocol):
    """What a policy plays. It lives where the policy is sampled, and nowhere else."""

    def prompts(self, rollout: int) -> list[list[int]]:
        """Tokens of the prompts of a rollout, one a group."""

    def reward(self, rollout: int, responses: Sequence[str], folder: Path) -> Earned:
        """What the responses to these prompts earn; what it samples itself it keeps in `folder`."""


class Answerer:
    """Answers the questions of a set in epochs; what agrees with the answer that is held to be right earns 1."""

    def __init__(
        self, config: GrpoConfig, questions: Iterable[tuple[list[int], str]], seed: int, engines: ExitStack
    ) -> None:
        """`questions`: the tokens of each prompt, and its answer."""
        self._config, self._seed, self._questions = config, seed, list(questions)
        self._grader = engines.enter_context(Grader())

    def prompts(self, rollout: int) -> list[list[int]]:
        return [self._questions[i][0] for i in self._chosen(rollout)]

    def reward(self, rollout: int, responses: Sequence[str], folder: Path) -> Earned:
        answers = [self._questions[i][1] for i in self._chosen(rollout) for _ in range(self._config.group)]
        return Earned(answer_rewards(responses, answers, self._grader))

    def _chosen(self, rollout: int) -> list[int]:
        """The questions of a rollout: each once in every epoch, in its own order."""
        size, number = len(self._questions), self._config.prompts
        places = (divmod(rollout * number + i, size) for i in range(number))
        return [epoch_order(self._seed, epoch, size)[place] for epoch, place in places]


def answer_rewards(responses: Sequence[str], answers: Sequence[str], grader: Grader) -> NDArray[np.float64]:
    """(N,) 1 where the response's last box equals the answer, else 0: nothing for format or style."""
    return np.array([bool(verdict) for verdict in grader.correct_all(zip(responses, answers, strict=True))], np.float64)
