"""`orrery models`: published policies and the channels that name them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.common import JsonOption, StoreOption, open_store, print_json, print_table

if TYPE_CHECKING:
    from components.store.api import Store
    from data_contracts.lineage import StageRecord
    from data_contracts.release import ChannelPointer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Policies: list, show, promote, rollback, history.")
PolicyArgument = Annotated[str, typer.Argument(metavar="POLICY[@CHANNEL|@VERSION]", help="A published policy.")]
ChannelOption = Annotated[str, typer.Option("--channel", help="candidate, canary or production.")]


@app.command("list", epilog="Example: orrery models list --json")
def list_(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Published policy versions, newest first, and the channels that name them."""
    from components.release import registry

    lines = registry.list_models(open_store(store))
    if as_json:
        print_json({"models": [{"name": m.name, "version": m.version, "channels": list(m.channels)} for m in lines]})
        return
    rows = [(m.name, m.version, " ".join(m.channels) or "-", m.published_at[:19]) for m in lines]
    print_table(("policy", "version", "channels", "published"), rows, "no policy is published yet; try: orrery demo")


@app.command("show", epilog="Example: orrery models show ge-act@production --json")
def show(policy: PolicyArgument, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """One published version: what it was made from, and what the gate saw."""
    opened = open_store(store)
    record = resolve(opened, policy)
    if as_json:
        print_json(record.model_dump(mode="json") | {"prefix": record.prefix, "fingerprint": record.fingerprint})
        return
    print(f"{record.name} {record.version}  {record.prefix}")
    print_table(
        ("input", "version", "prefix"), [(k, v.version, v.prefix) for k, v in record.inputs.items()], "no inputs"
    )
    print_table(("metric", "value"), sorted(record.metrics.items()), "no metrics")


@app.command("promote", epilog="Example: orrery models promote ge-act --to canary")
def promote(
    policy: PolicyArgument,
    to: Annotated[str, typer.Option("--to", help="The channel that shall name this version.")] = "production",
    reason: Annotated[str, typer.Option("--reason", help="Kept in the channel's history.")] = "",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a channel name a version: POLICY alone means its candidate. It must have passed its gate."""
    from components.release import registry

    opened = open_store(store)
    record = resolve(opened, policy, otherwise="candidate")
    pointer = registry.promote(opened, record.name, record.version, to, reason=reason)
    _print_pointer(pointer, as_json)


@app.command("rollback", epilog="Example: orrery models rollback ge-act --channel production")
def rollback(
    policy: Annotated[str, typer.Argument(metavar="POLICY")],
    channel: ChannelOption = "production",
    to: Annotated[str | None, typer.Option("--to", help="A version the channel named before.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Kept in the channel's history.")] = "",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a channel name again what it named before."""
    from components.release import registry

    _print_pointer(registry.rollback(open_store(store), policy, channel, to=to, reason=reason), as_json)


@app.command("history", epilog="Example: orrery models history ge-act --channel canary")
def history(
    policy: Annotated[str, typer.Argument(metavar="POLICY")],
    channel: ChannelOption = "production",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Every change of a channel, newest first."""
    from components.release import registry

    entries = registry.history(open_store(store), policy, channel)
    if as_json:
        print_json({"policy": policy, "channel": channel, "history": [e.model_dump(mode="json") for e in entries]})
        return
    rows = [(e.at[:19], e.action, e.target.version, e.by, e.reason) for e in entries]
    print_table(("at", "action", "version", "by", "reason"), rows, f"{policy}@{channel} was never set")


def resolve(store: Store, policy: str, otherwise: str | None = None) -> StageRecord:
    """The published version that `POLICY@CHANNEL` or `POLICY@VERSION` names; `POLICY` alone is the channel `otherwise`,
    or the most trusted one that is set."""
    from components.release import registry
    from components.release.serve import split_name

    name, which = split_name(policy)
    if which and is_version(which):
        return registry.resolve(store, name, version=which)
    return registry.resolve(store, name, channel=which or otherwise)


def is_version(text: str) -> bool:
    """Whether `text` is a version (or its beginning) rather than a channel."""
    return len(text) >= 4 and all(c in "0123456789abcdef" for c in text)


def _print_pointer(pointer: ChannelPointer, as_json: bool) -> None:
    if as_json:
        print_json({"policy": pointer.policy, "channel": pointer.channel, "version": pointer.target.version})
    else:
        print(f"{pointer.policy}@{pointer.channel} is now {pointer.target.version}")
