"""If these fail, an image runs as root, holds what nobody pinned, or is named differently from what pods ask for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from components import images

ROOT = Path(__file__).resolve().parents[2]
Dockerfile = Callable[[str], list[tuple[str, str]]]


def test_every_image_has_a_folder_and_every_dockerfile_a_name() -> None:
    folders = {path.parent.name for path in (ROOT / "images").glob("*/Dockerfile")}
    assert folders == set(images.names())
    assert all((ROOT / "images" / name / "requirements.lock").is_file() for name in folders)


def test_the_base_is_one_variable_and_pinned(image_name: str, dockerfile: Dockerfile) -> None:
    """Breaks if a base could change under the same name, differ between images, or not be replaced by a mirror's."""
    instructions = dockerfile(image_name)
    assert {rest.split()[0] for keyword, rest in instructions if keyword == "FROM"} == {"${BASE}"}
    assert instructions[0] == dockerfile(images.names()[0])[0], "every image stands on the same base"
    assert re.fullmatch(r"BASE=python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}", instructions[0][1])


def test_it_runs_without_root(image_name: str, dockerfile: Dockerfile) -> None:
    """As a number, because Kubernetes can't check a name, and as the one that the manifests ask for."""
    users = [rest for keyword, rest in dockerfile(image_name) if keyword == "USER"]
    [user, group] = map(int, users[-1].split(":"))
    assert user > 0
    assert group > 0
    server = list(yaml.safe_load_all((ROOT / "manifests/base/policy-server.yaml").read_text()))[-1]
    security = server["spec"]["template"]["spec"]["securityContext"]
    assert (security["runAsUser"], security["runAsGroup"]) == (user, group)
    after = [keyword for keyword, _ in dockerfile(image_name)]
    assert not {"RUN", "COPY"} & set(after[after.index("USER") :])


def test_packages_come_from_the_images_own_lock_by_hash(image_name: str, dockerfile: Dockerfile) -> None:
    instructions = dockerfile(image_name)
    copied = [rest.split()[:-1] for keyword, rest in instructions if keyword == "COPY"]
    locks = ["images/dev/uv.lock", "images/dev/sbom.lock", f"images/{image_name}/requirements.lock"]
    assert ["pyproject.toml", "images/assemble.sh", *locks] in copied
    runs = [rest for keyword, rest in instructions if keyword == "RUN"]
    assert "sh /build/assemble.sh /build/requirements.lock" in runs
    assert not [run for run in runs if re.search(r"\bpip\b|\bcurl\b|\bwget\b|\bgit\b", run)]
    assert not [keyword for keyword, _ in instructions if keyword == "ADD"], "ADD downloads without a hash"
    installs = re.findall(r".*\bpip (?:install|sync)\b.*", (ROOT / "images/assemble.sh").read_text())
    assert len(installs) == 3, "the installer, the image's packages, the writer of the bill of materials"
    assert all("--require-hashes" in line for line in installs)


def test_an_engine_is_the_build_that_was_asked_for(dockerfile: Dockerfile) -> None:
    """Breaks if an image for GPUs got the build for CPUs, or the default were one that was never run."""
    instructions = dockerfile("rollout")
    assert instructions[1] == ("ARG", "ENGINE=cpu")
    locks = {"engine.lock": "/build/engine-cpu.lock", "engine-cuda.lock": "/build/"}
    assert {("COPY", f"images/rollout/{lock} {place}") for lock, place in locks.items()} <= {*instructions}
    run = instructions.index(("RUN", 'sh /build/assemble.sh "/build/engine-$ENGINE.lock" /opt/engine'))
    assert instructions[run - 1] == ("ARG", "ENGINE"), "an argument ends with its stage"
    assert ("ARG", "ENGINE") in instructions[run:], "and the last stage has a compiler by it"


def test_only_the_build_stage_has_a_compiler(image_name: str, dockerfile: Dockerfile) -> None:
    """Breaks if what an image runs could compile, or install, or if a training had to."""
    instructions = dockerfile(image_name)
    final = max(number for number, (keyword, _) in enumerate(instructions) if keyword == "FROM")
    runs = [rest for keyword, rest in instructions[final:] if keyword == "RUN"]
    for_gpus = '$([ "$ENGINE" = cpu ] || echo g++ libpython3.11-dev)'  # Triton's need, when an engine starts
    assert [run.count(for_gpus) for run in runs] == [int(image_name == "rollout")]
    assert not [run for run in runs if re.search(r"g\+\+|gcc|python3\.11-dev|build-ess", run.replace(for_gpus, ""))]
    builds = [rest for keyword, rest in instructions[:final] if keyword == "RUN"]
    assert any("compile_op.sh" in run for run in builds) == (image_name in {"trainer", "rollout"})
    settings = [rest for keyword, rest in instructions if keyword == "ENV"]
    assert not any("TORCH_EXTENSIONS_DIR" in rest for rest in settings), (
        "the compiled operation lies in the environment"
    )


def test_labels_say_what_an_image_is(image_name: str, dockerfile: Dockerfile) -> None:
    instructions = dockerfile(image_name)
    [labels] = [rest for keyword, rest in instructions if keyword == "LABEL"]
    named = dict(re.findall(r'(?:org\.opencontainers\.image|orrery)\.([a-z.]+)=("[^"]*"|\S+)', labels))
    engine = {"engine"} if image_name == "rollout" else set()
    assert named.keys() == {"title", "description", "version", "revision", "base.name"} | engine
    given = {rest.split("=")[0] for keyword, rest in instructions if keyword == "ARG"}
    assert {value for value in named.values() if "$" in value} == {f"${{{name}}}" for name in given}


