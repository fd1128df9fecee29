"""What a dataset version says of itself: `datasets/<name>/<version>/manifest.json`, beside LeRobot v3 files."""

from __future__ import annotations

from pydantic import Field

from data_contracts.action import Form, Normalisation, Space
from data_contracts.base import Contract
from data_contracts.report import Summary


class Repair(Contract):
    """An array of an episode that was mended, provably: nothing is ever filled in."""

    key: str = Field(description="the array in proprio_stats.h5")
    reason: str = Field(description="code of the finding that tells it")
    rows: tuple[int, int] = Field(description="before and after")
    before: str = Field(description="SHA-256 of its shape and its values in double precision, as recorded")
    after: str = Field(description="... and as mended")


class EpisodeEntry(Contract):
    """One published episode. `index` is LeRobot's episode index; ids are the raw drop's."""

    index: int = Field(ge=0)
    task_id: int
    episode_id: int
    instruction: str
    frames: int = Field(gt=0)
    repaired: bool = False
    repairs: tuple[Repair, ...] = Field(default=(), description="what was mended")
    accepted: str = Field(default="", description="who accepted it in spite of errors, why, and which")
    source_sha256: str = Field(description="hash over the raw files the episode was made from")
    place: str = Field(default="", description="hash of where these files lie, if that is known")


class SpaceStatistics(Contract):
    """Statistics of one action space in one form, over all frames of an embodiment."""

    space: Space
    form: Form
    normalisation: Normalisation
    q01: tuple[float, ...]
    q99: tuple[float, ...]


class TakenDrop(Contract):
    """A drop that was taken into a dataset, and what became of its episodes."""

    prefix: str
    fingerprint: str
    rules: str = Field(default="", description="fingerprint of the configuration and the code that judged it")
    added: int = Field(ge=0)
    refused: int = Field(ge=0)


class DatasetManifest(Contract):
    name: str
    embodiment: str
    fps: int
    cameras: tuple[str, ...]
    format: str = "lerobot-v3.0"
    episodes: tuple[EpisodeEntry, ...]
    statistics: tuple[SpaceStatistics, ...]
    state_statistics: dict[str, Normalisation] = Field(description="by space: the state in that space's layout")
    summary: Summary = Field(description="of every drop that was taken in")
    source: dict[str, str] = Field(description="the raw drop's prefix and fingerprint: the newest one's")
    parent: str = Field(default="", description="the version that this one was joined to: its files are referred to")
    drops: tuple[TakenDrop, ...] = Field(default=(), description="every drop that was taken in, oldest first")

    def statistics_of(self, space: Space, form: Form) -> SpaceStatistics:
        for candidate in self.statistics:
            if (candidate.space, candidate.form) == (space, form):
                return candidate
        have = sorted(f"{s.space}/{s.form}" for s in self.statistics)
        raise KeyError(f"dataset {self.name} has no statistics for {space}/{form}; it has {have}")
