"""What comes from outside: only what is safe and whole enters the store, and what is missing is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from components.dft import data_stages
from components.dft.config import ChatsAdoptConfig, ModelAdoptConfig, Source
from components.dft.reading import read_chats
from components.language import model as language_model
from components.language.config import ProblemsConfig
from components.language.problems import generate
from components.language.tokenise import tokenise
from components.store.api import Store
from components.store.errors import ConfigurationError, OrreryError
from data_contracts.chat import ChatExample
from data_contracts.lineage import StageRecord
from pipelines.recipes.dft_adopted.types import PLAIN_CHAT


@pytest.fixture
def outside(folder: Path, tmp_path: Path) -> Path:
    """A model's folder as hubs offer them: with weights in other formats, code and pictures beside."""
    path = shutil.copytree(folder, tmp_path / "outside")
    for name in ("pytorch_model.bin", "modeling_own.py", "optimizer.pt", "plot.png"):
        (path / name).write_bytes(b"\x80\x04.")
    (path / "original").mkdir()
    (path / "original" / "model.safetensors").write_bytes(b"another copy")
    return path


def adopted(store: Store, path: Path, **config: object) -> StageRecord:
    made = ModelAdoptConfig.model_validate({"name": "outside", "source": {"uri": str(path)}, **config})
    return data_stages.adopt_model(store, made, 0)


def test_only_weights_and_texts_of_known_names_are_taken(folder_store: Store, outside: Path, tmp_path: Path) -> None:
    """Breaks if a pickle or code from a hub reached the store, where somebody would load it one day."""
    record = adopted(folder_store, outside)
    assert {o.path for o in record.objects} == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        "chat_template.jinja",
    }  # fmt: skip
    assert record.metrics["left_out"] == 5
    assert len(record.config["source"]["fingerprint"]) == 64
    for ref in record.objects:
        (tmp_path / ref.path).write_bytes(folder_store.read(f"{record.prefix}/{ref.path}", ref.sha256))
    language_model.load(tmp_path)


def test_a_base_model_gets_the_template_and_padding_that_it_lacks(
    folder_store: Store, outside: Path, tmp_path: Path
) -> None:
    """Breaks if LLaMA's base models, published without either, could not be taken or would never learn to stop."""
    (outside / "chat_template.jinja").unlink()
    settings = json.loads((outside / "tokenizer_config.json").read_text())
    network = json.loads((outside / "config.json").read_text())
    (outside / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in settings.items() if k != "pad_token"}))
    (outside / "config.json").write_text(json.dumps(network | {"pad_token_id": None}))
    with pytest.raises(ConfigurationError, match=r"no pad_token.*no chat template"):
        adopted(folder_store, outside)
    record = adopted(folder_store, outside, chat_template=PLAIN_CHAT, pad_token="<pad>")
    for ref in record.objects:
        (tmp_path / ref.path).write_bytes(folder_store.read(f"{record.prefix}/{ref.path}", ref.sha256))
    tokenizer = language_model.load_tokenizer(tmp_path)
    example = next(generate(ProblemsConfig(), 0))
    tokens = tokenise(example, tokenizer, 512)
    assert tokens.labels[-1] == tokenizer.eos_token_id
    text = tokenizer.decode([int(t) for t in tokens.input_ids])
    assert text == f"<bos>User: {example.messages[0].content}\n\nAssistant: {example.response}<eos>"
    assert (outside / "tokenizer_config.json").read_text().find("pad_token") == -1, "the source is left as it was"


def _drop_weights(path: Path) -> None:
    (path / "model.safetensors").unlink()


def _cut_weights(path: Path) -> None:
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def _spoil(path: Path) -> None:
    tensors = load_file(path / "model.safetensors")
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})


def _lose_a_shard(path: Path) -> None:
    tensors = load_file(path / "model.safetensors")
    half = dict(islice(tensors.items(), len(tensors) // 2))
    (path / "model.safetensors").unlink()
    save_file(half, path / "model-00001-of-00002.safetensors")
    index = {"weight_map": dict.fromkeys(tensors, "model-00002-of-00002.safetensors")}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))


def _code(path: Path) -> None:
    network = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(network | {"auto_map": {"AutoModel": "modeling_own.Own"}}))


def _nested(path: Path) -> None:
    (path / "config.json").write_text("[" * 100_000)


