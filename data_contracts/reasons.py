"""Reason codes: the one vocabulary for what can be wrong with an episode."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from data_contracts.base import Contract

Severity = Literal["error", "warning", "info"]
AREAS = (
    "inventory", "archive", "hdf5", "time", "kinematics", "video", "depth", "calibration", "language", "duplicate",
)  # fmt: skip


class Reason(Contract):
    """A catalogued finding: its code `area.kebab-case`, how bad it is, what it means and the usual mend."""

    code: str = Field(pattern=r"^[a-z0-9]+\.[a-z0-9]+(-[a-z0-9]+)*$")
    severity: Severity
    meaning: str
    mend: str
    acceptable: bool = Field(
        default=False, description="the data is whole, only doubtful: a person may accept an episode in spite of it"
    )

    @field_validator("code")
    @classmethod
    def _known_area(cls, code: str) -> str:
        area = code.split(".")[0]
        if area not in AREAS:
            raise ValueError(f"area {area!r} is not one of {', '.join(AREAS)}")
        return code


class Finding(Contract):
    """One thing found in one episode. `where` names the file, key, camera or frame span."""

    code: str
    severity: Severity
    message: str
    where: str = ""