def test_no_secret_and_no_address_is_baked_in(image_name: str, dockerfile: Dockerfile) -> None:
    for keyword, rest in dockerfile(image_name):
        if keyword in ("ENV", "ARG"):
            assert not re.search(r"KEY|SECRET|PASSWORD|TOKEN|CREDENTIAL|PROXY|INDEX", rest), f"{keyword} {rest}"
        assert not re.search(r"https?://(?!127\.0\.0\.1)", rest), f"{keyword} {rest}"


def test_the_build_sees_the_code_and_nothing_else(in_context: Callable[[str], bool]) -> None:
    """Breaks if a store, a checkout's history or a person's environment went into an image, or into its cache key."""
    for path in ("components/store/api.py", "images/data/requirements.lock", "pipelines/cli.py"):
        assert in_context(path), path
    outside = (
        ".git/config",
        ".venv/bin/python",
        ".orrery/raw/x",
        ".env",
        "tests/conftest.py",
        "build/pipelines/x.yaml",
    )
    for path in (*outside, "components/store/__pycache__/api.cpython-311.pyc"):
        assert not in_context(path), path


def test_images_are_built_under_the_names_that_components_ask_for(tmp_path: Path) -> None:
    """The script with an engine that only writes down what it is told, for there may be none here."""
    told = builds(tmp_path, "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORRERY_IMAGE_PREFIX", "registry.example/robots")
        named = {images.image(name).partition("@")[0]: f"images/{name}/Dockerfile" for name in images.names()}
    assert {_option(line, "--tag"): _option(line, "--file") for line in told} == named
    assert not [word for line in told for word in line if word.startswith("BASE=")], "the Dockerfiles' own"


def test_another_base_and_another_engine_reach_the_build(tmp_path: Path) -> None:
    """Breaks if who mirrors the base, or samples on GPUs, got the default without a word."""
    [told] = builds(tmp_path, "mirror.example/python:3.11", "rollout", "--", "--build-arg", "ENGINE=cuda")
    given = {told[i + 1] for i, word in enumerate(told) if word == "--build-arg"}
    assert {"BASE=mirror.example/python:3.11", "ENGINE=cuda"} <= given


def builds(folder: Path, base: str, *arguments: str) -> list[list[str]]:
    """What the script tells the engine, one list of words for each image."""
    calls = folder / "calls"
    engine = folder / "docker"
    engine.write_text(f'#!/bin/sh\n[ "$1" = info ] || echo "$@" >>{calls}\n')
    engine.chmod(0o755)
    build(f"{folder}:{os.environ['PATH']}", "registry.example/robots", *arguments, base=base).check_returncode()
    return [line.split() for line in calls.read_text().splitlines()]


def test_a_pushed_image_is_pinned_by_the_registrys_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if components, compiled pipelines and manifests went on with whatever a tag means today."""
    pinned = ("images/images.json", "manifests/base/kustomization.yaml", "manifests/training/kustomization.yaml")
    for name in ("images/push.sh", "images/engine.sh", "images/data/Dockerfile", *pinned):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    digest = "sha256:" + 32 * "0a"
    engine = tmp_path / "bin" / "podman"
    engine.parent.mkdir()
    engine.write_text(f'#!/bin/sh\n[ "$1" = info ] || echo {digest} >"$3"\n')  # push --digestfile FILE REFERENCE
    engine.chmod(0o755)
    (engine.parent / "docker").write_text("#!/bin/sh\nexit 1\n")  # a command without its daemon
    (engine.parent / "docker").chmod(0o755)
    environment = {"PATH": f"{engine.parent}:{os.environ['PATH']}", "ORRERY_IMAGE_PREFIX": "registry.example/robots"}
    command = ["/bin/bash", str(tmp_path / "images/push.sh"), "data"]
    subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)

    others = images.image("trainer")
    monkeypatch.setattr(images, "IMAGES_FILE", tmp_path / "images/images.json")
    images._images.cache_clear()
    try:
        assert images.image("data").endswith(f"@{digest}")
        assert images.image("trainer") == others
    finally:
        images._images.cache_clear()
    base = yaml.safe_load((tmp_path / pinned[1]).read_text())
    tags = {entry["newName"]: entry["newTag"] for entry in base["images"]}
    assert {name for name, tag in tags.items() if digest in tag} == {"orrery/data-python"}
    assert (tmp_path / pinned[2]).read_text() == (ROOT / pinned[2]).read_text()


def test_without_an_engine_the_build_says_what_to_install(tmp_path: Path) -> None:
    for program in ("bash", "dirname", "env"):
        (tmp_path / program).symlink_to(
            next(p for p in (Path("/usr/bin") / program, Path("/bin") / program) if p.exists())
        )
    done = build(path=str(tmp_path), prefix="")
    assert done.returncode == 3
    assert "neither docker nor podman is on PATH: install one" in done.stderr


def build(path: str, prefix: str, *arguments: str, base: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": path, "ORRERY_IMAGE_PREFIX": prefix, "ORRERY_BASE_IMAGE": base}
    script = ["/bin/bash", str(ROOT / "images" / "build.sh"), *arguments]
    return subprocess.run(script, env=environment, capture_output=True, text=True, timeout=60, check=False)


def _option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]
