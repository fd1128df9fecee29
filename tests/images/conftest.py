"""The images as their files describe them; only test_container.py needs a container engine."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from components import images

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENT = re.compile(r"^([a-z0-9][a-z0-9._-]*)(?:\[[a-z0-9,_-]+\])?==(\S+)", re.MULTILINE)

Instruction = tuple[str, str]
"""(keyword, the rest of the line, continuations joined)."""


@pytest.fixture(params=images.names())
def image_name(request: pytest.FixtureRequest) -> str:
    """Each image of images.json in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def locked() -> Callable[[str], dict[str, str]]:
    """`locked(image)`: the versions in its lock, by distribution. `dev` is the development environment's."""

    def versions(image: str) -> dict[str, str]:
        return dict(REQUIREMENT.findall((ROOT / "images" / image / "requirements.lock").read_text()))

    return versions


@pytest.fixture(scope="session")
def dockerfile() -> Callable[[str], list[Instruction]]:
    """`dockerfile(image)`: its instructions, in order."""

    def instructions(image: str) -> list[Instruction]:
        text = (ROOT / "images" / image / "Dockerfile").read_text()
        text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
        lines = [line.split(None, 1) for line in text.splitlines() if line.strip()]
        return [(keyword, " ".join(rest.split())) for keyword, rest in lines]

    return instructions


@pytest.fixture(scope="session")
def in_context() -> Callable[[str], bool]:
    """`in_context(path)`: whether .dockerignore lets a build see a path. Of rules that match, the last one decides."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]

    def seen(path: str) -> bool:
        kept = True
        for rule in rules:
            if _matches(rule.removeprefix("!"), path):
                kept = rule.startswith("!")
        return kept

    return seen


def _matches(rule: str, path: str) -> bool:
    """A rule for a folder holds for everything below it."""
    pattern = re.escape(rule).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
    return re.fullmatch(rf"{pattern}(?:/.*)?", path) is not None
