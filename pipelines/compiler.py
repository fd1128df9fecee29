"""Pipelines as KFP YAML, and as Kubernetes objects: the same text for the same code and recipe."""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import secrets
from pathlib import Path
from typing import Any

from data_contracts.base import canonical_json
from pipelines.catalog import Pipeline
from pipelines.placement import place
from pipelines.recipes.base import Recipe

KUBERNETES = "kubernetes"
"""Beside the YAML files that a person uploads, the folder of those that `kubectl apply` or GitOps takes."""


def compile_to(pipeline: Pipeline, recipe: Recipe, folder: Path) -> tuple[Path, Path]:
    """Compile `pipeline` with `recipe` into `folder/<name>.yaml` and, as a Pipeline and its PipelineVersion, into
    `folder/kubernetes/<name>.yaml`, atomically.

    The recipe's configurations are the parameters' defaults; a run may still give others.
    """
    from kfp import compiler

    made = placed(pipeline.load(), recipe)
    upload, manifest = folder / f"{pipeline.name}.yaml", folder / KUBERNETES / f"{pipeline.name}.yaml"
    _write(upload, lambda path: compiler.Compiler().compile(made, path))
    _write(manifest, lambda path: Path(path).write_text(_objects(upload.read_bytes(), made)))
    return upload, manifest


def _objects(uploaded: bytes, made: Any) -> str:
    """The Pipeline and its PipelineVersion, as `kubernetes_manifest_format` of KFP's compiler has them, for whatever
    namespace they are applied to. KFP's would write all of it once more with PyYAML, which takes as long again."""
    import yaml
    from google.protobuf.json_format import MessageToDict

    info = made.pipeline_spec.pipeline_info
    told = {"description": made.description} if made.description else {}
    specs = {"pipelineSpec": MessageToDict(made.pipeline_spec), "platformSpec": MessageToDict(made.platform_spec)}
    version = {"pipelineName": info.name, **specs}
    objects = [
        {
            "apiVersion": "pipelines.kubeflow.org/v2beta1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": {"displayName": name, **told, **more},
        }
        for kind, name, more in (
            ("Pipeline", info.name, {}),
            ("PipelineVersion", f"{info.name}-{hashlib.sha256(uploaded).hexdigest()[:12]}", version),
        )
    ]
    return yaml.dump_all(objects, Dumper=yaml.CSafeDumper, sort_keys=True)


def placed(graph: Any, recipe: Recipe) -> Any:
    """The KFP pipeline `graph` again, each of its tasks placed, and the recipe's values as its defaults."""
    from kfp import dsl
    from kfp.dsl.pipeline_context import Pipeline as Context

    defaults = _defaults(recipe)
    signature = inspect.signature(graph.pipeline_func)
    parameters = [p.replace(default=defaults.get(name, p.default)) for name, p in signature.parameters.items()]
    parameters.sort(key=lambda p: p.default is not p.empty)  # Python wants those without a default first

    @functools.wraps(graph.pipeline_func)
    def traced(*arguments: Any) -> Any:
        outputs = graph.pipeline_func(**{p.name: a for p, a in zip(parameters, arguments, strict=True)})
        for task in Context.get_default_pipeline().tasks.values():
            place(task, recipe, info.name.replace("-", "_"))
        return outputs

    info = graph.pipeline_spec.pipeline_info
    traced.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return dsl.pipeline(name=info.name, display_name=info.display_name, description=info.description)(traced)


def _defaults(recipe: Recipe) -> dict[str, Any]:
    configs = {f"{name}_config": canonical_json(config) for name, config in recipe.stages().items()}
    return {"seed": recipe.seed, **configs}


def _write(target: Path, compile_: Any) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{secrets.token_hex(4)}.yaml")
    try:
        compile_(str(temporary))
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
