"""Recipes: each is whole, fits every pipeline, and contradictions are refused before anything starts."""

from __future__ import annotations

import json

import pytest

from components.store.errors import ConfigurationError
from data_contracts.base import canonical_json
from pipelines.catalog import DROP_INTAKE, PIPELINES, Pipeline, find
from pipelines.recipes import RECIPES, recipe
from pipelines.recipes.overrides import keys
from pipelines.runner import arguments


def of_track(track: str) -> list[Pipeline]:
    return [pipeline for pipeline in PIPELINES.values() if pipeline.track == track]


EVERY = [(track, name) for track, names in RECIPES.items() for name in names]


@pytest.mark.parametrize(("track", "name"), EVERY)
def test_a_recipe_configures_every_parameter_of_its_pipelines(track: str, name: str) -> None:
    """A stage without its configuration would fail an hour into a run."""
    built = recipe(track, name, ["drop=somewhere"] if track == "robots" else [])
    for pipeline in of_track(track):
        given = dict.fromkeys(pipeline.inputs, "{}")
        made = arguments(pipeline.load(), pipeline, built, "store", given)
        assert made["store"] == "store"
        assert made["seed"] == built.seed
        for key, value in made.items():
            if key.endswith("_config"):
                assert json.loads(value) == json.loads(built.stages()[key.removesuffix("_config")].model_dump_json())


@pytest.mark.parametrize("track", RECIPES)
def test_a_setting_is_refused_at_once_or_taken_by_every_step(track: str) -> None:
    """Recipes make the stages' configurations of their own values: one that a step refuses would end a run hours later,
    where its image reads it; one that ends in a traceback says nothing."""
    name = next(iter(RECIPES[track]))
    for key in keys(recipe(track, name)):
        for value in ("0", "-1", "100000"):
            try:
                stages = recipe(track, name, [f"{key}={value}"]).stages()
            except ConfigurationError:
                continue
            for config in stages.values():
                type(config).model_validate_json(canonical_json(config))


@pytest.mark.parametrize(("track", "name"), EVERY)
def test_estimates_name_real_stages(track: str, name: str) -> None:
    """An estimate under a wrong name silently counts for nothing."""
    from pipelines.earlier import runs_stage
    from pipelines.kfp_local import tasks

    every = [task for pipeline in of_track(track) if pipeline is not DROP_INTAKE for task in tasks(pipeline.load())]
    estimates = recipe(track, name).estimates
    for stage in estimates:
        assert any(runs_stage(task, stage) for task in every), f"{stage} is no stage"
    assert [task for task in every if not any(runs_stage(task, stage) for stage in estimates)] == []


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("evaluation.seed_base=5", ["evaluation.seed_base", "seeds that recordings use"]),
        ("evaluation.execute_steps=99", ["evaluation.execute_steps=54 or less"]),
        ("record.cameras=head_color", ["frames_cameras", "hand_right_color", "record.cameras"]),
        ("record.embodiment=foo", ["record", "foo", "agibot_g1"]),
        ("stage1.clip.frames=50", ["stage1", "50", "e.g. 49"]),
        ("network.image_height=100", ["network", "96x64"]),
        ("stage1.train.processes=3", ["stage1.train", "3 processes"]),
        ("stage1.train.learning_rat=1", ["stage1.train.learning_rate"]),
    ],
)
def test_contradictions_are_refused_with_the_field_and_the_mend(setting: str, parts: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        recipe("robots", "tiny", [setting])
    for part in parts:
        assert part in str(caught.value)


def test_an_unknown_recipe_or_pipeline_names_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="tiny"):
        recipe("robots", "tinny")
    with pytest.raises(ConfigurationError, match="ge_act"):
        find("ge-acts")
    assert find("ge-act").name == "ge_act"


def test_what_stages_share_is_written_once() -> None:
    """Two stages with different ideas of the network would train what cannot be joined."""
    stages = recipe("robots", "tiny", ["network.video.layers=2"]).stages()
    layers = {getattr(c, "network", None) and c.network.video.layers for c in stages.values()} - {None}  # type: ignore[attr-defined]
    assert layers == {2}
