"""Takes models and chats that lie somewhere already into the store: checked, and named by what is there now.

Nothing of an outside model is ever unpickled or run: of its folder only the files of a known kind are taken, and its
weights only as safetensors.
"""

from __future__ import annotations

import heapq
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from components.agibot.adopt import Upload
from components.dft.config import ChatsAdoptConfig, ModelAdoptConfig
from components.dft.reading import Row, read_chats
from components.dft.validate import write_accepted, write_quarantine
from components.language import model as language_model
from components.store.errors import ConfigurationError, OrreryError
from data_contracts.lineage import Metric

_WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
_INDEX = "model.safetensors.index.json"
_TEXTS = re.compile(
    r"(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab)\.json|merges\.txt|"
    rf"chat_template\.jinja|{re.escape(_INDEX)}|(LICENSE|NOTICE|README|USE_POLICY)[.a-zA-Z]*"
)
LARGEST_TEXT = 64 << 20
"""Bytes of a file that is no weights; the largest tokenizers have about 30 MB."""


def adopt_model(config: ModelAdoptConfig, upload: Upload, out: Path) -> Mapping[str, Metric]:
    """Lay out a Hugging Face model that is whole, safe to read and fits its tokenizer.

    Raises:
        ConfigurationError: it is not; the message names the file and the mend.
    """
    kept = tuple(f for f in upload.files if _WEIGHTS.fullmatch(f.ref.path) or _TEXTS.fullmatch(f.ref.path))
    names = {found.ref.path for found in kept}
    if not any(map(_WEIGHTS.fullmatch, names)):
        raise ConfigurationError(
            f"{config.source.uri} holds no model.safetensors; weights in other formats run code when they are read, so "
            "none is: convert them with save_pretrained where you trust them"
        )
    for found in kept:
        if found.ref.size > LARGEST_TEXT and not _WEIGHTS.fullmatch(found.ref.path):
            raise ConfigurationError(f"{found.ref.path} has {found.ref.size} bytes, more than any such file needs")
    size = sum(found.ref.size for found in kept)
    if size > config.max_bytes:
        raise ConfigurationError(f"the model has {size} bytes, more than adopt.max_bytes {config.max_bytes}; raise it")
    Upload(upload.store, kept).lay_out(out)
    if "auto_map" in _json(out / "config.json"):
        raise ConfigurationError("config.json names code of its own (auto_map), which is never run; take another model")
    tensors = _tensors(out)
    _amend(config, out)
    language_model.load_tokenizer(out)
    return {"files": len(kept), "left_out": len(upload.files) - len(kept), "bytes": size, "tensors": tensors}


def adopt_chats(
    config: ChatsAdoptConfig, uploads: Mapping[str, Upload], seed: int, scratch: Path, out: Path
) -> Mapping[str, Metric]:
    """Write `train.jsonl`, a random part of the training chats, and `<set>.jsonl` of each set to judge by.

    What can't be read is left out of training and named in `quarantine.jsonl`.

    Raises:
        ConfigurationError: a set to judge by has a row that can't be read.
        OrreryError: no training chat can.
    """
    metrics: dict[str, Metric] = {}
    for name, upload in uploads.items():
        folder = scratch / name
        if not folder.exists():
            upload.lay_out(folder)
        rows = read_chats([folder])
        if name == "train":
            chosen, refused, total = _drawn(rows, config.examples, seed)
            write_quarantine(out / "quarantine.jsonl", refused)
            metrics |= {"read": total, "unreadable": len(refused)}
        else:
            chosen = list(rows)
            broken = next((row for row in chosen if row.example is None), None)
            if broken is not None:
                raise ConfigurationError(f"{name}, {broken.where}: {broken.findings[0].message}; mend the set")
        if not chosen:
            raise OrreryError(f"{name} holds no chat that can be read")
        write_accepted(out / f"{name}.jsonl", chosen)
        metrics[name] = len(chosen)
    return metrics


def _drawn(rows: Iterable[Row], most: int, seed: int) -> tuple[list[Row], list[Row], int]:
    """`most` of the readable rows at random, in their order; the rows that can't be read; how many there were.

    Each row draws a number and the smallest are kept, so a data set never has to fit into memory.
    """
    random_ = random.Random(seed)
    kept: list[tuple[float, int, Row]] = []
    refused: list[Row] = []
    total = 0
    for total, row in enumerate(rows, 1):
        if row.example is None:
            refused.append(row)
            continue
        entry = (-random_.random(), -total, row)
        if len(kept) < most:
            heapq.heappush(kept, entry)
        else:
            heapq.heappushpop(kept, entry)
    return [row for _, _, row in sorted(kept, key=lambda e: -e[1])], refused, total


def _tensors(folder: Path) -> int:
    """How many tensors the weights hold: all that the index names, once each, and every number finite.

    One NaN makes every loss NaN, and every answer noise; here it still has a name.
    """
    held: Counter[str] = Counter()
    for path in sorted(p for p in folder.iterdir() if _WEIGHTS.fullmatch(p.name)):
        try:
            with safe_open(path, framework="pt") as file:
                names = list(file.keys())
                broken = next((name for name in names if not file.get_tensor(name).float().isfinite().all()), "")
        except (SafetensorError, OSError) as error:
            raise ConfigurationError(f"{path.name} is damaged or not complete ({error}); download it again") from error
        held.update(names)
        if broken:
            raise ConfigurationError(f"{broken} in {path.name} holds NaN or infinities; take a model that has none")
    indexed = _json(folder / _INDEX).get("weight_map", {}) if (folder / _INDEX).exists() else dict.fromkeys(held, "")
    missing = sorted(set(indexed) - set(held)) or sorted(set(held) - set(indexed))
    if missing or max(held.values(), default=0) != 1:
        raise ConfigurationError(
            f"weights and {_INDEX} do not agree, first on {(missing or list(held))[0]}; download both again"
        )
    return len(held)


def _amend(config: ModelAdoptConfig, folder: Path) -> None:
    """Give a base model the chat template and the padding token that it was published without."""
    if config.chat_template:
        _replace(folder / "chat_template.jinja", config.chat_template)
    if config.pad_token:
        settings = _json(folder / "tokenizer_config.json")
        _replace(folder / "tokenizer_config.json", json.dumps(settings | {"pad_token": config.pad_token}, indent=1))


def _replace(path: Path, text: str) -> None:
    """What lies there is a link to the source."""
    path.unlink(missing_ok=True)
    path.write_text(text, encoding="utf-8")


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"the model's {path.name} is missing or no JSON; download it again") from error
    if not isinstance(value, dict):
        raise ConfigurationError(f"the model's {path.name} holds no object; download it again")
    return value
