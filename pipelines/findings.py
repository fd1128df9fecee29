"""What a doctor finds. Importing this imports nothing heavy: `orrery --help` does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "missing"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `missing` stops pipelines on this cluster; `warn` stops some of them, or nothing."""

    name: str
    state: State
    what: str
    mend: str = ""
