"""The online setting: every question asked in its turn, every answer paid by its own question's truth."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from components.dft.config import OnlineConfig
from components.dft.online import trainee
from components.language import model as language_model
from components.language.grpo import advantages
from components.language.grpo_config import GrpoConfig
from components.language.players import Answerer
from components.language.tokenise import prompt_tokens
from components.store.errors import OrreryError
from components.training.config import TrainConfig
from components.training.job import Job
from data_contracts.chat import ChatExample, Message

TRAIN = TrainConfig(steps=2, batch_size=6, warmup_steps=0, processes=1, precision="fp32")
GRPO = GrpoConfig(prompts=2, group=3, updates=1, max_tokens=16)
PPO = GrpoConfig(prompts=6, group=1, baseline="rollout", updates=1, max_tokens=16)


def chats(path: Path, *answers: str) -> Path:
    """Questions 0+0, 1+1, ... with these answers."""
    asked = [
        ChatExample(
            messages=(Message(role="user", content=f"What is {i}+{i}?"), Message(role="assistant", content="So.")),
            answer=answer,
        )
        for i, answer in enumerate(answers)
    ]
    path.write_text("".join(chat.model_dump_json() + "\n" for chat in asked))
    return path


def job(folder: Path, tmp_path: Path, grpo: GrpoConfig, *answers: str) -> Job:
    config = OnlineConfig(name="online", grpo=grpo, train=TRAIN)
    return Job(
        entry="components.dft.online:trainee", config=config.model_dump(mode="json"), train=TRAIN, seed=0,
        inputs={"model": str(folder), "chats": str(chats(tmp_path / "chats.jsonl", *answers))},
        out=str(tmp_path), scratch=str(tmp_path),
    )  # fmt: skip


def test_each_answer_is_paid_by_the_truth_of_its_own_question(tmp_path: Path) -> None:
    """Breaks if groups and truths shifted against each other, or an epoch asked a question twice."""
    questions = [([i], str(2 * i)) for i in range(3)]
    with ExitStack() as engines:
        player = Answerer(GRPO, questions, 5, engines)
        asked = [[prompt[0] for prompt in player.prompts(rollout)] for rollout in range(3)]
        said = [f"\\boxed{{{2 * i}}}" if right else "\\boxed{99}" for i in asked[1] for right in (True, False, True)]
        earned = player.reward(1, said, tmp_path)
    flat = [i for rollout in asked for i in rollout]
    assert sorted(flat[:3]) == sorted(flat[3:]) == [0, 1, 2], "two epochs over three rollouts"
    assert earned.rewards.tolist() == [1, 0, 1, 1, 0, 1]


def test_its_questions_are_the_chats(folder: Path, tmp_path: Path) -> None:
    """Breaks if the model were asked otherwise than the trained and the judged models are."""
    made = trainee(job(folder, tmp_path, PPO, "0", "2"))
    assert made._sampler is not None
    with made._engines:
        prompts = made._sampler._player.prompts(0)
    fast = language_model.load_tokenizer(folder)
    user = (Message(role="user", content="What is 1+1?"), Message(role="assistant", content="So."))
    assert prompt_tokens(ChatExample(messages=user), fast) in prompts
    assert len(prompts) == 6, "as many as PPO's rollout has answers"


def test_without_groups_the_rollout_is_the_baseline() -> None:
    """Breaks if PPO-style answers, one of each question, were compared with nothing: all advantages would be 0."""
    rewards = np.array([1.0, 0, 0, 1, 0, 0])
    of_rollout = advantages(rewards, PPO.compared)
    np.testing.assert_allclose(of_rollout, (rewards - 1 / 3) / rewards.std(ddof=1), rtol=1e-5)
    assert GRPO.compared == 3
    assert (OnlineConfig(name="x", grpo=PPO, train=TRAIN).method, GRPO.sequences) == ("ppo", PPO.sequences)


def test_an_answer_compared_with_itself_is_refused() -> None:
    with pytest.raises(ValueError, match=r"compares 1 completion with itself.*raise grpo\.group"):
        GrpoConfig(group=1)


def test_chats_without_answers_are_named(folder: Path, tmp_path: Path) -> None:
    """Breaks if a run without truths trained on rewards that are all 0."""
    with pytest.raises(OrreryError, match="no training chat says its answer"):
        trainee(job(folder, tmp_path, GRPO, "", ""))
