"""The dataset's contract: a Great Expectations suite over one row of numbers per episode.

The suite is `data_contracts/suites/episodes.json`, reviewed like code: a critical expectation that fails keeps the drop
from being published, any other is shown in the report. Great Expectations takes five seconds of processor time to
import, so it is imported here, when there are enough episodes for their shares to mean anything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from components.agibot.drop import NOWHERE
from components.agibot.examine import Examined
from components.store.errors import OrreryError

LEAST_EPISODES = 20
"""Below this, a share of episodes is no evidence: one bad one of ten would be ten per cent."""


@dataclass(frozen=True)
class Outcome:
    """What came of one expectation."""

    expectation: str
    column: str
    severity: str
    passed: bool
    observed: str
    why: str


def rows(examined: Sequence[Examined]) -> list[dict[str, float]]:
    """One row per episode; what is not known of one is left out."""
    return [
        {
            "usable": float(e.usable), "repaired": float(e.verdict == "repaired"),
            "warned": float(any(f.severity == "warning" for f in e.findings)), **(e.aggregates if e.usable else {}),
        }
        for e in examined
        if NOWHERE not in e.key
    ]  # fmt: skip


def check_contract(examined: Sequence[Examined]) -> list[Outcome]:
    """The outcome of every expectation; none for drops of fewer than `LEAST_EPISODES`."""
    table = rows(examined)
    if len(table) < LEAST_EPISODES:
        return []
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # it would ask the network
    import great_expectations as gx
    import pandas as pd

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    asset = context.data_sources.add_pandas("intake").add_dataframe_asset("episodes")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": pd.DataFrame(table)})
    found = batch.validate(gx.ExpectationSuite(**suite())).to_json_dict()
    return [_outcome(result) for result in found["results"]]  # type: ignore[union-attr, arg-type]


def suite() -> dict[str, Any]:
    """The suite as Great Expectations takes it."""
    text = (resources.files("data_contracts") / "suites" / "episodes.json").read_text(encoding="utf-8")
    return json.loads(text)


def require(outcomes: Sequence[Outcome], source: str) -> None:
    """Raises OrreryError if a critical expectation failed."""
    failed = [o for o in outcomes if o.severity == "critical" and not o.passed]
    if failed:
        said = "; ".join(f"{o.expectation} of {o.column} (observed {o.observed}): {o.why}" for o in failed)
        raise OrreryError(
            f"the episodes of {source} do not keep the dataset's contract, so nothing was published: {said} Mend the "
            "drop, or change data_contracts/suites/episodes.json"
        )


def _outcome(result: dict[str, Any]) -> Outcome:
    config, numbers = result["expectation_config"], result["result"]
    kwargs = config["kwargs"]
    bounds = " .. ".join(f"{kwargs[n]:g}" if kwargs.get(n) is not None else "any" for n in ("min_value", "max_value"))
    share = f" for {kwargs['mostly']:.0%}" if "mostly" in kwargs else ""
    if "observed_value" in numbers:
        observed = "nothing" if numbers["observed_value"] is None else f"{numbers['observed_value']:.4g}"
    else:
        observed = f"{100 - numbers.get('unexpected_percent_nonmissing', 0.0):.1f} % within"
    name = config["type"].removeprefix("expect_column_").removesuffix("_to_be_between")
    return Outcome(
        f"{name} within {bounds}{share}", kwargs["column"], config["severity"], bool(result["success"]), observed,
        config["meta"].get("why", ""),
    )  # fmt: skip
