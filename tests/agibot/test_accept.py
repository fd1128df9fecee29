"""A person may accept an episode in spite of some errors: with a reason and a name, which stay with the dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.agibot import validate
from components.agibot.config import AdoptConfig
from components.agibot.dataset import Dataset
from components.agibot.examine import accept
from components.agibot.stages import adopt, intake
from components.store.errors import ConfigurationError
from components.store.open import open_store
from data_contracts.catalogue import finding
from data_contracts.profile import Acceptance, Profile
from pipelines.recipes.overrides import override
from pipelines.recipes.robots.tiny import tiny

from .conftest import INTAKE, RawEpisode
from .damage import CLOCK, MS


def acceptance(raw: RawEpisode | None = None, **changes: Any) -> dict[str, Any]:
    task, episode = raw.key if raw is not None else (1, 2)
    given = {"task_id": task, "episode_id": episode, "codes": ["time.gap"], "by": "Ada", "reason": "the robot waited"}
    return given | changes


def test_it_is_published_and_everybody_can_see_who_accepted_it(
    one: RawEpisode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the version's record, its manifest and its report; the error is a warning that says so."""
    monkeypatch.setattr(validate, "run_tasks", lambda work, tasks, *_: ((n, work(tasks[n])) for n in range(len(tasks))))
    one.put(CLOCK, one.array(CLOCK) + (np.arange(one.frames) > 20) * 800 * MS)
    store = open_store(str(tmp_path / "store"))
    raw = adopt(store, AdoptConfig(source=str(one.root)), 0)
    unused = acceptance(one, episode_id=4711, reason="another day")
    profile = Profile.model_validate({"accept": [acceptance(one), unused]})
    record = intake(store, INTAKE.model_copy(update={"profile": profile}), 0, raw)
    folder = Path(store.url) / record.prefix
    assert record.config["profile"]["accept"][0]["by"] == "Ada"
    (entry,) = Dataset.open(folder).manifest.episodes
    assert entry.accepted == "by Ada: the robot waited (time.gap)"
    (verdict,) = json.loads((folder / "report.json").read_text())["episodes"]
    assert verdict["verdict"] == "accepted"
    (gap,) = (f for f in verdict["findings"] if f["code"] == "time.gap")
    assert gap["severity"] == "warning"
    assert gap["message"].endswith("; accepted by Ada: the robot waited")
    page = (folder / "report.html").read_text()
    assert "by Ada: the robot waited (time.gap)" in page
    assert "episode 4711" in page, "an acceptance that nothing needed may be a mistake"


def test_only_the_errors_that_were_looked_at_are_accepted() -> None:
    given = Acceptance.model_validate(acceptance())
    found, said = accept((finding("time.gap", "1 s"), finding("video.empty-file", "no bytes")), given)
    assert [f.severity for f in found] == ["warning", "error"]
    assert said == "by Ada: the robot waited (time.gap)"
    assert accept((finding("time.jitter", "x"),), given) == ((finding("time.jitter", "x"),), "")
    assert accept((finding("time.gap", "1 s"),), None)[0][0].severity == "error"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"codes": ["video.empty-file"]}, "video.empty-file can't be accepted; the errors that can be are .*time.gap"),
        ({"codes": []}, "codes"),
        ({"by": ""}, "by"),
        ({"reason": ""}, "reason"),
    ],
)
def test_nobody_accepts_what_is_not_there_or_without_a_name(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Profile.model_validate({"accept": [acceptance(**changes)]})


def test_a_profile_is_set_by_its_file(tmp_path: Path) -> None:
    """`orrery run drop_intake --set intake.profile=FILE`: what is in it travels with the configuration."""
    file = tmp_path / "ours.json"
    file.write_text(json.dumps({"name": "ours", "accept": [acceptance()]}))
    assert override(tiny(), [f"intake.profile={file}"]).intake.profile.accept[0].by == "Ada"
    assert override(tiny(), ["intake.profile=simulation"]).intake.profile.name == "simulation"
    with pytest.raises(ConfigurationError, match=r"intake.profile: profile 'none' is neither a readable file nor"):
        override(tiny(), ["intake.profile=none"])
