"""Both players with the real engine, torchrun and DeepSpeed: paid as they should be, learning, surviving kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from components.language import model as language_model
from components.language.boxed import boxed_answer
from components.language.grading import Grader
from components.language.grpo_config import GrpoConfig
from components.language.rollout import Rollout
from components.language.samples import read_samples
from components.r_zero.config import ChallengerStageConfig, Instruction, SolverStageConfig
from components.r_zero.labels import PseudoLabel
from components.r_zero.players import Challenger
from components.r_zero.repetition import shares
from components.r_zero.rewards import uncertainty
from components.training.config import TrainConfig
from components.training.job import Job
from components.training.launch import run_local
from tests.engines.digits import ASK, QUESTIONS

pytestmark = pytest.mark.timeout(900)

ROLLOUTS, LABEL = 8, "7"
LAUNCH = (
    "import sys; from components.training.job import Job; from components.training.launch import run_local; "
    "run_local(Job.model_validate_json(sys.argv[1]))"
)


def training(steps: int, batch_size: int) -> TrainConfig:
    return TrainConfig(
        steps=steps, batch_size=batch_size, learning_rate=1e-3, weight_decay=0.0, warmup_steps=0, precision="fp32",
        zero_stage=1, processes=2, checkpoint_seconds=1.0, log_every=1,
    )  # fmt: skip


@pytest.fixture
def job(digits: Path, tmp_path: Path) -> Job:
    """A solver that is paid for one of the digits it knows."""
    labels = tmp_path / "labels.jsonl"
    told = [PseudoLabel(question=question, answer=LABEL, votes=5, samples=10) for question in QUESTIONS]
    labels.write_text("".join(label.model_dump_json() + "\n" for label in told))
    config = SolverStageConfig(
        name="solver", train=training(2 * ROLLOUTS, 32), grpo=GrpoConfig(prompts=8, group=8, updates=2, max_tokens=16)
    )
    return Job(
        entry="components.r_zero.train:solver", config=config.model_dump(mode="json"), train=config.train, seed=3,
        inputs={"model": str(digits), "labels": str(labels)}, out=str(tmp_path / "out"),
        scratch=str(tmp_path / "scratch"),
    )  # fmt: skip


def test_a_killed_solver_goes_on_and_learns_what_is_paid_for(job: Job) -> None:
    """Breaks if a rollout were sampled again after a kill, or if advantages met the wrong sequences."""
    rollouts = Path(job.scratch) / "rollouts"
    first = subprocess.Popen([sys.executable, "-c", LAUNCH, job.model_dump_json()], start_new_session=True)
    deadline = time.monotonic() + 600
    while not (rollouts / "00002.safetensors").exists():
        assert first.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    made = {path: path.stat().st_mtime_ns for path in rollouts.glob("*.safetensors")}

    metrics = run_local(job)

    assert {path: path.stat().st_mtime_ns for path in made} == made, "what was sampled is not sampled again"
    told = [json.loads(line) for line in (Path(job.out) / "rollouts.jsonl").read_text().splitlines()]
    assert [line["rollout"] for line in told] == list(range(ROLLOUTS))
    steps = [json.loads(line)["step"] for line in (Path(job.out) / "losses.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 2 * ROLLOUTS + 1))
    assert 2 * float(metrics["reward_first"]) < float(metrics["reward_last"]) > 0.5
    assert language_model.load(Path(job.out))[0].config.tie_word_embeddings, "as the model was before"


def test_the_engine_and_the_trainer_agree_on_the_first_rollout(job: Job, digits: Path, tmp_path: Path) -> None:
    """The ratio of the first update must be 1: the engine has the trainer's weights, tokens and places."""
    import torch

    from components.language.fused import IGNORED, linear_logprobs
    from components.r_zero.train import solver

    trainee = solver(job.model_copy(update={"train": training(2, 32)}))
    try:
        with torch.no_grad():
            for parameter in trainee.module.parameters():  # weights that the folder has not
                parameter.mul_(1.05)
        batch = trainee.collate([trainee.sample(torch.Generator(), number) for number in range(32)])
    finally:
        trainee._engines.close()
    labels = batch["input_ids"][:, 1:].masked_fill(~batch["sampled"], IGNORED)
    with torch.no_grad():
        hidden = language_model.hidden_states(trainee.causal, batch)
        logp = linear_logprobs(hidden, trainee.causal.lm_head.weight, labels).logp
    torch.testing.assert_close(logp, batch["old"], atol=1e-4, rtol=1e-4)


def test_the_challenger_is_paid_for_what_splits_the_solver(digits: Path, tmp_path: Path) -> None:
    """The whole batch counts: repeated questions share their penalty, and what is no question earns nothing."""
    config = ChallengerStageConfig(
        name="challenger", ask=Instruction(user=ASK), answer_tokens=16, train=training(2, 4),
        grpo=GrpoConfig(prompts=2, group=4, updates=2, max_tokens=48),
    )  # fmt: skip
    texts = [QUESTIONS[0], QUESTIONS[0], "How many legs has a spider that lost three?", QUESTIONS[5], "<user> hello"]
    responses = [*(f"<question>{text}</question>\n\\boxed{{1}}" for text in texts), "no question", "", "<question>"]
    tokenizer = language_model.load_tokenizer(digits)
    with ExitStack() as engines:
        challenger = Challenger(config, tokenizer, digits, seed=1, folder=tmp_path, engines=engines)
        earned = challenger.reward(0, responses, tmp_path)
    asked = sorted({QUESTIONS[0], QUESTIONS[5], texts[2]})
    with Grader() as grader:
        votes = [[boxed_answer(c.text) for c in s.completions] for s in read_samples(tmp_path / "00000-solver.jsonl")]
        worth = dict(zip(asked, map(uncertainty, grader.groups(votes)), strict=True))
    repetition = shares([*texts, "", "", ""])
    expected = [max(0.0, worth[text] - repetition[i]) if text in worth else 0.0 for i, text in enumerate(texts)]
    np.testing.assert_allclose(earned.rewards, [*expected, 0, 0, 0])
    assert max(worth.values()) > 0.2, "the solver knows four answers, so it is split"
    assert earned.of_task["proper"] == 4 / 8, "the one that spells a special token is none"
    with ExitStack() as engines:  # a restart finds the answers, and needs no engine
        challenger = Challenger(config, tokenizer, digits, seed=1, folder=tmp_path, engines=engines)
        np.testing.assert_allclose(challenger.reward(0, responses, tmp_path).rewards, earned.rewards)
        assert not challenger._solver.running()


def test_a_rollout_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "00000.safetensors").write_bytes(b"half a file")
    with pytest.raises(Exception, match=r"00000\.safetensors is no rollout .* remove it"):
        Rollout.load(tmp_path / "00000.safetensors")
