"""What a stage really used, compared with what it was asked for: a setting ignored in silence is a wrong result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from data_contracts.lineage import StageRecord

EFFECTIVE = "effective/"
"""A stage that had to use another value than its configuration's says so by the metric `effective/<dotted key>`."""


def differences(asked: Mapping[str, object], record: StageRecord) -> list[str]:
    """`key: asked for A, used B`, for every value of the configuration that was not used as asked.

    An empty text asks for nothing: the stage fills in what it found (a drop's fingerprint), and that is no difference.
    """
    wanted = dict(_flat(asked))
    used = dict(_flat(record.config))
    used |= {k.removeprefix(EFFECTIVE): v for k, v in record.metrics.items() if k.startswith(EFFECTIVE)}
    return [
        f"{key}: asked for {wanted.get(key, 'nothing')}, used {used.get(key, 'nothing')}"
        for key in sorted(wanted.keys() | used.keys())
        if wanted.get(key) not in (used.get(key), "")
    ]


def _flat(config: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
