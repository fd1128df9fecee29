"""How the players are trained: entries of the training loop."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from components.language.online import GrpoTrainee
from components.language.players import Answerer, Player
from components.language.tokenise import asked
from components.r_zero.config import ChallengerStageConfig, SolverStageConfig
from components.r_zero.labels import read_labels
from components.r_zero.players import Challenger
from components.training.job import Job


def challenger(job: Job) -> GrpoTrainee:
    """Entry of the training loop. Inputs: `model` and `solver`, Hugging Face folders."""
    config, scratch = ChallengerStageConfig.model_validate(job.config), Path(job.scratch)

    def player(tokenizer: PreTrainedTokenizerFast, engines: ExitStack) -> Player:
        return Challenger(config, tokenizer, Path(job.inputs["solver"]), job.seed, scratch, engines)

    return GrpoTrainee(config.grpo, config.engine, Path(job.inputs["model"]), scratch, job.seed, player)


def solver(job: Job) -> GrpoTrainee:
    """Entry of the training loop. Inputs: `model`, a Hugging Face folder, and `labels`, JSON lines of PseudoLabel."""
    config, scratch = SolverStageConfig.model_validate(job.config), Path(job.scratch)

    def player(tokenizer: PreTrainedTokenizerFast, engines: ExitStack) -> Player:
        labels = read_labels(Path(job.inputs["labels"]))
        questions = [(asked(label.question, config.solver_system, tokenizer), label.answer) for label in labels]
        return Answerer(config.grpo, questions, job.seed, engines)

    return GrpoTrainee(config.grpo, config.engine, Path(job.inputs["model"]), scratch, job.seed, player)
