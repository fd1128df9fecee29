"""`orrery serve`: a published policy behind a real Triton server, on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.commands.common import JsonOption, StoreOption, open_store


def serve(
    policy: Annotated[str, typer.Argument(metavar="POLICY[@CHANNEL|@VERSION]", help="A published policy.")],
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option("--port", help="HTTP; gRPC and metrics take the next two.", min=1, max=65533)
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve a policy until Ctrl-C. Without a channel: production, else canary, else candidate.

    Example: orrery serve ge-act@candidate --port 8000
    """
    from components.release.serve import Serving, how_to_call, serve, split_name
    from pipelines.commands.models import is_version

    name, which = split_name(policy)
    version = which if which and is_version(which) else None
    channel = None if version else which

    def ready(serving: Serving) -> None:
        print(serving.model_dump_json() if as_json else how_to_call(serving), flush=True)

    serve(open_store(store), name, channel, version=version, host=host, port=port, on_ready=ready)
