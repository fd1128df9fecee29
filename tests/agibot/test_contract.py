"""The dataset's contract: a drop that is mostly bad, or of another kind, is refused; a small one is not judged."""

from __future__ import annotations

import pytest

from components.agibot.contract import LEAST_EPISODES, Outcome, check_contract, require, suite
from components.agibot.examine import Examined
from components.store.errors import OrreryError
from data_contracts.catalogue import finding

SOUND = {
    "frames": 100.0, "seconds": 3.3, "cameras": 3.0, "steps": 3.0, "labelled_share": 1.0, "joint_speed_max": 1.0,
    "joint_speed_mean": 0.1, "action_error_mean": 0.02, "end_travel_m": 0.6, "gripper_action_mean": 0.5,
    "luma_mean": 120.0,
}  # fmt: skip


def episodes(count: int, bad: int = 0, **changes: float) -> list[Examined]:
    """`count` episodes, the last `bad` of them quarantined."""
    good = [
        Examined(task_id=1, episode_id=n, verdict="accepted", aggregates=SOUND | changes) for n in range(count - bad)
    ]
    found = (finding("video.empty-file", "no bytes"),)
    return good + [Examined(task_id=1, episode_id=count + n, verdict="quarantined", findings=found) for n in range(bad)]


def failed(outcomes: list[Outcome]) -> set[tuple[str, str]]:
    return {(o.column, o.severity) for o in outcomes if not o.passed}


@pytest.mark.slow
def test_the_suite_judges_drops() -> None:
    """Every expectation has a drop that fails it; one of a kind keeps them all."""
    assert failed(check_contract(episodes(40))) == set()
    assert failed(check_contract(episodes(40, bad=6))) == {("usable", "warning")}
    assert failed(check_contract(episodes(40, bad=25))) == {("usable", "warning"), ("usable", "critical")}
    assert failed(check_contract(episodes(40, action_error_mean=0.5))) == {("action_error_mean", "critical")}
    assert failed(check_contract(episodes(40, seconds=0.1))) == {("seconds", "critical")}
    assert failed(check_contract(episodes(40, end_travel_m=0.0))) == {("end_travel_m", "critical")}
    assert failed(check_contract(episodes(40, labelled_share=0.1))) == {("labelled_share", "warning")}
    assert failed(check_contract(episodes(40, luma_mean=3.0))) == {("luma_mean", "warning")}
    repaired = [e.model_copy(update={"verdict": "repaired"}) for e in episodes(40)]
    assert failed(check_contract(repaired)) == {("repaired", "warning")}
    warned = [e.model_copy(update={"findings": (finding("time.jitter", "uneven"),)}) for e in episodes(40)]
    assert failed(check_contract(warned)) == {("warned", "warning")}


def test_few_episodes_are_not_judged() -> None:
    assert check_contract(episodes(LEAST_EPISODES - 1, bad=LEAST_EPISODES - 2)) == []


def test_only_critical_expectations_refuse() -> None:
    """And the message says which, what was seen, and what to do."""
    outcome = Outcome("mean within 0.5 .. any", "usable", "warning", False, "0.2", "Too few.")
    require([outcome], "drop")
    with pytest.raises(OrreryError, match=r"drop .* mean within 0.5 .. any of usable \(observed 0.2\): Too few. Mend"):
        require([Outcome("mean within 0.5 .. any", "usable", "critical", False, "0.2", "Too few.")], "drop")


def test_every_expectation_says_why() -> None:
    for expectation in suite()["expectations"]:
        assert expectation["severity"] in ("critical", "warning")
        assert expectation["meta"]["why"].endswith(".")
        assert expectation["kwargs"]["column"] in {"usable", "repaired", "warned", *SOUND}
