"""DPO: the loss is TRL's, a step does not depend on how it is split, and what is published is what was trained."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from components.dft.config import DpoConfig
from components.dft.dpo import PairTrainee, dpo_loss, trainee
from components.language import model as language_model
from components.language.config import ProblemsConfig
from components.language.problems import generate
from components.language.tokenise import tokenise
from components.store.errors import IntegrityError, OrreryError
from components.training.config import TrainConfig
from components.training.job import Job
from data_contracts.chat import PreferencePair

PAIRS, BETA = 4, 0.3
TRAIN = TrainConfig(steps=2, batch_size=PAIRS, warmup_steps=0, processes=1, precision="fp32")
CONFIG = DpoConfig(name="dpo", beta=BETA, train=TRAIN, max_length=512)


def pairs() -> list[PreferencePair]:
    """Each problem with its own solution and with another problem's."""
    drawn = list(islice(generate(ProblemsConfig(), 3), 2 * PAIRS))
    return [
        PreferencePair(prompt=one.prompt, chosen=one.response, rejected=other.response)
        for one, other in zip(drawn[:PAIRS], drawn[PAIRS:], strict=True)
    ]


@pytest.fixture
def moved(folder: Path) -> PairTrainee:
    """Trained weights that are not the reference's any more, so that no term of the loss vanishes."""
    fast = language_model.load_tokenizer(folder)
    tokens = [(tokenise(a, fast, 512), tokenise(b, fast, 512)) for a, b in (pair.chats for pair in pairs())]
    made = PairTrainee(CONFIG, folder, tokens, seed=5)
    torch.manual_seed(1)
    with torch.no_grad():
        for p in made.module.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return made


def batch(of: PairTrainee) -> dict[str, Tensor]:
    return of.collate([of.sample(torch.Generator(), number) for number in range(PAIRS)])


def gradient(of: PairTrainee, batches: list[dict[str, Tensor]]) -> Tensor:
    of.module.zero_grad()
    for part in batches:
        (of.loss(of.module, part)["loss"] / len(batches)).backward()
    return torch.cat([p.grad.flatten() for p in of.module.parameters() if p.grad is not None])


def test_loss_and_gradient_are_trls(moved: PairTrainee, folder: Path, tmp_path: Path) -> None:
    """Breaks if prompts counted, the end token did not, a sign were wrong or beta stood elsewhere."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    whole = batch(moved)
    ours = moved.loss(moved.module, whole)["loss"]
    model, _ = language_model.load(folder)
    model.load_state_dict(moved.causal.state_dict())
    rows = Dataset.from_list([{"prompt": "1+1?", "chosen": "2", "rejected": "3"}])
    settings: Any = DPOConfig(
        output_dir=str(tmp_path), beta=BETA, bf16=False, use_cpu=True, report_to=[], gradient_checkpointing=False
    )
    reference, fast = language_model.load(folder)
    trl = DPOTrainer(model=model, ref_model=reference, args=settings, train_dataset=rows, processing_class=fast)
    by_side = {name: tensor.transpose(0, 1).flatten(0, 1) for name, tensor in whole.items()}  # chosen, then rejected
    given = {
        "input_ids": by_side["input_ids"],
        "attention_mask": by_side["attention_mask"],
        "completion_mask": (by_side["labels"] != -100).long(),
    }
    theirs = trl.compute_loss(trl.model, given)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert abs(ours.item() - 0.6931) > 0.01, "log 2 is the loss of a model that has not moved"
    theirs.backward()
    wanted = torch.cat([p.grad.flatten() for p in trl.model.parameters() if p.grad is not None])
    torch.testing.assert_close(gradient(moved, [whole]), wanted, rtol=1e-3, atol=1e-6)


def test_micro_batches_do_not_change_the_step(moved: PairTrainee) -> None:
    whole = batch(moved)
    parts = [{name: tensor[i : i + 1] for name, tensor in whole.items()} for i in range(PAIRS)]
    torch.testing.assert_close(gradient(moved, parts), gradient(moved, [whole]), rtol=1e-4, atol=1e-7)


def test_it_learns_what_to_prefer(moved: PairTrainee, tmp_path: Path) -> None:
    """Breaks if the two sides changed places anywhere between the file and the loss."""
    whole = batch(moved)
    optimizer = torch.optim.SGD(moved.module.parameters(), lr=0.05)
    for _ in range(10):
        gradient(moved, [whole])
        optimizer.step()
    after = moved.loss(moved.module, whole)
    assert after["right"] == 1
    moved.publish(tmp_path)
    again = PairTrainee(CONFIG, tmp_path, moved.pairs, seed=5)
    again.reference = moved.reference
    assert again.loss(again.module, whole)["loss"].item() == pytest.approx(after["loss"].item(), rel=1e-4)


def test_a_model_that_has_not_moved_has_no_preference() -> None:
    logp = torch.tensor([[-10.0, -3.0], [-1.0, -50.0]])
    torch.testing.assert_close(dpo_loss(0.1, logp, logp), torch.full((2,), 2.0).log())


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [("", OrreryError, "no question has both"), ("no json\n", IntegrityError, "not what dft.sample writes")],
)
def test_pairs_that_are_none_are_named(
    folder: Path, tmp_path: Path, content: str, error: type[OrreryError], message: str
) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(content)
    job = Job(
        entry="components.dft.dpo:trainee", config=CONFIG.model_dump(mode="json"), train=TRAIN, seed=0,
        inputs={"model": str(folder), "pairs": str(file)}, out=str(tmp_path), scratch=str(tmp_path),
    )  # fmt: skip
    with pytest.raises(error, match=message):
        trainee(job)
