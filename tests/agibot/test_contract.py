"""The dataset's contract: a drop that is mostly bad, of another kind, or unlike the last version, is refused."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from components.agibot.contract import DRIFT, LEAST_EPISODES, Judgement, Outcome, check_contract, require
from components.agibot.drift import by_chance, distance, places
from components.agibot.examine import Examined
from components.agibot.quarantine import keep_contract
from components.store.errors import OrreryError
from components.store.open import open_store
from components.telemetry.report import Report
from data_contracts.catalogue import finding
from data_contracts.profile import Profile
from data_contracts.suite import load_suite, text_of

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


def varied(count: int, seed: int, task: int = 1, first: int = 0, **changes: float) -> list[Examined]:
    """`count` episodes of a task whose numbers vary by a tenth about `SOUND` with `changes`."""
    rng = np.random.default_rng(seed)
    return [
        Examined(
            task_id=task, episode_id=first + n, verdict="accepted",
            aggregates={name: value * (1 + 0.1 * rng.normal()) for name, value in (SOUND | changes).items()},
        )
        for n in range(count)
    ]  # fmt: skip


def failed(judgement: Judgement) -> set[str]:
    return {o.name for o in judgement.outcomes if o.passed is False}


@pytest.mark.slow
def test_the_suite_judges_drops() -> None:
    """Every expectation has a drop that fails it; one of a kind keeps them all."""
    assert failed(check_contract(episodes(40))) == set()
    assert failed(check_contract(episodes(40, bad=6))) == {"usable-nearly-all"}
    assert failed(check_contract(episodes(40, bad=25))) == {
        "usable-nearly-all", "usable-most", "usable-in-every-task",
    }  # fmt: skip
    assert failed(check_contract(episodes(40, action_error_mean=0.5))) == {"commands-near-states"}
    assert failed(check_contract(episodes(40, seconds=0.1))) == {"seconds-plausible"}
    assert failed(check_contract(episodes(40, end_travel_m=0.0))) == {"hands-move"}
    assert failed(check_contract(episodes(40, labelled_share=0.1))) == {"labels-cover"}
    assert failed(check_contract(episodes(40, luma_mean=3.0))) == {"pictures-lit"}
    repaired = [e.model_copy(update={"verdict": "repaired"}) for e in episodes(40)]
    assert failed(check_contract(repaired)) == {"repaired-few"}
    warned = [e.model_copy(update={"findings": (finding("time.jitter", "uneven"),)}) for e in episodes(40)]
    assert failed(check_contract(warned)) == {"warned-few"}


@pytest.mark.slow
def test_a_task_that_is_lost_is_seen_among_many_good_ones() -> None:
    """Nine tenths of all are usable, yet of task 2 none: a mean over the drop would not show it."""
    lost = [e.model_copy(update={"task_id": 2, "verdict": "quarantined"}) for e in episodes(6)]
    outcomes = {o.name: o for o in check_contract([*episodes(60), *lost]).outcomes}
    assert outcomes["usable-nearly-all"].passed
    assert outcomes["usable-in-every-task"].passed is False
    assert "{'2': 0.0}" in outcomes["usable-in-every-task"].observed


@pytest.mark.slow
def test_drift_against_the_last_version_is_judged_task_for_task() -> None:
    """Neither another mix of the same tasks nor a new task is drift; the same task done otherwise is."""
    slow, fast = {"joint_speed_mean": 0.1}, {"joint_speed_mean": 0.4}
    known = [*varied(80, 1, task=1, **slow), *varied(20, 2, task=2, **fast)]
    mixed = [*varied(20, 3, task=1, **slow), *varied(80, 4, task=2, **fast), *varied(30, 5, task=3, luma_mean=30.0)]
    assert failed(check_contract(mixed, known)) == set()
    swapped = [*varied(40, 6, task=1, **fast), *varied(40, 7, task=2, **slow)]
    assert failed(check_contract(swapped, known)) == {"drift-of-speed"}, "though the mean over tasks is the same"
    faster = [*varied(40, 6, task=1, **fast), *varied(40, 7, task=2, joint_speed_mean=1.6)]
    assert failed(check_contract(faster, known)) == {"drift-of-speed", "drift-of-speed-extreme"}
    darker = varied(60, 8, luma_mean=96.0)
    assert failed(check_contract(darker, known)) == {"drift-of-light"}, "a warning"
    changes = {"drift-of-light": {"max_distance": 0.9}}
    assert failed(check_contract(darker, known, changes)) == set(), "a team's own number"


@pytest.mark.slow
def test_without_enough_to_compare_with_drift_is_not_judged() -> None:
    """Neither kept nor broken: a first version, a dataset of other tasks, or a few episodes of the same ones."""
    for known in ([], varied(60, 1, task=9), varied(LEAST_EPISODES - 1, 1, joint_speed_mean=9.0)):
        drifts = [o for o in check_contract(episodes(40), known).outcomes if o.name.startswith("drift")]
        assert {(o.passed, o.observed[:10]) for o in drifts} == {(None, "fewer than")}


def single(task: int, values: Iterable[float]) -> list[Examined]:
    return [Examined(task_id=task, episode_id=n, verdict="accepted", aggregates={"x": v}) for n, v in enumerate(values)]


def apart(new: Iterable[float], old: Iterable[float], resolution: float = 0.0) -> float:
    found = places(single(1, new), single(1, old), "x", resolution)
    return distance(found.least, found.most)


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 999), min_size=1, max_size=60, unique=True),
    st.lists(st.integers(0, 999), min_size=1, max_size=60, unique=True),
)
def test_the_distance_is_kolmogorovs(new: list[int], old: list[int]) -> None:
    """As SciPy computes it; and values that are equal to the resolution are not apart at all."""
    assert apart(new, old) == pytest.approx(ks_2samp(new, old).statistic)
    assert apart(new, old, 1000.0) == 0.0
    assert apart(old, old) < 1e-12


def test_noise_about_a_constant_is_no_drift() -> None:
    """A gripper that no task uses is closed in every episode, but for its sensor's noise."""
    noisy = 1 + np.random.default_rng(0).normal(0, 1e-3, 50)
    assert apart(noisy, np.ones(50)) > 0.4
    assert apart(noisy, np.ones(50), 0.05) == 0.0


