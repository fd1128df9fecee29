"""Pipelines as KFP YAML: the same text for the same code."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from pipelines.catalog import Pipeline


def compile_to(pipeline: Pipeline, folder: Path) -> Path:
    """Compile `pipeline` into `folder/<name>.yaml`, atomically."""
    from kfp import compiler

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{pipeline.name}.yaml"
    temporary = folder / f".{secrets.token_hex(4)}.yaml"
    try:
        compiler.Compiler().compile(pipeline.load(), str(temporary))
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target
