from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from components.release.triton_server import TritonServer
from data_contracts.bundle import PolicyBundle


def _load(name: str, file: Path) -> ModuleType:
    """tests/ has no packages: load a helper module by its place."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@pytest.fixture(scope="session")
def small() -> ModuleType:
    """tests/engines/triton.py: the small policy."""
    return _load("orrery_test_triton", Path(__file__).parents[1] / "engines" / "triton.py")


@dataclass(frozen=True)
class Published:
    folder: Path
    bundle: PolicyBundle
    version: str


@pytest.fixture(scope="session")
def published(small: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("published")
    return Published(folder, small.write_version(folder), small.VERSION)


@pytest.fixture(scope="session")
def server(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """The real Triton server, once for all tests."""
    log = tmp_path_factory.mktemp("triton") / "triton.log"
    with TritonServer(published.folder / "triton", log=log, threads=1) as running:
        yield running
