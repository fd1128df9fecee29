"""The dataset's contract: expectations of a drop as a whole, in `suites/episodes.json`, which is reviewed like code.

The file is in Great Expectations' form and in one order (`text_of`), so that a change of one number is a diff of one
line. A team's profile changes numbers by an expectation's name, or leaves one out.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources
from typing import Any, Literal

from pydantic import Field, JsonValue

from data_contracts.base import Contract

Changes = dict[str, dict[str, JsonValue] | None]
"""By an expectation's name: numbers of it that are others, or None to leave it out."""


class Meta(Contract):
    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", description="by which a profile and a message name it")
    why: str


class Expectation(Contract):
    """One expectation. A critical one that fails keeps a version from being published."""

    meta: Meta
    type: str
    severity: Literal["critical", "warning"]
    kwargs: dict[str, JsonValue]

    @property
    def name(self) -> str:
        return self.meta.name


class Suite(Contract):
    name: str
    expectations: tuple[Expectation, ...]

    def changed(self, changes: Changes) -> Suite:
        """With a profile's changes. Raises ValueError that names what an expectation, or the suite, lacks."""
        by_name = {e.name: e for e in self.expectations}
        for name, numbers in changes.items():
            if name not in by_name:
                raise ValueError(f"contract.{name}: there is no such expectation; there are {', '.join(by_name)}")
            if numbers is None:
                del by_name[name]
                continue
            old = by_name[name]
            for key, value in numbers.items():
                if key not in old.kwargs or type(value) not in (int, float):
                    numeric = [k for k, v in old.kwargs.items() if isinstance(v, int | float)]
                    raise ValueError(f"contract.{name}.{key}: only numbers of {', '.join(numeric)} can be changed")
            by_name[name] = old.model_copy(update={"kwargs": old.kwargs | numbers})
        return self.model_copy(update={"expectations": tuple(by_name.values())})


@lru_cache
def load_suite() -> Suite:
    """The suite that comes with Orrery."""
    text = (resources.files("data_contracts") / "suites" / "episodes.json").read_text(encoding="utf-8")
    return Suite.model_validate_json(text)


def text_of(suite: Suite) -> str:
    """The one text of a suite: expectations by name, their fields in order, one value a line."""
    document: dict[str, Any] = suite.model_dump(mode="json")
    document["expectations"].sort(key=lambda e: e["meta"]["name"])
    for expectation in document["expectations"]:
        expectation["kwargs"] = dict(sorted(expectation["kwargs"].items()))
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
