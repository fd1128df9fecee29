"""Which loss a model is trained with. Without torch: recipes and the command line read it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from data_contracts.base import Contract

Variant = Literal["sft", "dft", "sequence", "geometric", "iw-sft", "asft", "eaft"]

_OWNER: dict[str, Variant] = {
    "ratio_exponent": "iw-sft",
    "ratio_limit": "iw-sft",
    "kl_weight": "asft",
    "entropy_top_k": "eaft",
}


class LossConfig(Contract):
    """Which loss, and its numbers; the defaults are the sources'."""

    variant: Variant = "dft"
    ratio_exponent: float = Field(
        default=1.0, gt=0, description="iw-sft: how far a sequence's weight follows its ratio"
    )
    ratio_limit: float = Field(default=16.0, gt=0, description="iw-sft: largest weight of a sequence")
    kl_weight: float = Field(default=0.05, ge=0, description="asft: weight of the KL to the reference")
    entropy_top_k: int = Field(default=20, ge=2, description="eaft: likeliest tokens whose entropy is the weight")

    @model_validator(mode="after")
    def _only_its_own_numbers(self) -> LossConfig:
        for name, owner in _OWNER.items():
            if owner != self.variant and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name} changes nothing in variant '{self.variant}': it belongs to '{owner}'; "
                    f"set loss.variant to '{owner}' or leave loss.{name} out"
                )
        return self

    @property
    def needs_reference(self) -> bool:
        """Whether the frozen model runs beside the trained one."""
        return self.variant in ("iw-sft", "asft")
