"""Online training as a trainee of the one loop: sample a rollout from the policy, reward it, learn from it, repeat.

The policy is sampled by vLLM with its own present weights. A rollout is a file, so a killed run goes on with what was
sampled, and with the steps that were checkpointed: nothing is sampled or rewarded twice.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from components.language import model as language_model
from components.language.engine_config import EngineConfig
from components.language.fused import IGNORED, linear_logprobs
from components.language.grpo import advantages, grpo_loss
from components.language.grpo_config import GrpoConfig
from components.language.players import Earned, Player
from components.language.rollout import Rollout
from components.language.samples import Completion, SamplingConfig, read_samples
from components.language.sampling import open_engine, sample_to
from components.language.vllm_server import VllmServer
from components.store.errors import OrreryError
from components.store.files import write_atomic
from components.training.job import save_parameters
from data_contracts.rollouts import Example, RolloutSummary

WAIT_SECONDS = 24 * 3600.0
"""For rank 0's rollout: thousands of long answers take hours on few GPUs."""
EXAMPLES = 4

MakePlayer = Callable[[PreTrainedTokenizerFast, ExitStack], Player]


class GrpoTrainee:
    """Trains a causal language model on what `player` asks and rewards, by the loss of GRPO.

    Ranks share the scratch folder: rank 0 samples and rewards, all train. A step takes `batch_size` sequences of a
    rollout, in its order.
    """

    def __init__(
        self, config: GrpoConfig, engine: EngineConfig, folder: Path, scratch: Path, seed: int, player: MakePlayer
    ) -> None:
        self.config, self._seed = config, seed
        self.causal, self.tokenizer = language_model.load(folder)
        self.causal.train()
        self.module: nn.Module = self.causal
        self.reference = language_model.load(folder)[0].eval() if config.kl_weight else None
        self._folder = scratch / "rollouts"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._engines = ExitStack()
        self._sampler: _Sampler | None = None
        if os.environ.get("RANK", "0") == "0":
            self._sampler = _Sampler(
                self, engine, player(self.tokenizer, self._engines), scratch / "policy", self._engines
            )
        self._loaded: tuple[int, Rollout] | None = None

    def sample(self, generator: torch.Generator, number: int) -> dict[str, Tensor]:
        return {"number": torch.tensor(number)}

    def collate(self, samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        places = [divmod(int(sample["number"]), self.config.sequences) for sample in samples]
        return self._rollout(places[0][0]).batch([place for _, place in places])

    def loss(self, module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        mask = batch["sampled"]
        labels = batch["input_ids"][:, 1:].masked_fill(~mask, IGNORED)
        reference = None
        if self.reference is not None:
            self.reference.to(self.causal.device, self.causal.dtype)  # where DeepSpeed has the policy, and as exact
            with torch.no_grad():
                reference = _logprobs(self.reference, batch, labels)
        logp = _logprobs(self.causal, batch, labels)
        found = grpo_loss(self.config, logp, batch["old"], reference, batch["advantage"], mask)
        return {"loss": found.loss, "kl": found.kl, "clipped": found.clipped, "reward": batch["reward"].mean()}

    def save(self, path: Path) -> None:
        save_parameters(self.module, path)

    def publish(self, out: Path) -> dict[str, float | int | str]:
        self._engines.close()
        language_model.save(self.causal, self.tokenizer, out)
        lines = [path.read_text() for path in sorted(self._folder.glob("*.json"))]
        (out / "rollouts.jsonl").write_text("".join(line + "\n" for line in lines))
        first, last = (RolloutSummary.model_validate_json(line) for line in (lines[0], lines[-1]))
        return {"rollouts": len(lines), "reward_first": round(first.reward, 4), "reward_last": round(last.reward, 4)}

    def _rollout(self, number: int) -> Rollout:
        """A rollout, made by rank 0 unless it is there."""
        if self._loaded is None or self._loaded[0] != number:
            path = self._folder / f"{number:05d}.safetensors"
            if not path.exists():
                if self._sampler is not None:
                    self._sampler.make(number, path)
                else:
                    _wait_for(path)
            self._loaded = number, Rollout.load(path)
        return self._loaded[1]


class _Sampler:
    """Rank 0's side: the engine that samples the policy, and the player that rewards it."""

    def __init__(
        self, trainee: GrpoTrainee, engine: EngineConfig, player: Player, folder: Path, engines: ExitStack
    ) -> None:
        self._trainee, self._engine, self._player, self._folder, self._engines = (
            trainee, engine, player, folder, engines,
        )  # fmt: skip
        self._server: VllmServer | None = None

    def make(self, number: int, path: Path) -> None:
        """Sample and reward rollout `number` with the weights as they are, and write it to `path`."""
        began = time.monotonic()
        trainee, config = self._trainee, self._trainee.config
        language_model.save_for_engine(trainee.causal, trainee.tokenizer, self._folder, self._engine.dtype)
        if self._server is None:
            log = self._folder.with_name("policy.log")
            self._server = self._engines.enter_context(open_engine(self._folder, log, self._engine, trainers_gpus()))
        else:
            self._server.reload()
        prompts = self._player.prompts(number)
        sampling = SamplingConfig(
            n=config.group, top_p=config.top_p, max_tokens=config.max_tokens, logprobs=True,
            seed=trainee._seed * 1_000_003 + number,
        )  # fmt: skip
        samples = path.with_name(f"{number:05d}-policy.jsonl")
        sample_to(samples, self._server, prompts, sampling)
        completions = [completion for sampled in read_samples(samples) for completion in sampled.completions]
        earned = self._player.reward(number, [completion.text for completion in completions], path.parent)
        repeated = [prompt for prompt in prompts for _ in range(config.group)]
        rollout = Rollout.of(repeated, completions, earned.rewards, advantages(earned.rewards, config.compared))
        summary = _summary(number, time.monotonic() - began, completions, earned, config.compared)
        write_atomic(path.with_suffix(".json"), summary.model_dump_json().encode())
        rollout.save(path)


def trainers_gpus() -> int:
    """How many of this machine's GPUs train: the first ones. Engines get those behind them, each its own, as what the
    trainer holds can't be put aside while an engine samples."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "0"))


def _summary(
    number: int, seconds: float, completions: list[Completion], earned: Earned, compared: int
) -> RolloutSummary:
    grouped = earned.rewards.reshape(-1, compared)
    best = earned.rewards.argsort(kind="stable")[::-1][:EXAMPLES]
    return RolloutSummary(
        rollout=number, seconds=seconds, reward=float(earned.rewards.mean()),
        informative=float((grouped.max(1) > grouped.min(1)).mean()),
        tokens=fmean(len(c.token_ids) for c in completions), cut=fmean(c.finish == "length" for c in completions),
        of_task=earned.of_task,
        examples=tuple(
            Example(text=completions[i].text[:2000], note=f"reward {earned.rewards[i]:.2f}") for i in best.tolist()
        ),
    )  # fmt: skip


def _logprobs(model: Any, batch: dict[str, Tensor], labels: Tensor) -> Tensor:
    return linear_logprobs(language_model.hidden_states(model, batch), model.lm_head.weight, labels).logp


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            raise OrreryError(f"rank 0 did not finish {path.name} within {WAIT_SECONDS:.0f} s; see its log")
        time.sleep(0.05)
