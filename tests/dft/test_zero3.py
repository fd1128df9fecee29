"""ZeRO-3 under the real torchrun and DeepSpeed: sharded weights are trained, published and restored as whole ones."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from components.dft.config import TuneConfig
from components.dft.loss_config import LossConfig
from components.dft.train import trainee
from components.language.config import ProblemsConfig
from components.language.problems import generate
from components.training.config import TrainConfig
from components.training.job import Job
from components.training.launch import run_local

STEPS, BATCH, DEADLINE = 4, 8, 280.0
TRAIN = TrainConfig(
    steps=STEPS, batch_size=BATCH, learning_rate=1e-3, weight_decay=0.01, warmup_steps=0, precision="fp32",
    zero_stage=3, processes=2, micro_batch=2, checkpoint_seconds=1e-3, log_every=1,
)  # fmt: skip


def job(model: Path, place: Path, out: str) -> Job:
    chats = place / "chats.jsonl"
    chats.write_text("".join(e.model_dump_json() + "\n" for e in islice(generate(ProblemsConfig(), 1), 3 * BATCH)))
    config = TuneConfig(name="arm", loss=LossConfig(variant="dft"), train=TRAIN, max_length=512)
    return Job(
        entry="components.dft.train:trainee", config=config.model_dump(mode="json"), train=TRAIN, seed=5,
        inputs={"model": str(model), "chats": str(chats)}, out=str(place / out), scratch=str(place / "scratch"),
    )  # fmt: skip


def in_one_process(whole: Job) -> dict[str, torch.Tensor]:
    """The weights after the same steps of plain AdamW on whole weights."""
    made = trainee(whole)
    weights = list(made.module.parameters())
    optimiser = torch.optim.AdamW(weights, lr=TRAIN.learning_rate, betas=TRAIN.betas, weight_decay=TRAIN.weight_decay)
    for step in range(STEPS):
        numbers = range(step * BATCH, (step + 1) * BATCH)
        batch = made.collate([made.sample(torch.Generator(), number) for number in numbers])
        optimiser.zero_grad()
        made.loss(made.module, batch)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(weights, TRAIN.clip)
        optimiser.step()
    return {name: p.detach() for name, p in made.causal.named_parameters()}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sharded_weights_take_the_same_steps_and_resume_exactly(folder: Path, tmp_path: Path) -> None:
    """Breaks if the head's weight were read where it is not whole, a rank published its own part only, or a restored
    part were another rank's."""
    first = job(folder, tmp_path, "out")
    run_local(first, DEADLINE)
    published = load_file(tmp_path / "out" / "model.safetensors")
    wanted = in_one_process(first)
    assert published.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(published[name], tensor, rtol=1e-4, atol=1e-5)

    assert [p.name for p in (tmp_path / "scratch").glob("checkpoint-*")] == [f"checkpoint-{STEPS - 1}"]
    run_local(job(folder, tmp_path, "again"), DEADLINE)  # from the checkpoint before the last step
    again = load_file(tmp_path / "again" / "model.safetensors")
    for name, tensor in published.items():
        torch.testing.assert_close(again[name], tensor, rtol=0, atol=0)
