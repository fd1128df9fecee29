"""`--set`: values of every type, and errors that a person can act on."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from components.store.errors import ConfigurationError
from data_contracts.base import Contract
from pipelines.recipes.overrides import keys, override


class Inner(Contract):
    steps: int = 10
    rate: float = 0.1
    warmup: int = 2
    kind: Literal["constant", "cosine"] = "constant"
    names: tuple[str, ...] = ("a",)
    grid: tuple[int, int] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Inner:
        if self.warmup >= self.steps:
            raise ValueError(f"warmup {self.warmup} leaves nothing of {self.steps} steps; lower warmup")
        return self


class Outer(Contract):
    name: str = "outer"
    seed: int = 0
    train: Inner = Inner()
    estimates: dict[str, float] = Field(default={"a.b": 1.0})


def test_values_take_the_fields_type() -> None:
    """A value read as the wrong type would silently train something else."""
    values = {"steps": "20", "rate": "1e-3", "kind": "cosine", "names": "x, y", "grid": "3,4"}
    changed = override(Outer(), ["name=7", *(f"train.{name}={value}" for name, value in values.items())])
    assert changed.name == "7"
    assert changed.train == Inner(steps=20, rate=1e-3, kind="cosine", names=("x", "y"), grid=(3, 4))
    assert override(changed, ["train.grid=null"]).train.grid is None
    assert override(changed, ["train.names=[]"]).train.names == ()


def test_cross_field_checks_see_all_settings_together() -> None:
    """Two settings that only fit together must be accepted together."""
    assert override(Outer(), ["train.warmup=50", "train.steps=100"]).train.warmup == 50


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("train.step=3", ["no 'train.step'", "train.steps"]),
        ("steps=3", ["no 'steps'", "train.steps"]),
        ("train=3", ["it is a group", "train.rate"]),
        ("train.zzz=3", ["train.rate", "train.kind"]),
        ("seed", ["KEY=VALUE", "--set seed=1"]),
        ("=1", ["KEY=VALUE"]),
        ("seed=abc", ["seed", "'abc'"]),
        ("train.steps=1.5", ["train.steps", "1.5"]),
        ("train.kind=linear", ["train.kind", "constant", "cosine"]),
        ("train.steps=2", ["train", "lower warmup"]),
        ("train.steps=NaN", ["train.steps"]),
    ],
)
def test_errors_name_the_field_and_the_mend(setting: str, parts: list[str]) -> None:
    """A user who mistypes a key has to learn which one was meant."""
    with pytest.raises(ConfigurationError) as caught:
        override(Outer(), [setting])
    for part in parts:
        assert part in str(caught.value)
    assert caught.value.exit_code == 2


def test_every_key_can_be_set() -> None:
    """A key that is listed but refused would be a dead end."""
    assert keys(Outer()) == [
        "name", "seed", "train.steps", "train.rate", "train.warmup", "train.kind", "train.names", "train.grid",
        "estimates.a.b",
    ]  # fmt: skip
    assert override(Outer(), ["estimates.a.b=3"]).estimates == {"a.b": 3.0}


@given(st.text(max_size=40))
def test_any_text_is_a_value_or_a_clear_error(text: str) -> None:
    """Whatever is typed after `--set`, no traceback comes back."""
    try:
        override(Outer(), [text])
    except ConfigurationError as error:
        assert str(error)  # noqa: PT017 - both outcomes are right
