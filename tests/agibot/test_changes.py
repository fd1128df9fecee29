"""What a new version has otherwise: the diff must show each episode that came, went, was mended or refused."""

from __future__ import annotations

from collections.abc import Collection

from data_contracts.action import Normalisation
from data_contracts.catalogue import finding
from data_contracts.changes import EpisodeKey, Refusal, changes
from data_contracts.dataset import DatasetManifest, EpisodeEntry, SpaceStatistics
from data_contracts.report import EpisodeVerdict, Summary, ValidationReport

Version = tuple[DatasetManifest, ValidationReport]
SUMMARY = Summary(accepted=0, repaired=0, quarantined=0, frames=0, seconds=0)


def version(
    raw: dict[int, str], repaired: Collection[int] = (), refused: Collection[int] = (), mean: float = 0.0
) -> Version:
    """A version of episodes by their raw files' hash; `mean` is its mean action."""
    entries = tuple(
        EpisodeEntry(
            index=n, task_id=1, episode_id=e, instruction="press", frames=9, repaired=e in repaired, source_sha256=sha
        )
        for n, (e, sha) in enumerate(raw.items())
    )
    scale = Normalisation(mean=(0.0, mean), std=(1.0, 0.5))
    statistics = SpaceStatistics(space="joint", form="absolute", normalisation=scale, q01=(0, 0), q99=(1, 1))
    manifest = DatasetManifest(
        name="d", embodiment="agibot_g1", fps=30, cameras=("head_color",), episodes=entries, statistics=(statistics,),
        state_statistics={}, summary=SUMMARY, source={},
    )  # fmt: skip
    found = (finding("video.empty-file", "no bytes"), finding("time.jitter", "uneven"))
    verdicts = tuple(EpisodeVerdict(task_id=1, episode_id=e, verdict="quarantined", findings=found) for e in refused)
    return manifest, ValidationReport(source="drop", episodes=verdicts, summary=SUMMARY)


def key(episode: int) -> EpisodeKey:
    return EpisodeKey(task_id=1, episode_id=episode)


def test_equal_versions_differ_in_nothing() -> None:
    one = version({1: "a", 2: "b"}, repaired={2}, refused=(3,), mean=1.0)
    found = changes(*one, *one).model_dump()
    assert found.pop("drift") == {"joint": 0.0}
    assert set(found.values()) == {()}


def test_every_kind_of_change_is_told() -> None:
    old = version({1: "a", 2: "b", 3: "c"}, repaired={1}, refused=(7,))
    new = version({2: "b", 3: "other", 4: "d"}, repaired={4}, refused=(7, 8), mean=1.0)
    found = changes(*old, *new)
    assert found.added == (key(4),)
    assert found.removed == (key(1),)
    assert found.changed == (key(3),)
    assert found.repaired == (key(4),)
    assert found.refused == (Refusal(task_id=1, episode_id=8, codes=("video.empty-file",)),), "errors alone refuse"
    assert found.drift == {"joint": 2.0}, "one unit is two of the older version's deviations"
