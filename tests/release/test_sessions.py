"""If these fail, one robot's memory reaches another robot, or a flood of requests throws robots out."""

from __future__ import annotations

import pytest

from components.release.sessions import RequestError, Sessions


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> Sessions[list[str]]:
    return Sessions(list, limit=2, idle_s=100, protect_s=10, clock=clock)


def use(sessions: Sessions[list[str]], name: str, fresh: bool = False, executed: int = 0) -> list[str]:
    memory = [*sessions.get(name, fresh=fresh, executed_steps=executed), name]
    sessions.keep(name, memory)
    return memory


def test_each_name_has_its_own_memory(sessions: Sessions[list[str]]) -> None:
    use(sessions, "a")
    use(sessions, "b")
    assert use(sessions, "a", executed=5) == ["a", "a"]


def test_reset_begins_anew(sessions: Sessions[list[str]]) -> None:
    use(sessions, "a")
    assert use(sessions, "a", fresh=True) == ["a"]


def test_nothing_is_kept_of_a_request_that_failed(sessions: Sessions[list[str]]) -> None:
    sessions.get("a", fresh=True, executed_steps=0)
    assert len(sessions) == 0


def test_an_idle_session_is_forgotten_and_says_so(sessions: Sessions[list[str]], clock: Clock) -> None:
    use(sessions, "a")
    clock.now = 101
    with pytest.raises(RequestError, match="reset=true"):
        sessions.get("a", fresh=False, executed_steps=18)
    assert use(sessions, "a", fresh=True) == ["a"]


def test_a_used_session_does_not_expire(sessions: Sessions[list[str]], clock: Clock) -> None:
    for clock.now in (0, 60, 120, 180):
        memory = use(sessions, "a")
    assert memory == ["a"] * 4


def test_a_new_session_takes_the_longest_idle_place(sessions: Sessions[list[str]], clock: Clock) -> None:
    use(sessions, "a")
    clock.now = 5
    use(sessions, "b")
    clock.now = 12
    use(sessions, "c")
    assert len(sessions) == 2
    assert use(sessions, "b", executed=1) == ["b", "b"]
    with pytest.raises(RequestError, match="not known"):
        sessions.get("a", fresh=False, executed_steps=1)


def test_a_flood_of_new_names_does_not_push_out_moving_robots(sessions: Sessions[list[str]], clock: Clock) -> None:
    use(sessions, "a")
    use(sessions, "b")
    for i in range(20):
        with pytest.raises(RequestError, match="taken by active robots; retry in"):
            sessions.get(f"flood{i}", fresh=True, executed_steps=0)
    assert use(sessions, "a", executed=1) == ["a", "a"]
