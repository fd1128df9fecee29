"""What online training earned, rollout by rollout: curves beside each other, and what the policy wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from pydantic import ValidationError

from components.store.errors import OrreryError
from components.telemetry.charts import Curve, small_multiples
from components.telemetry.report import Block, Details, Figure, Section, Table
from data_contracts.lineage import StageRecord
from data_contracts.rollouts import Example, RolloutSummary
from pipelines.report.reading import Reader
from pipelines.report.training import parse_losses

Rollouts = list[RolloutSummary]
CURVES: dict[str, Callable[[RolloutSummary], float | None]] = {
    "Reward": lambda r: r.reward,
    "Uncertainty of the solver": lambda r: r.of_task.get("uncertainty"),
    "Share of its cluster": lambda r: r.of_task.get("repetition"),
    "Proper questions": lambda r: r.of_task.get("proper"),
    "Groups that teach": lambda r: r.informative,
    "Tokens": lambda r: r.tokens,
}
DIVERGENCE = "KL from the start"
_ARMS = {"dft.grpo": "GRPO", "dft.ppo": "PPO-style"}


def sections(reader: Reader) -> list[Section]:
    """The online arms of DFT; R-Zero's players have a section of their own."""
    blocks: list[Block] = []
    for stage, arm in _ARMS.items():
        found = {
            f"seed {record.stage.removeprefix(stage).strip('-') or record.seed}": record
            for record in reader.holding("rollouts.jsonl")
            if record.stage == stage or record.stage.startswith(f"{stage}-")
        }
        blocks += curves(reader, found, f"{arm}: means of each rollout; what is paid is a right answer.")
        blocks += written(reader, {f"What {arm} wrote last, {name}": record for name, record in found.items()})
    return [Section("Online: what the arms earned while they learned", blocks)] if blocks else []


def curves(reader: Reader, trained: Mapping[str, StageRecord], caption: str) -> Iterator[Block]:
    """A panel for each quantity that was measured, with a curve for each training (label -> record)."""
    found = {name: rollouts for name, record in trained.items() if (rollouts := _read(reader, record))}
    panels = {
        title: lines
        for title, value in CURVES.items()
        if (lines := [line for name, rollouts in found.items() if (line := _curve(name, rollouts, value)).y])
    }
    divergence = [_divergence(reader, name, trained[name], len(rollouts)) for name, rollouts in found.items()]
    if drawn := [line for line in divergence if line.y]:
        panels[DIVERGENCE] = drawn
    if panels:
        yield Figure(small_multiples(panels, "rollout", columns=min(4, len(panels))), wide=True, caption=caption)


def written(reader: Reader, trained: Mapping[str, StageRecord]) -> Iterator[Block]:
    """The best of the last rollout of each training (title -> record)."""
    for title, record in trained.items():
        if rollouts := _read(reader, record):
            yield Details(title, [examples(rollouts[-1].examples)])


def examples(shown: tuple[Example, ...]) -> Table:
    return Table(["Text", ""], [[example.text, example.note] for example in shown])


def _read(reader: Reader, record: StageRecord) -> Rollouts:
    try:
        lines = reader.read(record, "rollouts.jsonl").splitlines()
        return [RolloutSummary.model_validate_json(line) for line in lines]
    except (ValidationError, OrreryError, KeyError):
        return []


def _curve(name: str, rollouts: Rollouts, value: Callable[[RolloutSummary], float | None]) -> Curve:
    points = [(r.rollout, found) for r in rollouts if (found := value(r)) is not None]
    return Curve(name, [x for x, _ in points], [y for _, y in points])


def _divergence(reader: Reader, name: str, record: StageRecord, rollouts: int) -> Curve:
    """From the training's log, which counts steps: the last step is the last rollout's."""
    try:
        lines = parse_losses(reader.read(record, "losses.jsonl"))
    except (OrreryError, KeyError):
        lines = []
    last = max((line["step"] for line in lines), default=1.0) or 1.0
    points = [(line["step"] / last * rollouts - 1, line["kl"]) for line in lines if "kl" in line]
    return Curve(name, [x for x, _ in points], [y for _, y in points])
