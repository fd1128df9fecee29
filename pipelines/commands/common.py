"""What all verbs share: the store option, the JSON option, and how results are printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from components.store.api import Store

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="A folder, or s3://bucket/prefix (MinIO's endpoint and credentials come from the environment). "
        "Default: $ORRERY_STORE, else the folder .orrery/store.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document for scripts.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the recipe, e.g. --set record.episodes=8."),
]
EndpointOption = Annotated[
    str | None,
    typer.Option(
        "--endpoint", help="Kubeflow Pipelines' address. Default: $KF_PIPELINES_ENDPOINT.", show_default=False
    ),
]
RecipeOption = Annotated[str, typer.Option("--recipe", help="The recipe: tiny is a laptop CPU and minutes.")]


def open_store(option: str | None) -> Store:
    """The store that is meant: the option, else ORRERY_STORE, else a folder here. Raises OrreryError."""
    from components.store.open import open_store as opened

    return opened(option)


def print_json(document: Any) -> None:
    sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None) + "\n")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """An aligned table, or `empty` if there is nothing in it. Control characters in values are shown, not obeyed."""
    cells = [[_printable(str(value)) for value in row] for row in rows]
    if not cells:
        sys.stdout.write(empty + "\n")
        return
    widths = [max(len(row[i]) for row in [list(columns), *cells]) for i in range(len(columns))]
    for row in [[c.upper() for c in columns], *cells]:
        line = "  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True))
        sys.stdout.write(line.rstrip() + "\n")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