def _swap_tokenizer(path: Path) -> None:
    network = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(network | {"vocab_size": 20}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_drop_weights, r"holds no model\.safetensors; weights in other formats run code"),
        (_spoil, r"model\.norm\.weight in model\.safetensors holds NaN or infinities"),
        (_cut_weights, r"model\.safetensors is damaged or not complete"),
        (_lose_a_shard, "do not agree, first on"),
        (_code, "names code of its own"),
        (_nested, r"config\.json is missing or no JSON"),
        (_swap_tokenizer, "the model's vocab_size is 20"),
    ],
)
def test_a_model_that_can_not_be_trusted_is_named(
    folder_store: Store, outside: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(outside)
    with pytest.raises(ConfigurationError, match=message):
        adopted(folder_store, outside)
    assert not list(folder_store.list("models"))


def test_a_model_that_is_too_large_or_another_one_is_refused(folder_store: Store, outside: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"more than adopt.max_bytes 1000; raise it"):
        adopted(folder_store, outside, max_bytes=1000)
    with pytest.raises(ConfigurationError, match="has the fingerprint"):
        adopted(folder_store, outside, source={"uri": str(outside), "fingerprint": "0" * 64})
    with pytest.raises(ConfigurationError, match=r"--set model\.uri=URI"):
        data_stages.adopt_model(folder_store, ModelAdoptConfig(name="x"), 0)


def written(path: Path, rows: list[ChatExample], *bad: str) -> Source:
    path.write_text("".join(f"{line}\n" for line in (*(row.model_dump_json() for row in rows), *bad)))
    return Source(uri=str(path))


def test_chats_are_drawn_at_random_and_sets_are_taken_whole(folder_store: Store, tmp_path: Path) -> None:
    """Breaks if training saw the first rows only, which data sets sort by source, or the draw changed by itself."""
    rows = list(islice(generate(ProblemsConfig(), 0), 60))
    sets = {"aime24": written(tmp_path / "a.jsonl", rows[:7])}
    config = ChatsAdoptConfig(name="x", train=written(tmp_path / "t.jsonl", rows, "no json"), examples=20, sets=sets)
    record, other = (data_stages.adopt_chats(folder_store, config, seed) for seed in (0, 1))
    assert {"read": 61, "unreadable": 1, "train": 20, "aime24": 7}.items() <= record.metrics.items()

    def chats(of: StageRecord, name: str) -> list[ChatExample]:
        (tmp_path / "read.jsonl").write_bytes(folder_store.read(f"{of.prefix}/{name}.jsonl"))
        return [row.example for row in read_chats([tmp_path / "read.jsonl"]) if row.example]

    drawn = chats(record, "train")
    places = [rows.index(row) for row in drawn]
    assert places == sorted(set(places))
    assert max(places) > 30
    assert drawn != chats(other, "train")
    assert chats(record, "aime24") == rows[:7]
    assert b"t.jsonl:61" in folder_store.read(f"{record.prefix}/quarantine.jsonl")
    assert data_stages.adopt_chats(folder_store, config, 0) == record


def test_a_set_to_judge_by_must_be_whole(folder_store: Store, tmp_path: Path) -> None:
    rows = list(islice(generate(ProblemsConfig(), 0), 3))
    train, bad = written(tmp_path / "t.jsonl", rows), written(tmp_path / "a.jsonl", rows, "no json")
    with pytest.raises(ConfigurationError, match=r"aime24, aime24/a\.jsonl:4: no JSON.*mend the set"):
        data_stages.adopt_chats(folder_store, ChatsAdoptConfig(name="x", train=train, sets={"aime24": bad}), 0)
    with pytest.raises(ConfigurationError, match="no set of problems is named"):
        data_stages.adopt_chats(folder_store, ChatsAdoptConfig(name="x", train=train), 0)
    empty = written(tmp_path / "e.jsonl", [], "no json")
    with pytest.raises(OrreryError, match="train holds no chat"):
        data_stages.adopt_chats(folder_store, ChatsAdoptConfig(name="x", train=empty, sets={"aime24": train}), 0)
    with pytest.raises(ValueError, match=r"sets\.train: that name is taken"):
        ChatsAdoptConfig(name="x", sets={"train": train})


def test_sets_can_be_taken_in_without_anything_to_train_on(folder_store: Store, tmp_path: Path) -> None:
    """R-Zero trains on no data: breaks if it asked for some all the same."""
    aime = written(tmp_path / "aime.jsonl", list(islice(generate(ProblemsConfig(), 0), 3)))
    record = data_stages.adopt_chats(folder_store, ChatsAdoptConfig(name="x", train=None, sets={"aime24": aime}), 0)
    assert [ref.path for ref in record.objects] == ["aime24.jsonl"]
