"""The one place of retries: an outage of the object server is waited out with backoff and jitter, up to a deadline.

Client libraries are told not to retry, so that how long a call may take is decided here and nowhere else.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from components.store.errors import ConfigurationError

T = TypeVar("T")

CONNECT_SECONDS = 5
SILENCE_SECONDS = 30
"""A request whose peer sends nothing for so long has failed."""
REQUEST_SECONDS = 900
"""No single request (a part of at most some megabytes) takes longer."""
_DEFAULT_PATIENCE = 75.0
_MAX_ATTEMPTS = 100


def patience() -> float:
    """Seconds of outage to survive: `ORRERY_STORE_PATIENCE`, else 75."""
    text = os.environ.get("ORRERY_STORE_PATIENCE", "")
    try:
        seconds = float(text) if text else _DEFAULT_PATIENCE
    except ValueError as error:
        raise ConfigurationError(f"ORRERY_STORE_PATIENCE is {text!r}; it must be a number of seconds") from error
    if not 0 <= seconds <= 86400:
        raise ConfigurationError(f"ORRERY_STORE_PATIENCE is {text!r}; it must lie between 0 and 86400 seconds")
    return seconds


def patiently(
    call: Callable[[], T], is_outage: Callable[[BaseException], bool], where: str, seconds: float | None = None
) -> T:
    """`call()`, again and again while it fails with an outage; the last error once patience is over.

    `call` must be safe to repeat. `seconds`: how long an outage is waited out, else `patience()`.
    """
    limit = _Patience(patience() if seconds is None else seconds, where)
    retrying = Retrying(
        retry=retry_if_exception(is_outage),
        wait=wait_random_exponential(multiplier=0.1, max=3),
        stop=limit.over,
        before_sleep=limit.tell,
        reraise=True,
    )
    return retrying(call)


class _Patience:
    """Counts from the first failure of an outage. A long attempt that then fails begins a new outage."""

    def __init__(self, seconds: float, where: str) -> None:
        self.seconds, self.where = seconds, where
        self._since: float | None = None
        self._attempt_began = time.monotonic()
        self._told = False

    def over(self, state: RetryCallState) -> bool:
        now = time.monotonic()
        if self._since is None or now - self._attempt_began > max(self.seconds, SILENCE_SECONDS + 1):
            self._since = now
        return now - self._since >= self.seconds or state.attempt_number >= max(_MAX_ATTEMPTS, self.seconds)

    def tell(self, state: RetryCallState) -> None:
        assert self._since is not None
        pause = state.next_action.sleep if state.next_action else 0.0
        self._attempt_began = time.monotonic() + pause
        if not self._told and time.monotonic() - self._since > 2:
            self._told = True
            print(
                f"warning: {self.where} does not answer; trying for {self.seconds:.0f} s", file=sys.stderr, flush=True
            )
