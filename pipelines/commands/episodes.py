"""`orrery episodes`: record in simulation, and validate a raw drop."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Robot episodes: record, validate.")


@app.callback()
def group() -> None:
    pass
