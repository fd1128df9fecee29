"""Judges a file of training chats and writes what is accepted, what is quarantined and why."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import fmean

from components.dft.checks import MOSTLY_BARE, CheckConfig, check, is_bare
from components.dft.reading import Row, read_chats
from components.language.model import load_tokenizer
from components.store.errors import OrreryError
from data_contracts.lineage import Metric


def validate_file(
    config: CheckConfig, train: Path, held_out: Iterable[Path], model: Path, out: Path
) -> Mapping[str, Metric]:
    """Write `accepted.jsonl`, chats as they are trained on, and `quarantine.jsonl`, places and findings.

    Raises:
        OrreryError: a held-out row could not be read, or no chat was accepted.
    """
    checked = check(read_chats([train]), config, read_chats(list(held_out)), load_tokenizer(model))
    if not checked.accepted:
        why = ", ".join(f"{code} ({count})" for code, count in checked.counts.items()) or "it is empty"
        raise OrreryError(f"of {train.name} no chat can be trained on: {why}")
    write_accepted(out / "accepted.jsonl", checked.accepted)
    write_quarantine(out / "quarantine.jsonl", checked.quarantined)
    bare = fmean(is_bare(row.example) for row in checked.accepted if row.example)
    if bare > MOSTLY_BARE:
        print(f"warning: {bare:.0%} of the chats answer without a way to the answer; DFT is known to lose on such data")
    reasons = {f"reason/{code}": count for code, count in checked.counts.items()}
    counts = {"accepted": len(checked.accepted), "quarantined": len(checked.quarantined)}
    return {**counts, "bare_answers": round(bare, 4), **reasons}


def write_accepted(path: Path, rows: Iterable[Row]) -> None:
    """The rows' chats, one a line."""
    _write(path, (row.example.model_dump_json() for row in rows if row.example))


def write_quarantine(path: Path, rows: Iterable[Row]) -> None:
    """Where each row is and what is wrong with it; not the row itself, which stays where it was."""
    lines = ({"where": row.where, "findings": [finding.model_dump() for finding in row.findings]} for row in rows)
    _write(path, map(json.dumps, lines))


def _write(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)
