"""What a training did to the probabilities of its tokens: SFT lifts the low, DFT parts them (paper DFT, Fig. 4)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from components.dft.config import AnalyseStageConfig
from components.dft.reading import read_chats
from components.dft.token_classes import changes, classes_of
from components.language import model as language_model
from components.language.fused import IGNORED, linear_logprobs
from components.language.tokenise import Tokens, collate, tokenise
from components.store.errors import OrreryError
from components.telemetry.progress import progress
from data_contracts.scores import TokenAnalysis

BATCH = 16
LEAST_COUNT = 20
"""Tokens seen more seldom say little of how their probability changed."""
SHOWN = 30


class _Seen(NamedTuple):
    """Every trained token of the chats: (N,) each."""

    token: NDArray[np.int64]
    logp: NDArray[np.float64]
    entropy: NDArray[np.float64]


def analyse(
    config: AnalyseStageConfig, before: Path, after: Path, version: str, chats: Path, out: Path
) -> TokenAnalysis:
    """Compare two models on the first chats of a training file; writes `tokens.json`.

    Raises:
        OrreryError: there is no chat that fits.
    """
    start = Start.of(config, before, chats)
    new, _ = language_model.load(after)
    found = start.against(new, version)
    (out / "tokens.json").write_text(found.model_dump_json(indent=1))
    return found


class Start(NamedTuple):
    """The model that trainings started from, and what it makes of the chats; trained ones are compared with it."""

    config: AnalyseStageConfig
    network: Any
    tokenizer: PreTrainedTokenizerFast
    chats: list[Tokens]
    seen: _Seen
    classes: NDArray[np.int64]
    """(N,) the class of each trained token"""

    @classmethod
    def of(cls, config: AnalyseStageConfig, folder: Path, chats: Path) -> Start:
        """Raises OrreryError: there is no chat that fits."""
        network, tokenizer = language_model.load(folder)
        rows = [r.example for r, _ in zip(read_chats([chats]), range(config.examples), strict=False) if r.example]
        tokens = [tokenise(example, tokenizer, config.max_length) for example in rows]
        if not tokens:
            raise OrreryError(f"{chats.name} holds no chat to analyse")
        answers = [_trained(chat) for chat in tokens]
        return cls(config, network, tokenizer, tokens, _seen(network, tokens), classes_of(answers, tokenizer))

    def against(self, network: Any, version: str) -> TokenAnalysis:
        """What a training made of it: the model `network`, whose version is `version`."""
        return _changes(self, network, _seen(network, self.chats), version)


def _changes(start: Start, network: Any, now: _Seen, version: str) -> TokenAnalysis:
    was, config = start.seen, start.config
    edges = np.linspace(0, 1, config.bins + 1)
    p_was, p_now = np.exp(was.logp), np.exp(now.logp)
    chat = np.repeat(np.arange(len(start.chats)), [len(_trained(chat)) for chat in start.chats])
    return TokenAnalysis(
        model=version,
        tokens=len(was.token),
        bins=tuple(edges.tolist()),
        before=tuple(np.histogram(p_was, edges)[0].tolist()),
        after=tuple(np.histogram(p_now, edges)[0].tolist()),
        bimodality_before=bimodality(p_was),
        bimodality_after=bimodality(p_now),
        low_after=float((p_now < 0.1).mean()),
        high_after=float((p_now > 0.9).mean()),
        entropy_before=float(was.entropy.mean()),
        entropy_after=float(now.entropy.mean()),
        distance=_distance(start.network, network),
        falling=tuple(_falling(was, now, start.tokenizer)),
        classes=changes(start.classes, chat, was.logp, now.logp),
    )


def bimodality(x: NDArray[np.float64]) -> float:
    """Sarle's coefficient (skewness² + 1) / kurtosis: 1 for two points, 5/9 for a uniform distribution."""
    d = x - x.mean()
    spread = float((d**2).mean())
    if spread == 0:
        return 0.0
    skewness, kurtosis = float((d**3).mean()) / spread**1.5, float((d**4).mean()) / spread**2
    return (skewness**2 + 1) / kurtosis


def _trained(chat: Tokens) -> NDArray[np.int32]:
    """The trained tokens, in the order of `_seen`; the first of a chat is never predicted."""
    labels = chat.labels[1:]
    return labels[labels != IGNORED]


@torch.no_grad()
def _seen(network: Any, chats: list[Tokens]) -> _Seen:
    network.eval()
    parts = []
    with progress(len(chats), "token probabilities", "chats") as bar:
        for start in range(0, len(chats), BATCH):
            batch = collate(chats[start : start + BATCH])
            labels = batch["labels"][:, 1:]
            hidden = language_model.hidden_states(network, batch)
            stats = linear_logprobs(hidden, network.lm_head.weight, labels)
            trained = labels != IGNORED
            parts.append([x[trained].double().numpy() for x in (labels, stats.logp, stats.entropy)])
            bar.advance(len(batch["labels"]))
    token, logp, entropy = (np.concatenate(column) for column in zip(*parts, strict=True))
    return _Seen(token.astype(np.int64), logp, entropy)


def _falling(was: _Seen, now: _Seen, tokenizer: Any) -> Iterator[tuple[str, float, int]]:
    """(token, mean change of log p, how often it was seen) of the tokens that fell most."""
    count = np.bincount(was.token)
    change = np.bincount(was.token, weights=now.logp - was.logp) / np.maximum(count, 1)
    often = np.flatnonzero(count >= LEAST_COUNT)
    for token in often[np.argsort(change[often], kind="stable")][:SHOWN]:
        yield tokenizer.decode([int(token)]), float(change[token]), int(count[token])


def _distance(old: Any, new: Any) -> float:
    """L2 norm of the change of all weights, over that of the old ones."""
    start = {name: p.detach().double() for name, p in old.named_parameters()}
    moved = sum(float((p.detach() - start[name]).square().sum()) for name, p in new.named_parameters())
    return float((moved / sum(float(p.square().sum()) for p in start.values())) ** 0.5)
