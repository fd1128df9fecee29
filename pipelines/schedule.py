"""Recurring runs at Kubeflow Pipelines: no catch-up, no overlap, and when they come next.

KFP's cron has six fields: second, minute, hour, day of the month, month, day of the week. Its clock is UTC.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any

from components.store.errors import ConfigurationError
from pipelines.catalog import Pipeline
from pipelines.kfp_cluster import (
    EXPERIMENT,
    ClusterError,
    account_of,
    host_of,
    namespace_of,
    parameters,
    talking,
    upload,
)
from pipelines.recipes.base import Recipe

if TYPE_CHECKING:
    from kfp import Client

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Schedule:
    """A recurring run, as KFP has it."""

    id: str
    name: str
    cron: str
    enabled: bool
    max_concurrency: int
    no_catchup: bool
    pipeline_id: str
    version_id: str

    def document(self, now: datetime | None = None) -> dict[str, object]:
        """What `orrery schedule show --json` prints; `next` is empty while it is paused."""
        times = next_times(self.cron, _SHOWN, now) if self.enabled and self.cron else []
        return {
            "id": self.id, "name": self.name, "cron": self.cron, "status": "on" if self.enabled else "paused",
            "max_concurrency": self.max_concurrency, "no_catchup": self.no_catchup, "pipeline_id": self.pipeline_id,
            "version_id": self.version_id, "next": [time.isoformat() for time in times],
        }  # fmt: skip


def check_cron(cron: str) -> str:
    """`cron` with one space between its fields. Raises ConfigurationError that says what is wrong with it."""
    from croniter import CroniterError, croniter

    fields = cron.split()
    if len(fields) == 5:
        raise ConfigurationError(
            f"cron {cron!r} has five fields; KFP's has a sixth in front, the second: '0 {' '.join(fields)}'"
        )
    if len(fields) != 6:
        raise ConfigurationError(
            f"cron {cron!r} has {len(fields)} fields, not six: second minute hour day month weekday, e.g. '0 0 3 * * 1'"
        )
    if fields[0] in ("*", "*/1"):
        raise ConfigurationError(f"cron {cron!r} comes every second; set its first field to 0")
    try:
        croniter(" ".join(fields), second_at_beginning=True).get_next(float)
    except (CroniterError, ValueError):
        raise ConfigurationError(
            f"cron {cron!r} is none, or never comes: second minute hour day month weekday, each a number, "
            "a range (1-5), a list (1,15), a step (*/6) or *, e.g. '0 0 3 * * 1'"
        ) from None
    return " ".join(fields)


def next_times(cron: str, count: int, now: datetime | None = None) -> list[datetime]:
    """The next times of `cron` after `now` (default: this moment), in UTC, which is KFP's clock."""
    from croniter import croniter

    times = croniter(check_cron(cron), now or datetime.now(UTC), second_at_beginning=True)
    return [times.get_next(datetime) for _ in range(count)]


def both_clocks(time: datetime, zone: tzinfo | None = None) -> str:
    """A time as people read it: theirs, and UTC. `zone`: default is this machine's."""
    own = time.astimezone(zone)
    return f"{own:%a %Y-%m-%d %H:%M:%S %Z} ({time.astimezone(UTC):%H:%M:%S} UTC)"


def create(
    client: Client,
    pipeline: Pipeline,
    recipe: Recipe,
    store_url: str,
    given: Mapping[str, str],
    cron: str,
    name: str,
) -> Schedule:
    """Let `pipeline` run by `cron`: one run at a time, and none for the times that were missed.

    Raises ConfigurationError if there is a schedule of that name: two of one kind would run at the same time.
    """
    cron = check_cron(cron)
    values = parameters(pipeline, recipe, store_url, given)
    if any(schedule.name == name for schedule in list_all(client)):
        raise ConfigurationError(f"there is a schedule {name!r}; delete it first: orrery schedule delete {name}")
    version = upload(client, pipeline, recipe)
    with talking(host_of(client)):
        experiment = client.create_experiment(EXPERIMENT)
        made = client.create_recurring_run(
            experiment.experiment_id, name, cron_expression=cron, max_concurrency=1, no_catchup=True, params=values,
            pipeline_id=version.pipeline_id, version_id=version.version_id, enable_caching=False,
            service_account=account_of(client), description=pipeline.summary,
        )  # fmt: skip
    return _schedule(made)


def list_all(client: Client) -> list[Schedule]:
    """Every recurring run at this KFP, by name."""
    return sorted(_pages(client), key=lambda schedule: schedule.name)


def find(client: Client, name: str) -> Schedule:
    """The schedule with this name, id, or the beginning of its id. Raises ConfigurationError that lists them."""
    every = list_all(client)
    fitting = [s for s in every if name in (s.name, s.id)] or [s for s in every if s.id.startswith(name)]
    if len(fitting) != 1:
        which = "several schedules are" if fitting else "no schedule is"
        listed = ", ".join(f"{s.name} ({s.id[:8]})" for s in (fitting or every)) or "none"
        raise ConfigurationError(f"{which} called {name!r}; there are: {listed}")
    return fitting[0]


def pause(client: Client, schedule: Schedule) -> Schedule:
    """No more runs until it is resumed; one that runs goes on."""
    with talking(host_of(client)):
        client.disable_recurring_run(schedule.id)
    return _again(client, schedule, enabled=False)


def resume(client: Client, schedule: Schedule) -> Schedule:
    with talking(host_of(client)):
        client.enable_recurring_run(schedule.id)
    return _again(client, schedule, enabled=True)


def delete(client: Client, schedule: Schedule) -> None:
    with talking(host_of(client)):
        client.delete_recurring_run(schedule.id)


def _again(client: Client, schedule: Schedule, enabled: bool) -> Schedule:
    """The schedule read back. Raises ClusterError if KFP said yes and did not do it."""
    with talking(host_of(client)):
        now = _schedule(client.get_recurring_run(schedule.id))
    if now.enabled != enabled:
        wanted = "on" if enabled else "paused"
        raise ClusterError(f"schedule {schedule.name} is not {wanted} although KFP took the request; try again")
    return now


def _pages(client: Client) -> Iterator[Schedule]:
    token = ""
    while True:
        with talking(host_of(client)):
            page = client.list_recurring_runs(page_token=token, page_size=100, namespace=namespace_of(client))
        yield from map(_schedule, page.recurring_runs or ())
        token = page.next_page_token or ""
        if not token:
            return


def _schedule(of: Any) -> Schedule:
    trigger = of.trigger.cron_schedule if of.trigger else None
    version = of.pipeline_version_reference
    return Schedule(
        id=of.recurring_run_id or "", name=of.display_name or "", cron=(trigger.cron if trigger else "") or "",
        enabled=of.status == "ENABLED" if of.status else of.mode == "ENABLE",
        max_concurrency=int(of.max_concurrency or 0), no_catchup=bool(of.no_catchup),
        pipeline_id=(version.pipeline_id if version else "") or "",
        version_id=(version.pipeline_version_id if version else "") or "",
    )  # fmt: skip
