"""If these fail, a terminated run keeps its GPUs for days, or a training is ended that somebody waits for."""

from __future__ import annotations

import threading

import pytest

from components.launcher import lease
from components.launcher.lease import Lease, Watch, check, watching
from components.store.api import Store
from components.store.errors import OrreryError, StoreError

KEY = "checkpoints/ge_base.stage1/v/lease-1.txt"


class Clock:
    """Both of `time`'s clocks, as the test wants them."""

    def __init__(self) -> None:
        self.now = 1e9

    def time(self) -> float:
        return self.now

    monotonic = time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lease, "time", clock)
    return clock


def test_a_lease_lapses_when_nobody_renews_it(folder_store: Store, clock: Clock) -> None:
    watch = Watch(folder_store, KEY)
    clock.now += 10 * lease.LAPSE_SECONDS
    assert not watch.lapsed(), "a step of an older version has none"
    for _ in range(3):  # steps of one training, one after another
        with Lease(folder_store, KEY):
            check(folder_store, KEY)
        clock.now += 0.9 * lease.LAPSE_SECONDS
        assert not watch.lapsed()
    clock.now += 1.1 * lease.LAPSE_SECONDS
    assert watch.lapsed()
    with pytest.raises(OrreryError, match="nobody waits for this training any more"):
        check(folder_store, KEY)


def test_a_store_that_is_away_ends_no_training(
    folder_store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def away(*_: object) -> bytes:
        raise StoreError("MinIO does not answer")

    watch = Watch(folder_store, KEY)
    with Lease(folder_store, KEY):
        assert not watch.lapsed()
        with monkeypatch.context() as patch:
            patch.setattr(folder_store, "read", away)
            patch.setattr(folder_store, "overwrite", away)
            clock.now += 2 * lease.LAPSE_SECONDS
            assert not watch.lapsed()
            with Lease(folder_store, KEY):
                pass
    assert "could not be renewed: MinIO does not answer" in capsys.readouterr().err
    assert not watch.lapsed(), "from now on its time counts again"


def test_the_training_is_ended_once(folder_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.01)
    ended = threading.Event()
    with Lease(folder_store, KEY):
        pass
    monkeypatch.setattr(lease, "LAPSE_SECONDS", 0.05)
    with watching(folder_store, KEY, ended.set):
        assert ended.wait(60)
