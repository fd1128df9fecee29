"""What a training's processes print: their own word of why they failed, what people read, and noise."""

from __future__ import annotations

ERROR_MARK = "orrery-error: "
"""In front of a worker's own message: torchrun says a lot after it."""


def is_noise(line: str) -> bool:
    """DeepSpeed's and torchrun's chatter; it is still in the message when a run fails."""
    marks = (
        "[INFO]",
        "[WARNING]",
        "Warning",
        "warnings.warn",
        "return func(",
        "DeepSpeed deepspeed.ops",
        "Setting OMP",
        "cpp_extension.py",  # an image has no compiler, and needs none: what it would compile is compiled
    )
    return not line.strip() or any(mark in line for mark in marks)
