"""`orrery datasets`: published dataset versions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.common import JsonOption, StoreOption, open_store, print_json, print_table

if TYPE_CHECKING:
    from components.store.api import Store
    from data_contracts.dataset import DatasetManifest
    from data_contracts.lineage import StageRecord
    from data_contracts.report import ValidationReport

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Dataset versions: list, show, diff, export.")
DatasetArgument = Annotated[
    str, typer.Argument(metavar="NAME[/VERSION]", help="A dataset; its newest version if none.")
]


@app.command("list", epilog="Example: orrery datasets list --json")
def list_(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Every dataset version, newest first."""
    rows = []
    opened = open_store(store)
    for record in published(opened):
        manifest = manifest_of(opened, record)
        rows.append(
            {
                "name": record.name, "version": record.version, "embodiment": manifest.embodiment,
                "episodes": len(manifest.episodes), "frames": manifest.summary.frames, "made_at": record.started_at,
            }
        )  # fmt: skip
    if as_json:
        print_json({"datasets": rows})
        return
    columns = ("name", "version", "embodiment", "episodes", "frames", "made_at")
    print_table(columns, [[row[c] for c in columns] for row in rows], "no dataset yet; try: orrery run episode_intake")


@app.command("show", epilog="Example: orrery datasets show tiny --json")
def show(dataset: DatasetArgument, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """One dataset version: its episodes, and how many were repaired or quarantined."""
    opened = open_store(store)
    record = find(opened, dataset)
    manifest = manifest_of(opened, record)
    if as_json:
        print_json({"prefix": record.prefix, "fingerprint": record.fingerprint} | manifest.model_dump(mode="json"))
        return
    total = manifest.summary
    print(f"{record.prefix}  {manifest.embodiment}, {manifest.fps} fps, {', '.join(manifest.cameras)}")
    print(
        f"{total.accepted} accepted, {total.repaired} repaired, {total.quarantined} quarantined; "
        f"{total.frames} frames, {total.seconds:.0f} s"
    )
    rows = [
        (e.index, e.task_id, e.episode_id, e.frames, "yes" if e.repaired else "", e.accepted, e.instruction)
        for e in manifest.episodes
    ]
    columns = ("index", "task", "episode", "frames", "repaired", "accepted by hand", "instruction")
    print_table(columns, rows, "no episodes")


@app.command("diff", epilog="Example: orrery datasets diff tiny/0123456789abcdef tiny")
def diff(old: DatasetArgument, new: DatasetArgument, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """What one version has otherwise: episodes that came, went, were mended or refused with the reason, and drift."""
    from data_contracts.changes import changes

    opened = open_store(store)
    records = [find(opened, name) for name in (old, new)]
    (before, was), (after, now) = ((manifest_of(opened, r), report_of(opened, r)) for r in records)
    document = changes(before, was, after, now).model_dump(mode="json")
    if as_json:
        print_json(document)
        return
    drift = document.pop("drift")
    rows = [
        (name, e["task_id"], e["episode_id"], ", ".join(e.get("codes", ())))
        for name, found in document.items()
        for e in found
    ]
    print_table(("change", "task", "episode", "reasons"), rows, "the same episodes")
    shifts = ", ".join(f"{space} {shift:.2f}" for space, shift in drift.items())
    print(f"largest shift of a mean action, in standard deviations: {shifts or 'not comparable'}")


@app.command("export", epilog="Example: orrery datasets export tiny tiny-v21 --format lerobot-v2.1")
def export(
    dataset: DatasetArgument,
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")],
    format_: Annotated[str, typer.Option("--format", help="lerobot-v2.1; a version itself is lerobot-v3.0.")],
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write one dataset version in another format, videos copied without re-encoding."""
    from components.agibot.dataset import Dataset
    from components.agibot.lerobot_v21 import export as to_v21
    from components.store.errors import ConfigurationError
    from components.store.files import scratch_folder
    from components.store.records import lay_out
    from components.telemetry.progress import progress

    if format_ != "lerobot-v2.1":
        raise ConfigurationError(f"--format {format_!r}: only lerobot-v2.1 is written; a version itself is v3.0")
    opened = open_store(store)
    record = find(opened, dataset)
    with scratch_folder("export-") as folder:
        wanted = ("manifest.json", "meta/", "data/", "videos/")
        found = Dataset.open(lay_out(opened, record, folder / record.version, wanted))
        with progress(len(found.manifest.episodes), "exporting", "episodes") as bar:
            to_v21(found, out, bar.advance)
    document = {"folder": str(out), "format": format_, "dataset": record.prefix, "episodes": len(found.episodes)}
    print_json(document) if as_json else print(f"{out}: {len(found.episodes)} episodes of {record.prefix}, {format_}")


def published(store: Store) -> Iterator[StageRecord]:
    """Records of dataset versions that carry a manifest, newest first."""
    from components.agibot.stages import SHARDS
    from components.store.records import find_records

    records = find_records(store, "datasets", without=SHARDS)
    with_manifest = [r for r in records if any(o.path == "manifest.json" for o in r.objects)]
    yield from sorted(with_manifest, key=lambda r: r.started_at, reverse=True)


def find(store: Store, dataset: str) -> StageRecord:
    """The version that `NAME` or `NAME/VERSION` (or its beginning) names. Raises ConfigurationError that lists them."""
    from components.store.errors import ConfigurationError

    name, _, version = dataset.removeprefix("datasets/").partition("/")
    records = list(published(store))
    fitting = [r for r in records if r.name == name and r.version.startswith(version)]
    if not fitting:
        have = ", ".join(f"{r.name}/{r.version}" for r in records[:8]) or "none; try: orrery run episode_intake"
        raise ConfigurationError(f"there is no dataset {dataset!r}; there are: {have}")
    return fitting[0]


def manifest_of(store: Store, record: StageRecord) -> DatasetManifest:
    from data_contracts.dataset import DatasetManifest

    ref = record.object("manifest.json")
    return DatasetManifest.model_validate_json(store.read(f"{record.prefix}/manifest.json", ref.sha256))


def report_of(store: Store, record: StageRecord) -> ValidationReport:
    from data_contracts.report import ValidationReport

    ref = record.object("report.json")
    return ValidationReport.model_validate_json(store.read(f"{record.prefix}/report.json", ref.sha256))
