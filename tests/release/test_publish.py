"""If these fail, a published policy lacks something that is needed to run or to trust it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from components.envisioner.policy import Policy
from components.release.bundle import BundleIncomplete
from components.release.triton_repository import materialise
from components.store.errors import IntegrityError, OrreryError
from data_contracts.bundle import PolicyBundle
from data_contracts.lineage import ObjectRef


def test_a_published_version_is_whole(store: Any, upstream: Any, release: Any, tmp_path: Path) -> None:
    inputs = upstream.inputs()
    record = release.publish(inputs)
    assert {o.path for o in record.objects} == {
        "bundle.json", "model.safetensors", "codec.safetensors", "card.md",
        "triton/press/config.pbtxt", "triton/press/1/model.py",
    }  # fmt: skip
    repository = materialise(store, record, tmp_path / "here")
    bundle = PolicyBundle.model_validate_json((tmp_path / "here/bundle.json").read_bytes())
    assert bundle.weights.sha256 == record.object("model.safetensors").sha256
    assert bundle.embodiment == "agibot_g1"
    assert (bundle.execute_steps, bundle.sampling_steps, bundle.memory.stride_steps) == (18, 3, 30)
    assert bundle.evaluation["policy/press-1/success"] == 0.9
    assert set(bundle.lineage) >= {"model", "codec", "frames", "evaluation", "gate"}
    policy = Policy.load(bundle, tmp_path / "here")
    memory = np.zeros((3, 2, 16, 24, 3), np.uint8)
    assert policy.act(memory, np.zeros(16), "press the red button", 0).shape == (54, 16)
    config = (repository / "press/config.pbtxt").read_text()
    assert record.version in config
    assert "specific { versions: [ 1 ] }" in config


def test_the_card_says_what_a_person_asks(store: Any, upstream: Any, release: Any) -> None:
    record = release.publish(upstream.inputs())
    card = store.read(f"{record.prefix}/card.md").decode()
    wanted = ("agibot_g1", "press the blue button", "head_color", "| policy | press-1 | 0.9 |", "54 relative actions",
              "18 steps (0.60 s)", record.inputs["model"].fingerprint, "passed, success")  # fmt: skip
    assert not [text for text in wanted if text not in card]


def test_publishing_again_is_the_same_version(upstream: Any, release: Any) -> None:
    inputs = upstream.inputs()
    assert release.publish(inputs) == release.publish(inputs)


@pytest.mark.parametrize("part", ["model.safetensors", "network.json", "action.json"])
def test_a_model_that_lacks_a_part_is_named(upstream: Any, release: Any, part: str) -> None:
    model = upstream.model(3, drop=part)
    inputs = upstream.inputs() | {"model": model, "evaluation": upstream.evaluation(model, 18)}
    with pytest.raises(BundleIncomplete, match=f"lacks {part}: {model.prefix}"):
        release.gate(inputs)


def test_an_evaluation_that_hides_how_it_ran_is_refused(upstream: Any, release: Any) -> None:
    inputs = upstream.inputs()
    config = {k: v for k, v in inputs["evaluation"].config.items() if k != "execute_steps"}
    bare = inputs["evaluation"].model_copy(update={"config": config})
    with pytest.raises(BundleIncomplete, match="does not say execute_steps"):
        release.gate(inputs | {"evaluation": bare})


def _required() -> list[str]:
    return [name for name, field in PolicyBundle.model_fields.items() if field.is_required()]


def test_all_that_is_needed_to_run_a_policy_is_required() -> None:
    assert set(_required()) == set(PolicyBundle.model_fields)


@pytest.mark.parametrize("part", _required())
def test_a_bundle_without_a_part_can_not_be_built(published: Any, part: str) -> None:
    whole = json.loads((published.folder / "bundle.json").read_text())
    PolicyBundle.model_validate(whole)
    with pytest.raises(ValidationError, match=part):
        PolicyBundle.model_validate({k: v for k, v in whole.items() if k != part})


def test_damaged_weights_are_never_served(store: Any, upstream: Any, release: Any, tmp_path: Path) -> None:
    record = release.publish(upstream.inputs())
    file = next(Path(store.url.removeprefix("file://")).rglob(f"press/{record.version}/model.safetensors"))
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)
    with pytest.raises(IntegrityError):
        materialise(store, record, tmp_path / "here")


def test_a_record_can_not_write_outside_its_folder(store: Any, upstream: Any, release: Any, tmp_path: Path) -> None:
    record = release.publish(upstream.inputs())
    evil = ObjectRef(path="../evil", size=1, sha256=record.objects[0].sha256)
    forged = record.model_copy(update={"objects": (*record.objects, evil)})
    with pytest.raises(OrreryError):
        materialise(store, forged, tmp_path / "here")
    assert not (tmp_path / "evil").exists()


def test_what_is_not_a_policy_has_no_repository(store: Any, upstream: Any, tmp_path: Path) -> None:
    with pytest.raises(OrreryError, match="no Triton repository"):
        materialise(store, upstream.model(), tmp_path / "here")
