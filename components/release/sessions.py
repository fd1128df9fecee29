"""Robot sessions of a served policy: each has its own memory frames; none can disturb another.

The number of sessions is bounded. A session that was idle for `idle_s` is forgotten; when all places are taken, the
longest-idle session makes room, but only if it has been quiet for `protect_s`: a flood of new names can't push out
robots that are moving.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Memory = TypeVar("Memory")


class RequestError(ValueError):
    """A request that can't be answered; the message says why, and what to send instead."""


@dataclass(slots=True)
class _Entry(Generic[Memory]):
    memory: Memory
    used_at: float


class Sessions(Generic[Memory]):
    """Memories by session name, least recently used first. Not thread-safe: one model instance answers in turn."""

    def __init__(
        self,
        create: Callable[[], Memory],
        *,
        limit: int = 256,
        idle_s: float = 600.0,
        protect_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._create, self._limit, self._idle_s, self._protect_s = create, limit, idle_s, protect_s
        self._clock = clock
        self._entries: OrderedDict[str, _Entry[Memory]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, name: str, *, fresh: bool, executed_steps: int) -> Memory:
        """The memory to observe with: a new one if `fresh` or unknown. Nothing is kept until `keep`.

        An unknown session that says it has executed steps has lost its memory (idle too long, or the server was
        replaced): going on in silence would feed the policy a wrong past, so that is a RequestError.
        """
        self._expire()
        entry = self._entries.get(name)
        if entry is not None and not fresh:
            return entry.memory
        if entry is None and not fresh and executed_steps > 0:
            raise RequestError(
                f"session {name!r} is not known here (idle for more than {self._idle_s:g} s, or the server restarted); "
                "send reset=true to start it again"
            )
        if entry is None and len(self._entries) >= self._limit:
            self._check_room()
        return self._create()

    def keep(self, name: str, memory: Memory) -> None:
        """Remember `memory` as the session's, after its request succeeded."""
        if name not in self._entries and len(self._entries) >= self._limit:
            self._entries.popitem(last=False)
        self._entries[name] = _Entry(memory, self._clock())
        self._entries.move_to_end(name)

    def _expire(self) -> None:
        horizon = self._clock() - self._idle_s
        while self._entries and next(iter(self._entries.values())).used_at < horizon:
            self._entries.popitem(last=False)

    def _check_room(self) -> None:
        quiet = self._clock() - next(iter(self._entries.values())).used_at
        if quiet < self._protect_s:
            raise RequestError(
                f"all {self._limit} session places are taken by active robots; retry in {self._protect_s - quiet:.0f} s"
            )
