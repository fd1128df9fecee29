"""Expectations that Great Expectations lacks: drift against an earlier version, and a mean in every group.

Importing this file makes them known to Great Expectations, which takes seconds: `components.agibot.contract` does it
when there is something to judge.
"""

from __future__ import annotations

from typing import Any, ClassVar

from great_expectations.core.metric_domain_types import MetricDomainTypes
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import ColumnAggregateExpectation
from great_expectations.expectations.metrics.column_aggregate_metric_provider import ColumnAggregateMetricProvider
from great_expectations.expectations.metrics.metric_provider import metric_value
from great_expectations.render import LegacyRendererType, RenderedStringTemplateContent
from great_expectations.render.renderer.renderer import renderer

from components.agibot.drift import by_chance, distance

Values = dict[str, Any]


class ColumnDrift(ColumnAggregateMetricProvider):
    """How far a column's places among earlier values are from even ones, and how many there are."""

    metric_name = "column.drift"
    value_keys = ("least", "most")

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(  # the signature is Great Expectations'
        cls,
        execution_engine: PandasExecutionEngine,
        metric_domain_kwargs: Values,
        metric_value_kwargs: Values,
        metrics: Values,
        runtime_configuration: Values,
    ) -> tuple[float, int]:
        table, _, _ = execution_engine.get_compute_domain(metric_domain_kwargs, MetricDomainTypes.COLUMN)
        places = table[[metric_value_kwargs["least"], metric_value_kwargs["most"]]].dropna().to_numpy()
        return distance(places[:, 0], places[:, 1]), len(places)


class ColumnGroupMeans(ColumnAggregateMetricProvider):
    """The mean of a column in every group that has at least `least` rows."""

    metric_name = "column.group_means"
    value_keys = ("group", "least")

    @metric_value(engine=PandasExecutionEngine)
    def _pandas(
        cls,
        execution_engine: PandasExecutionEngine,
        metric_domain_kwargs: Values,
        metric_value_kwargs: Values,
        metrics: Values,
        runtime_configuration: Values,
    ) -> dict[str, float]:
        table, _, place = execution_engine.get_compute_domain(metric_domain_kwargs, MetricDomainTypes.COLUMN)
        groups = table.groupby(metric_value_kwargs["group"])[place["column"]].agg(["mean", "count"])
        large = groups[groups["count"] >= metric_value_kwargs["least"]]
        return {f"{group:g}": float(mean) for group, mean in large["mean"].items()}


class _Told(ColumnAggregateExpectation):
    """What both share: a sentence for Data Docs, with the expectation's own numbers in it."""

    sentence: ClassVar[str] = ""

    @classmethod
    @renderer(renderer_type=LegacyRendererType.PRESCRIPTIVE)
    def _prescriptive_renderer(
        cls, configuration: Any = None, result: Any = None, runtime_configuration: Any = None
    ) -> list[Any]:
        content = {"template": cls.sentence, "params": configuration.kwargs}
        return [RenderedStringTemplateContent(content_block_type="string_template", string_template=content)]


class ExpectColumnDriftToBeAtMost(_Told):
    """Expects a column to be distributed as in an earlier version, task for task (`components.agibot.drift`).

    It is not if the distance is larger than `max_distance`, and than chance alone makes it once in a thousand times.
    `least` and `most` are the columns with the values' places among the earlier ones; `earlier` is how many those are.
    """

    max_distance: float
    resolution: float
    least: str
    most: str
    earlier: float
    metric_dependencies = ("column.drift",)
    success_keys = ("max_distance", "least", "most", "earlier")
    args_keys = ("column", "max_distance")
    sentence = "distribution must be within a distance of $max_distance from the last version's, task for task."

    def _validate(self, metrics: Values, *_: Any, **__: Any) -> Values:
        found, count = metrics["column.drift"]
        chance = by_chance(count, self.earlier)
        details = {"by chance up to": round(chance, 4), "episodes": count}
        return {
            "success": found <= max(self.max_distance, chance),
            "result": {"observed_value": round(found, 4), "details": details},
        }


class ExpectColumnMeanOfGroupsToBeAtLeast(_Told):
    """Expects a column's mean to be at least `min_value` in every group of at least `least` rows."""

    group: str
    least: int
    min_value: float
    metric_dependencies = ("column.group_means",)
    success_keys = ("group", "least", "min_value")
    args_keys = ("column", "group", "min_value", "least")
    sentence = "mean must be at least $min_value in every $group of at least $least episodes."

    def _validate(self, metrics: Values, *_: Any, **__: Any) -> Values:
        means = metrics["column.group_means"]
        below = {group: round(mean, 4) for group, mean in means.items() if mean < self.min_value}
        worst = min(means.values(), default=None)
        return {"success": not below, "result": {"observed_value": worst, "details": {f"{self.group}s below": below}}}


OURS = (ExpectColumnDriftToBeAtMost, ExpectColumnMeanOfGroupsToBeAtLeast)
