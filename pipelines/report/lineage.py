"""Lineage: every version of the run, what it was made from and with what, down to the hashes of its objects."""

from __future__ import annotations

import json

from components.telemetry.report import Block, Cell, Details, Preformatted, Row, Section, Table, Text
from data_contracts.lineage import StageRecord
from pipelines.effective import differences
from pipelines.report.reading import Reader

MOST_OBJECTS = 100


def sections(reader: Reader) -> list[Section]:
    if not reader.versions:
        return []
    records = list({record.prefix: record for _, record in reader.versions}.values())
    rows: list[Row] = [
        [
            record.stage,
            Cell(record.prefix, code=True),
            Cell(record.fingerprint[:16], code=True),
            Cell(record.code[:16], code=True),
            str(record.seed),
            f"{len(record.objects)}, {sum(o.size for o in record.objects) / 1e6:.1f} MB",
        ]
        for record in records
    ]
    blocks: list[Block] = [
        Table(["Stage", "Version", "Content", "Code", "Seed", "Objects"], rows),
        *(Details(f"{record.stage}: inputs, configuration, hashes", _details(record)) for record in records),
    ]
    lead = "A version is named by the hash of what went in; its content by the hash of what came out."
    return [Section("Lineage", blocks, lead=lead)]


def _details(record: StageRecord) -> list[Block]:
    inputs: list[Row] = [
        [name, Cell(i.prefix, code=True), Cell(i.fingerprint, code=True)] for name, i in record.inputs.items()
    ]
    objects: list[Row] = [
        [Cell(o.path, code=True), f"{o.size:,}", Cell(o.sha256, code=True)] for o in record.objects[:MOST_OBJECTS]
    ]
    if len(record.objects) > MOST_OBJECTS:
        objects.append([f"and {len(record.objects) - MOST_OBJECTS} more", "", ""])
    blocks: list[Block] = [
        Preformatted(
            f"content  {record.fingerprint}\ncode     {record.code}\n"
            f"image    {record.image or 'none: ran on this machine'}\n"
            f"made     {record.started_at}, in {record.seconds:.1f} s"
        )
    ]
    if inputs:
        blocks.append(Table(["Input", "Version", "Content"], inputs))
    if record.metrics:
        blocks.append(Table(["Metric", "Value"], [[k, str(v)] for k, v in sorted(record.metrics.items())]))
    changed = differences(record.config, record)
    if changed:
        blocks.append(Text("Not used as asked: " + "; ".join(changed), "warn"))
    blocks.append(Preformatted(json.dumps(record.config, indent=1, ensure_ascii=False, sort_keys=True)))
    blocks.append(Table(["Object", "Bytes", "SHA-256"], objects))
    return blocks
