"""The online setting, of the DFT paper's rivals: a model answers training questions and learns from what was right."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from components.dft.config import OnlineConfig
from components.dft.offline import known_questions
from components.language.online import GrpoTrainee
from components.language.players import Answerer, Player
from components.language.tokenise import prompt_tokens
from components.training.job import Job


def trainee(job: Job) -> GrpoTrainee:
    """Entry of the training loop. Inputs: `model` (Hugging Face folder) and `chats` (a file that was validated).

    Raises OrreryError: no chat says its answer.
    """
    config = OnlineConfig.model_validate(job.config)
    questions = known_questions(Path(job.inputs["chats"]), config.questions)

    def player(tokenizer: PreTrainedTokenizerFast, engines: ExitStack) -> Player:
        asked = [(prompt_tokens(question, tokenizer), question.answer) for question in questions]
        return Answerer(config.grpo, asked, job.seed, engines)

    return GrpoTrainee(config.grpo, config.engine, Path(job.inputs["model"]), Path(job.scratch), job.seed, player)
