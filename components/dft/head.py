"""A causal model's head as the losses use it: its weight, never the logits of a whole batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor, nn

from components.store.errors import ConfigurationError

Result = TypeVar("Result")


class Head(nn.Module):
    """Hands its weight to a function instead of computing logits.

    Under ZeRO-3 a weight is whole only in the `forward` of its own module and on the way back through it, so what uses
    it has to run in here. The hidden states pass through because DeepSpeed finds the way back by a module's tensors.
    """

    def __init__(self, weight: nn.Parameter):
        super().__init__()
        self.weight = weight

    def forward(self, hidden: Tensor, use: Callable[[Tensor, Tensor], Result]) -> Result:
        """`use(hidden, weight)`: states (..., H) and the head's weight (V, H)."""
        return use(hidden, self.weight)


def use_head(model: Any) -> Any:
    """The model itself, its `lm_head` replaced by a `Head` with the same weight. Raises ConfigurationError."""
    if getattr(model.lm_head, "bias", None) is not None:
        raise ConfigurationError(f"{type(model).__name__}'s head has a bias, which the losses would leave out")
    model.lm_head = Head(model.lm_head.weight)
    return model
