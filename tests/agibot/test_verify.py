"""What was written is read back: an episode that is not where its row says must never be published."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.agibot import publish, tables
from components.agibot.drop import open_drop
from components.agibot.examine import Job, examine
from components.agibot.reading import Settings
from components.agibot.validate import report
from components.agibot.verify import ends
from components.agibot.videos import VideoJoiner
from components.store.errors import OrreryError
from data_contracts.report import Decode

from .conftest import INTAKE, SETTINGS, RawDrop


def publish_all(root: Path, folder: Path, settings: Settings = SETTINGS) -> None:
    work = folder / "work"
    work.mkdir()
    drop = open_drop(root)
    found = [examine(Job(source, settings, str(work))) for source in drop.episodes.values()]
    origin = {"prefix": "raw/x/0", "fingerprint": "0" * 64}
    publish.publish(folder / "out", INTAKE, work, drop.episodes, found, report("drop", found, settings), origin)


def test_files_are_looked_at_from_both_ends() -> None:
    assert ends([(0, 0), (0, 0), (0, 0), (0, 1), (1, 0), (1, 0)]) == [0, 2, 3, 4, 5]
    assert ends([]) == []


@pytest.mark.parametrize("decode", ["full", "sampled"])
def test_a_picture_too_late_is_noticed(
    recorded: RawDrop, tmp_path: Path, decode: Decode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last episode's row names the frame after its first, as an off-by-one in joining videos would."""
    add, calls = VideoJoiner.add, []

    def late(self: VideoJoiner, blob: Any, frames: int) -> Any:
        calls.append(blob)
        place = add(self, blob, frames)
        return replace(place, start=place.start + 1) if len(calls) > 2 * (len(recorded.episodes) - 1) else place

    monkeypatch.setattr(VideoJoiner, "add", late)
    last = recorded.episodes[-1].files.episode_id
    with pytest.raises(OrreryError, match=rf"of task 9001, episode {last} is not the raw one in the new file-000\.mp4"):
        publish_all(recorded.root, tmp_path, replace(SETTINGS, decode=decode))


@pytest.mark.parametrize("nth", [0, 1])
def test_a_row_that_is_another_is_noticed(
    recorded: RawDrop, tmp_path: Path, nth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the shard's own table, and in the version's, which is written from that."""
    of = tables.table_of
    module = ("components.agibot.part", "components.agibot.publish")[nth]

    def shifted(columns: dict[str, Any]) -> Any:
        return of({n: np.roll(v, 1, axis=0) if n == "action" else v for n, v in columns.items()})

    monkeypatch.setattr(f"{module}.table_of", shifted)
    with pytest.raises(OrreryError, match=r"column action of .* is not the raw one in the new file-000\.parquet"):
        publish_all(recorded.copy(tmp_path / "drop", 1).root, tmp_path)


def test_what_is_as_it_was_is_published(recorded: RawDrop, tmp_path: Path) -> None:
    """Sampled, too, where other frames were kept to compare with."""
    publish_all(recorded.root, tmp_path, replace(SETTINGS, decode="sampled"))
    assert (tmp_path / "out" / "manifest.json").exists()
