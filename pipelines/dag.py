"""What every task of every pipeline has: a title, and no second cache."""

from __future__ import annotations

from typing import Any


def titled(title: str, task: Any) -> Any:
    """`task` under a title people read, with KFP's own cache off.

    A stage finds its output by what went in, its code included, and returns at once. KFP's cache knows neither bytes
    nor code: it would hand on a version that a changed image no longer makes.
    """
    return task.set_display_name(title).set_caching_options(False)