def test_samples_of_one_distribution_are_rarely_far_apart() -> None:
    """The bound of chance is a bound: of 400 drops of two tasks of very unequal numbers, at most two exceed it."""
    rng, beyond = np.random.default_rng(0), 0
    for _ in range(400):
        new = [*single(1, rng.normal(0, 1, 30)), *single(2, rng.normal(9, 1, 5))]
        known = [*single(1, rng.normal(0, 1, 20)), *single(2, rng.normal(9, 1, 90))]
        found = places(new, known, "x", 0.0)
        assert (found.count, found.earlier) == (35, 110)
        beyond += distance(found.least, found.most) > by_chance(found.count, found.size)
    assert beyond <= 2


def test_few_episodes_are_not_judged() -> None:
    assert check_contract(episodes(LEAST_EPISODES - 1, bad=LEAST_EPISODES - 2)) == Judgement()


def outcome(severity: str) -> Outcome:
    return Outcome("usable-most", "mean within 0.5 .. any", "usable", severity, False, "0.2", "Too few.")


def test_only_critical_expectations_refuse_and_leave_their_reports(tmp_path: Path) -> None:
    """The message says which, what was seen, what to do, and where the reports are."""
    require(Judgement((outcome("warning"),)), "drop", "place")
    store, broken = open_store(str(tmp_path)), Judgement((outcome("critical"),), "<p>docs</p>")
    said = r"drop .* usable-most: usable, mean within 0.5 .. any, is 0.2. Too few. Mend .* quarantine/contract/d/v/$"
    for _ in range(2):  # a retry finds its own reports
        with pytest.raises(OrreryError, match=said):
            keep_contract(store, "d/v", "drop", broken, Report(title="x", sections=[]))
    kept = {s.key.rpartition("/")[2] for s in store.list("quarantine/contract/d/v")}
    assert kept == {"report.html", "data_docs.html", "outcomes.json"}


@pytest.mark.slow
def test_data_docs_need_no_network() -> None:
    """Every expectation that was judged is told, and nothing is fetched: no script, no picture, no address."""
    judgement = check_contract(varied(40, 1, joint_speed_mean=0.5), varied(40, 2))
    page = judgement.data_docs
    assert "not all kept" in page
    assert page.count("distribution must be within") == sum(e.type == DRIFT for e in load_suite().expectations)
    assert not re.search(r"https?:|//[a-z]|src=|<script|<link|url\(", page)
    assert page == check_contract(varied(40, 1, joint_speed_mean=0.5), varied(40, 2)).data_docs


def test_every_expectation_says_why() -> None:
    for expectation in load_suite().expectations:
        assert expectation.meta.why.endswith(".")
        assert expectation.kwargs["column"] in {"usable", "repaired", "warned", *SOUND}


def test_a_change_of_the_suite_is_a_diff_of_one_line() -> None:
    """The file has one order and one form; whoever changes it otherwise hides the change from its reviewer."""
    text = (resources.files("data_contracts") / "suites" / "episodes.json").read_text(encoding="utf-8")
    assert text == text_of(load_suite()), "sort the expectations by name, one value a line"
    names = [e.name for e in load_suite().expectations]
    assert len(set(names)) == len(names)
    changed = text_of(load_suite().changed({"usable-most": {"min_value": 0.6}}))
    assert lines(text, changed) == {'-        "min_value": 0.5', '+        "min_value": 0.6'}
    shorter = text_of(load_suite().changed({"usable-most": None}))
    assert {line[0] for line in lines(text, shorter)} == {"-"}


def lines(old: str, new: str) -> set[str]:
    found: Iterable[str] = difflib.unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm="")
    return {line for line in found if not line.startswith(("---", "+++", "@@"))}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"usable": {"min_value": 0.1}}, "contract.usable: there is no such expectation; there are .*usable-most"),
        ({"usable-most": {"least": 0.1}}, "contract.usable-most.least: only numbers of min_value can be changed"),
        ({"usable-most": {"min_value": "x"}}, "only numbers of min_value"),
    ],
)
def test_a_profile_changes_only_what_is_there(changes: dict[str, dict[str, object]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Profile.model_validate({"contract": changes})
    assert Profile.model_validate({"contract": {"usable-most": {"min_value": 0.2}}}).contract
