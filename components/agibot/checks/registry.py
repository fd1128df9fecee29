"""Every check there is of an episode that was read. A new one is a function and a line here.

A check takes the evidence and yields findings; it says nothing about what it lacks the evidence for. What keeps a part
from being read at all is found by its reader: `drop`, `proprio`, `arrays`, `video`, `calibration`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from components.agibot.checks.arrays import check_copied
from components.agibot.checks.calibration import check_poses
from components.agibot.checks.clock import check_clock
from components.agibot.checks.depth import check_depth
from components.agibot.checks.evidence import Evidence
from components.agibot.checks.flanges import check_flanges
from components.agibot.checks.grippers import check_grippers
from components.agibot.checks.joints import check_joints
from components.agibot.checks.language import check_language
from components.agibot.checks.pictures import check_pictures
from data_contracts.reasons import Finding

CHECKS: tuple[Callable[[Evidence], Iterable[Finding]], ...] = (
    check_clock,
    check_joints,
    check_flanges,
    check_grippers,
    check_copied,
    check_pictures,
    check_poses,
    check_language,
    check_depth,
)


def run_checks(evidence: Evidence) -> list[Finding]:
    """What all checks find, in their order."""
    return [found for check in CHECKS for found in check(evidence)]
