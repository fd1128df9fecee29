"""`orrery`: the command for people and for scripts.

Exit codes: 0 success; 1 the work found a problem; 2 bad usage or configuration; 3 an engine can't be reached. Nothing a
user could have caused ends in a traceback.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import typer

from components.store.errors import OrreryError
from pipelines.commands import datasets, doctor, episodes, models, run, runs, schedule, serve

UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # type: ignore[assignment]
"""The base of all usage errors; newer versions of typer bring their own copy of click, and name it nowhere."""

app = typer.Typer(
    name="orrery",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Robot episodes in, versioned and evaluated policies out.",
    epilog="Every verb takes --json. Exit codes: 0 success, 1 the work found a problem, 2 bad usage or configuration, "
    "3 an engine can't be reached. Start with: orrery demo",
)
app.command("demo")(run.demo)
app.command("doctor")(doctor.doctor)
app.add_typer(episodes.app, name="episodes")
app.add_typer(datasets.app, name="datasets")
app.command("run")(run.run)
app.command("plan")(run.plan)
app.command("compile")(run.compile_)
app.add_typer(schedule.app, name="schedule")
app.add_typer(runs.app, name="runs")
app.add_typer(models.app, name="models")
app.command("serve")(serve.serve)

INTERRUPTED = 130
"""128 and SIGINT's number, as a shell says it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit; the one place where errors become messages and exit codes."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        sys.exit(_run(words))
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    """SIGTERM is Ctrl-C: stages are asked to stop before they are made to, and the run's record says what happened."""
    raise KeyboardInterrupt


def _run(words: list[str]) -> int:
    try:
        code = app(args=words, prog_name="orrery", standalone_mode=False)
        sys.stdout.flush()
        if code == INTERRUPTED:  # some versions of typer swallow the interrupt
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except typer.Exit as stop:
        return stop.exit_code
    except UsageError as error:
        if not words or str(error).startswith("Usage:"):  # a noun without a verb: its help says more than an error
            sys.stderr.write(f"{error}\n")
            return 2
        context = getattr(error, "ctx", None)
        usage = context.get_usage() + "\n" if context else ""
        return _fail(error.format_message(), 2, words, usage)  # type: ignore[attr-defined]
    except (typer.Abort, KeyboardInterrupt):
        return _fail("interrupted; finished stages are kept, start again to go on", INTERRUPTED, words)
    except OrreryError as error:
        return _fail(str(error), error.exit_code, words)
    except BrokenPipeError:  # `orrery … | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _unexpected(error, words)


def _fail(message: str, code: int, words: Sequence[str], usage: str = "") -> int:
    """Say what went wrong: one message for people on stderr, and a document for scripts on stdout."""
    if "--json" in words:
        sys.stdout.write(json.dumps({"error": message, "exit_code": code}, ensure_ascii=False) + "\n")
    sys.stderr.write(f"{usage}orrery: {message}\n")
    return code


def _unexpected(error: Exception, words: Sequence[str]) -> int:
    """A fault of ours, or a limit of the machine: one line, and the details in a file."""
    if isinstance(error, OSError) and error.errno is not None:
        place = f" ({error.filename})" if error.filename else ""
        return _fail(f"{os.strerror(error.errno)}{place}; free or correct it and start again", 1, words)
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        from pipelines.recipes.overrides import explain

        return _fail(explain(error, error.title), 2, words)
    from pipelines.runs import home

    text = "".join(traceback.format_exception(error))
    try:
        home().mkdir(parents=True, exist_ok=True)
        path: Path | None = home() / "last-fault.txt"
        path.write_text(text)  # type: ignore[union-attr]
    except OSError:
        path = None
    where = f"; details are in {path}" if path else ""
    return _fail(
        f"unexpected {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}{where}", 1, words
    )


if __name__ == "__main__":
    main()
