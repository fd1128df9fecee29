"""Which drops have arrived, without reading them: by their files' names and sizes."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from components.agibot.drop import files_below
from components.retrain.config import DropsConfig
from components.store.api import Store
from components.store.errors import ConfigurationError
from components.store.open import open_store

Listing = frozenset[tuple[str, int]]
"""(path, bytes) of every file of a drop. Raw drops are never changed, so equal listings are the same drop."""

_OWN_FOLDERS = {"task_info", "observations", "proprio_stats", "parameters"}
"""AgiBot-World's own: what holds one of these is a drop, not a place where drops arrive."""


def arrived(store: Store, config: DropsConfig) -> dict[str, Listing]:
    """The complete drops at `config.source` by their own source, in order.

    Raises:
        ConfigurationError: the source is a folder that is not there. An empty place is not an error.
    """
    source = config.source.rstrip("/")
    drops: defaultdict[str, set[tuple[str, int]]] = defaultdict(set)
    files = _files(store, source)
    tops = {path.split("/")[0] for path, _ in files}
    one = bool(tops & _OWN_FOLDERS) or any("/" not in path for path, _ in files)
    for path, size in files:
        name, _, rest = path.partition("/")
        drops[source if one else f"{source}/{name}"].add((path if one else rest, size))
    complete = {place: frozenset(drops[place]) for place in sorted(drops)}
    if config.ready:
        complete = {place: listing for place, listing in complete.items() if config.ready in {p for p, _ in listing}}
    return complete


def _files(store: Store, source: str) -> list[tuple[str, int]]:
    local = Path(source).expanduser()
    if "://" in source:
        return [(stat.key, stat.size) for stat in open_store(source).list("")]
    if local.is_dir():
        return [(name, path.stat().st_size) for path, name in files_below(local)]
    if local.is_absolute():  # which no prefix is
        raise ConfigurationError(f"there is no folder {source}; name the place where drops arrive: --set drop=PLACE")
    return [(stat.key.removeprefix(f"{source}/"), stat.size) for stat in store.list(source)]
