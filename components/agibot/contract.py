"""The dataset's contract: a Great Expectations suite over one row of numbers per episode of a drop.

The suite is `data_contracts/suites/episodes.json`: a critical expectation that fails keeps the drop from being
published, any other is shown in the report. Drift is judged against the version that the drop is joined to. Great
Expectations takes seconds of processor time to import, so it is imported here, when there are enough episodes for
their shares to mean anything.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.agibot import drift
from components.agibot.drop import NOWHERE
from components.agibot.examine import Examined
from components.store.errors import OrreryError
from components.store.files import write_atomic
from data_contracts.suite import Changes, Expectation, load_suite

LEAST_EPISODES = 20
"""Below this, a share of episodes is no evidence: one bad one of ten would be ten per cent."""
DATA_DOCS = "data_docs.html"
DRIFT = "expect_column_drift_to_be_at_most"


@dataclass(frozen=True)
class Outcome:
    """What came of one expectation."""

    name: str
    expectation: str
    column: str
    severity: str
    passed: bool | None
    """None: it was not judged, for want of something to compare with"""
    observed: str
    why: str


@dataclass(frozen=True)
class Judgement:
    """What came of the contract: nothing for a drop of fewer than `LEAST_EPISODES`."""

    outcomes: tuple[Outcome, ...] = ()
    data_docs: str = ""
    """Great Expectations' page of it, HTML that needs no network"""

    @property
    def broken(self) -> list[Outcome]:
        """The critical expectations that failed."""
        return [o for o in self.outcomes if o.severity == "critical" and o.passed is False]


def check_contract(
    examined: Sequence[Examined], known: Sequence[Examined] = (), changes: Changes | None = None
) -> Judgement:
    """Judge a drop's episodes as a whole; `known` are those of the version that they are joined to."""
    own = [e for e in examined if NOWHERE not in e.key]
    if len(own) < LEAST_EPISODES:
        return Judgement()
    table = _columns(own)
    judged: list[Expectation] = []
    left: list[Expectation] = []
    for expectation in load_suite().changed(changes or {}).expectations:
        ready = _compared(expectation, own, known, table) if expectation.type == DRIFT else expectation
        (judged if ready else left).append(ready or expectation)
    found, page = _ask(judged, table)
    outcomes = [*(_outcome(e, result) for e, result in zip(judged, found, strict=True)), *map(_not_judged, left)]
    return Judgement(tuple(sorted(outcomes, key=lambda o: o.name)), page)


def _columns(examined: Sequence[Examined]) -> dict[str, NDArray[np.float64]]:
    """One value per episode by name; NaN where it is not known."""
    rows = [
        {
            "task": e.task_id, "usable": e.usable, "repaired": e.verdict == "repaired",
            "warned": any(f.severity == "warning" for f in e.findings), **(e.aggregates if e.usable else {}),
        }
        for e in examined
    ]  # fmt: skip
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: np.array([row.get(name, np.nan) for row in rows], np.float64) for name in names}


def _compared(
    expectation: Expectation,
    examined: Sequence[Examined],
    known: Sequence[Examined],
    table: dict[str, NDArray[np.float64]],
) -> Expectation | None:
    """A drift expectation with what it is compared with, which goes into `table`. None if that is too little."""
    column, resolution = str(expectation.kwargs["column"]), float(str(expectation.kwargs["resolution"]))
    places = drift.places(examined, known, column, resolution)
    if min(places.count, places.earlier) < LEAST_EPISODES:
        return None
    least, most = (f"{bound} place of {column} to {resolution:g}" for bound in ("least", "most"))
    table |= {least: places.least, most: places.most}
    kwargs = expectation.kwargs | {"least": least, "most": most, "earlier": places.size}
    return expectation.model_copy(update={"kwargs": kwargs})


def _ask(
    expectations: Sequence[Expectation], table: dict[str, NDArray[np.float64]]
) -> tuple[list[dict[str, Any]], str]:
    """Great Expectations' result of each, in order, and its page."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # it would ask the network
    import great_expectations as gx
    import pandas as pd

    from components.agibot.data_docs import render
    from components.agibot.expectations import OURS  # noqa: F401 - makes them known

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    asset = context.data_sources.add_pandas("intake").add_dataframe_asset("episodes")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": pd.DataFrame(table)})
    suite = gx.ExpectationSuite(name="episodes", expectations=[e.model_dump(mode="json") for e in expectations])
    result = batch.validate(suite)
    found: list[Any] = result.to_json_dict()["results"]  # type: ignore[assignment]
    by_name = {f["expectation_config"]["meta"]["name"]: f for f in found}  # its order is its own
    return [by_name[e.name] for e in expectations], render(result)


def write_data_docs(out: Path, judgement: Judgement) -> None:
    """Put Great Expectations' page beside a dataset version, if there is one."""
    if judgement.data_docs:
        write_atomic(out / DATA_DOCS, judgement.data_docs.encode())


def require(judgement: Judgement, source: str, place: str) -> None:
    """Raises OrreryError if a critical expectation failed; `place` is where the reports of that lie."""
    if judgement.broken:
        said = "; ".join(f"{o.name}: {o.column}, {o.expectation}, is {o.observed}. {o.why}" for o in judgement.broken)
        raise OrreryError(
            f"the episodes of {source} do not keep the dataset's contract, so nothing was published. {said} Mend the "
            "drop; or, if it is meant to be so, change the expectation's number in the profile's `contract`. "
            f"The reports are in the store under {place}/"
        )


def _outcome(expectation: Expectation, result: dict[str, Any]) -> Outcome:
    numbers = result["result"]
    details = numbers.get("details") or {}
    if "observed_value" in numbers:
        observed = "nothing" if numbers["observed_value"] is None else f"{numbers['observed_value']:.4g}"
        observed += "".join(f", {name} {value}" for name, value in details.items() if value)
    else:
        observed = f"{100 - numbers.get('unexpected_percent_nonmissing', 0.0):.1f} % within"
    return _described(expectation, bool(result["success"]), observed)


def _not_judged(expectation: Expectation) -> Outcome:
    return _described(expectation, None, f"fewer than {LEAST_EPISODES} earlier or new episodes of the same tasks")


def _described(expectation: Expectation, passed: bool | None, observed: str) -> Outcome:
    kwargs = expectation.kwargs
    if expectation.type == DRIFT:
        asked = f"within a distance of {kwargs['max_distance']:g} from the last version"
    else:
        name = expectation.type.removeprefix("expect_column_").partition("_to_be_")[0].replace("_", " ")
        asked = f"{name} within {' .. '.join(_bound(kwargs.get(n)) for n in ('min_value', 'max_value'))}"
        asked += f" for {kwargs['mostly']:.0%}" if "mostly" in kwargs else ""
        asked += f", every {kwargs['group']} of {kwargs['least']} or more" if "group" in kwargs else ""
    return Outcome(
        expectation.name, asked, str(kwargs["column"]), expectation.severity, passed, observed, expectation.meta.why
    )


def _bound(value: Any) -> str:
    return "any" if value is None else f"{value:g}"
