"""If these fail, a step runs last week's image in silence, or refuses one that has all that the stage is made of."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from components.store import code
from components.store.api import Store
from components.store.code import COMPILED_FROM, folder_fingerprints, source_fingerprint
from components.store.errors import ConfigurationError
from components.store.shell import call
from data_contracts.base import canonical_json

OTHER = "0" * 12


@pytest.fixture
def compiled_from(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of a compiled step, in an image of the same code."""
    monkeypatch.setenv("ORRERY_IMAGE", "orrery/data-python:0.1.0")
    monkeypatch.setenv("ORRERY_REVISION", "abc123")
    monkeypatch.setenv(COMPILED_FROM, canonical_json(folder_fingerprints()))
    return monkeypatch


def test_every_folder_of_code_has_the_fingerprint_that_versions_are_named_by() -> None:
    found = folder_fingerprints()
    assert {"components/agibot", "components/training", "components/store", "data_contracts"} <= found.keys()
    assert found["data_contracts"] == source_fingerprint(("data_contracts",))[:12]


def test_a_stage_refuses_an_image_of_other_code(
    folder_store: Store, toy_module: ModuleType, compiled_from: pytest.MonkeyPatch
) -> None:
    here = folder_fingerprints()["components/store"]
    compiled_from.setenv(COMPILED_FROM, canonical_json({**folder_fingerprints(), "components/store": OTHER}))
    with pytest.raises(ConfigurationError) as caught:
        toy_module.toy(folder_store, toy_module.ToyConfig(), 0)
    said = str(caught.value)
    assert said.startswith("toy.stage: orrery/data-python:0.1.0, built of commit abc123, holds other code than the")
    assert f"components/store ({here} here, {OTHER} there); build the image" in said
    assert "or compile the pipeline from the image's commit" in said
    assert list(folder_store.list("")) == []


def test_an_edited_text_makes_no_version_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "_ROOT", tmp_path)
    stage = tmp_path / "track"
    stage.mkdir()
    (stage / "stage.py").write_text("STEPS = 1\n")

    def fingerprint() -> str:
        source_fingerprint.cache_clear()
        return source_fingerprint(("track",))

    before = fingerprint()
    (stage / "README.md").write_text("what was measured")
    assert fingerprint() == before
    (stage / "stage.py").write_text("STEPS = 2\n")
    assert fingerprint() != before


@pytest.mark.parametrize("differs", ["components/agibot", "data_contracts", "components/of-a-later-commit"])
def test_code_that_the_stage_is_not_made_of_may_differ(
    folder_store: Store, toy_module: ModuleType, compiled_from: pytest.MonkeyPatch, differs: str
) -> None:
    compiled_from.setenv(COMPILED_FROM, canonical_json({**folder_fingerprints(), differs: OTHER}))
    assert toy_module.toy(folder_store, toy_module.ToyConfig(), 0).stage == "toy.stage"


def test_a_refused_field_is_explained_by_the_other_code(
    folder_store: Store, toy_module: ModuleType, compiled_from: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A newer field in the configuration was refused by an older image, and nothing said why."""
    for compiled, explained in ((folder_fingerprints(), False), ({"data_contracts": OTHER}, True)):
        compiled_from.setenv(COMPILED_FROM, canonical_json(compiled))
        with pytest.raises(SystemExit) as caught:
            call(toy_module.toy, store=folder_store.url, config='{"newer": 1}', seed=0, source="")
        assert caught.value.code == 2
        said = capsys.readouterr().err
        assert "newer: Extra inputs are not permitted" in said
        assert ("holds other code than the pipeline was compiled from, in data_contracts" in said) == explained


def test_fingerprints_that_nobody_can_read_are_a_configuration_error(
    folder_store: Store, toy_module: ModuleType, compiled_from: pytest.MonkeyPatch
) -> None:
    for text in ("{", "[]", "7"):
        compiled_from.setenv(COMPILED_FROM, text)
        with pytest.raises(ConfigurationError, match=r"ORRERY_CODE is not the JSON.*compile again"):
            toy_module.toy(folder_store, toy_module.ToyConfig(), 0)
