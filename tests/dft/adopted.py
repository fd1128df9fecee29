"""`dft_adopted` run whole, by hand, with a small outside model: `python tests/dft/adopted.py FOLDER`.

Makes what a hub would offer: a Qwen2 in bf16 with a byte-level tokenizer and no chat template, training chats as
Parquet (two of them bad), a benchmark as JSON lines. Then it runs the pipeline with the recipe of Qwen2.5-Math-1.5B,
shrunk. What follows FOLDER is passed on to `orrery run`: `--set 'lora={"rank": 8}'` trains adapters.
"""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pyarrow
import pyarrow.parquet
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from components.dft.config import TuneConfig
from components.dft.train import ChatTrainee
from components.language import model as language_model
from components.language.config import ProblemsConfig
from components.language.problems import generate
from components.language.tokenise import tokenise
from components.training.config import TrainConfig
from data_contracts.chat import ChatExample
from pipelines.recipes.dft_adopted.types import PLAIN_CHAT

STEPS, BATCH, CONTEXT = 200, 32, 512
END = "<|endoftext|>"
SHRUNK = (
    "max_length=256", "max_tokens=128", "judge.samples=4", "judge.pass_at=[1,4]", "analysed=100", "train.steps=30",
    "train.batch_size=16", "train.micro_batch=0", "train.processes=2", "train.precision=fp32", "train.zero_stage=2",
    "train.warmup_steps=3", "train.learning_rate=3e-4",
)  # fmt: skip


def chats(split: str, number: int, seed: int) -> list[ChatExample]:
    problems = ProblemsConfig(split=split, levels=(1,), styles=("terse", "steps"))  # type: ignore[arg-type]
    return list(islice(generate(problems, seed), number))


def write_model(folder: Path) -> None:
    """About half a million weights, trained for seconds: right now and then."""
    shown = chats("train", 3000, seed=1)
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=[END, "<|im_start|>", "<|im_end|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    backend.train_from_iterator((m.content for chat in shown for m in chat.messages), trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END, pad_token=END, model_max_length=131072)
    network = Qwen2Config(
        vocab_size=640, hidden_size=128, intermediate_size=384, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=CONTEXT, tie_word_embeddings=True, eos_token_id=0,
        bos_token_id=0, pad_token_id=None,
    )  # fmt: skip
    torch.manual_seed(0)
    fast.chat_template = PLAIN_CHAT
    language_model.save(Qwen2ForCausalLM(network), fast, folder)
    _teach(folder, [tokenise(chat, fast, CONTEXT) for chat in shown])
    (folder / "chat_template.jinja").unlink()


def _teach(folder: Path, shown: list[object]) -> None:
    train = TrainConfig(steps=STEPS, batch_size=BATCH, warmup_steps=0, processes=1, precision="fp32")
    config = TuneConfig(name="outside", train=train, max_length=CONTEXT)
    trainee = ChatTrainee(config, BATCH, folder, shown, seed=0)  # type: ignore[arg-type]
    optimiser = torch.optim.AdamW(trainee.module.parameters(), lr=3e-3)
    for step in range(STEPS):
        numbers = range(step * BATCH, (step + 1) * BATCH)
        batch = trainee.collate([trainee.sample(torch.Generator(), number) for number in numbers])
        optimiser.zero_grad()
        trainee.loss(trainee.module, batch)["loss"].backward()
        optimiser.step()
    language_model.save(trainee.causal.bfloat16(), trainee.tokenizer, folder)


def write_data(folder: Path) -> None:
    """`train.parquet` as NuminaMath has it, and `bench.jsonl`, problems with their answers."""
    rows = [
        {"problem": chat.messages[0].content, "solution": chat.response, "answer": chat.answer, "source": "outside"}
        for chat in chats("train", 400, seed=2)
    ]
    rows += [rows[0], {**rows[1], "problem": "Who knows?", "solution": ""}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "train.parquet")
    asked = [chat.model_copy(update={"messages": chat.messages[:1]}) for chat in chats("held-out", 40, seed=3)]
    (folder / "bench.jsonl").write_text("".join(chat.model_dump_json() + "\n" for chat in asked))


def main() -> int:
    folder, passed_on = Path(sys.argv[1]).resolve(), sys.argv[2:]
    if not (folder / "bench.jsonl").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_model(folder / "model")
        write_data(folder)
    where = (f"model.uri={folder}/model", f"data.uri={folder}/train.parquet", f"sets.math_500={folder}/bench.jsonl")
    settings = [part for setting in (*where, *SHRUNK) for part in ("--set", setting)]
    command = ["run", "dft_adopted", "--recipe", "qwen2_5_math_1_5b", *settings, *passed_on]
    return subprocess.call(
        [sys.executable, "-m", "pipelines.cli", *command], env={"ORRERY_STORE": str(folder / "store"), **os.environ}
    )


if __name__ == "__main__":
    sys.exit(main())
