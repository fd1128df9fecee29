"""From a published policy to a candidate and to a served one, with the real Triton server."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from components.release import registry, serve, stages
from components.release.component import release_candidate, release_gate, release_publish
from components.release.config import CandidateConfig, CheckConfig, GateConfig, PublishConfig
from components.release.errors import ServedDiffers, ServerUnavailable
from components.store.errors import ConfigurationError
from components.store.records import read_reference, reference
from components.store.stage import Workspace, run_stage
from data_contracts.lineage import Metric, StageRecord
from data_contracts.release import CheckResult
from tests.release.conftest import all_gone

CHECK = CheckConfig(policy="press", requests=4)
CANDIDATE = CandidateConfig(policy="press")


def test_a_checked_policy_becomes_the_candidate(store: Any, upstream: Any, release: Any) -> None:
    """The stages in their order: what Triton answers is what was evaluated, and only then the channel moves."""
    published = release.publish(upstream.inputs())
    checked = stages.check(store, CHECK, 0, published=published)
    result = CheckResult.model_validate_json(store.read(f"{checked.prefix}/result.json"))
    assert result.actions == (54, 16)
    assert max(result.max_difference.values()) <= 1e-4
    assert result.latency["http"].p95 > 0
    assert result.latency["grpc"].requests == 3
    assert registry.current(store, "press", "candidate") is None

    first = stages.candidate(store, CANDIDATE, 0, published=published, check=checked)
    again = stages.candidate(store, CANDIDATE, 0, published=published, check=checked)
    assert first == again
    assert registry.current(store, "press", "candidate") == published.version
    assert len(registry.history(store, "press", "candidate")) == 1

    assert stages.check(store, CHECK, 0, published=published) == checked
    other = release.publish(upstream.inputs(seed=1))
    with pytest.raises(ConfigurationError, match="is not the check of"):
        stages.candidate(store, CANDIDATE, 0, published=other, check=checked)
    with pytest.raises(ConfigurationError, match="is not the check of"):
        stages.candidate(store, CANDIDATE, 0, published=other, check=other)
    assert registry.current(store, "press", "candidate") == published.version


def test_a_served_policy_that_answers_differently_fails_its_check(store: Any, small: Any) -> None:
    """What reaches robots must be what was evaluated: a repository whose model.py shifts every action by 0.01."""

    def build(ws: Workspace) -> dict[str, Metric]:
        small.write_version(ws.out, ws.version)
        model = ws.out / "triton" / small.POLICY / "1" / "model.py"
        model.write_text(model.read_text().replace('Tensor("actions", actions)', 'Tensor("actions", actions + 0.01)'))
        return {}

    published = run_stage(
        store=store, stage="release.publish", kind="models", name=small.POLICY, inputs={}, config=CANDIDATE, seed=0,
        sources=("data_contracts/base.py",), build=build,
    )  # fmt: skip
    config = CheckConfig(policy=small.POLICY, requests=3)
    with pytest.raises(ServedDiffers, match=r"by up to 0\.01, tolerance 0\.001"):
        stages.check(store, config, 0, published=published)
    assert not list(store.list("evaluations"))


def test_the_components_hand_on_references(store: Any, upstream: Any) -> None:
    """The KFP shells, called as KFP calls them: strings in, a string out."""

    def ref(record: StageRecord) -> str:
        return reference(store, record).model_dump_json()

    given = {name: ref(record) for name, record in upstream.inputs().items()}
    gate = GateConfig(policy="press", latency_requests=5, max_latency_p95_s=30).model_dump_json()
    judged = release_gate.python_func(store=store.url, config=gate, seed=0, **given)
    del given["mean_action"]
    config = PublishConfig(policy="press").model_dump_json()
    published = release_publish.python_func(store=store.url, config=config, seed=0, gate=judged, **given)
    assert read_reference(store, published).stage == "release.publish"
    with pytest.raises(SystemExit) as ended:
        release_candidate.python_func(
            store=store.url, config=CANDIDATE.model_dump_json(), seed=0, published=published, check=judged
        )
    assert ended.value.code == 2


SERVE = """
import sys
from components.release.serve import serve
from components.store.open import open_store
serve(open_store(sys.argv[1]), "press", on_ready=lambda s: print(s.model_dump_json(), flush=True))
print("ended in order", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serving_answers_until_it_is_told_to_stop(store: Any, upstream: Any, release: Any, number: int) -> None:
    """`orrery serve`: says how to call it, answers what it printed, and ends cleanly."""
    published = release.publish(upstream.inputs())
    registry.promote(store, "press", published.version, "production")
    with subprocess.Popen([sys.executable, "-c", SERVE, store.url], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            serving = serve.Serving.model_validate_json(process.stdout.readline())
            command = re.search(r"curl -s (\S+) .* -d @(\S+)", serve.how_to_call(serving))
            assert command is not None
            address, file = command.groups()
            request = urllib.request.Request(address, Path(file).read_bytes(), {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as response:
                outputs = {o["name"]: o for o in json.load(response)["outputs"]}
            assert outputs["actions"]["shape"] == [54, 16]
            assert bytes(outputs["version"]["data"]).decode() == published.version
            process.send_signal(number)
            assert process.stdout.readline() == "ended in order\n"
            assert process.wait(30) == 0
            assert not Path(file).exists()
        finally:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)


def test_serving_can_be_stopped_while_it_loads(store: Any, upstream: Any, release: Any) -> None:
    """A large policy loads for minutes; Ctrl-C must not wait for it, and must not leave the server behind."""
    registry.promote(store, "press", release.publish(upstream.inputs()).version, "production")
    with subprocess.Popen([sys.executable, "-c", SERVE, store.url], stdout=subprocess.PIPE, text=True) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        deadline = time.monotonic() + 120
        while not (server := children.read_text().split()):
            assert time.monotonic() < deadline, "no server was started"
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.readline() == "ended in order\n"
        assert process.wait(60) == 0
        assert all_gone(int(server[0]))


def test_serving_ends_with_its_policy(store: Any, upstream: Any, release: Any) -> None:
    """The kernel kills the policy for want of memory: exit code 3, so that whoever runs `orrery serve` restarts it."""
    registry.promote(store, "press", release.publish(upstream.inputs()).version, "production")

    def kill(serving: serve.Serving) -> None:
        served = str(Path(serving.request).parent).encode()
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if b"python_backend_stub" in (words := command.read_bytes()) and served in words:
                    os.kill(int(command.parent.name), signal.SIGKILL)

    with pytest.raises(ServerUnavailable, match="want of memory") as ended:
        serve.serve(store, "press", on_ready=kill)
    assert ended.value.exit_code == 3


def test_the_printed_python_is_python(published: Any) -> None:
    serving = serve.Serving(
        policy="press", version=published.version, http="http://127.0.0.1:1", grpc="grpc://127.0.0.1:2",
        metrics="http://127.0.0.1:3/metrics", request="/tmp/request.json", bundle=published.bundle,
    )  # fmt: skip
    text = serve.how_to_call(serving)
    example = [line[2:] for line in text.split("With Python")[1].splitlines()[1:] if line.startswith("  ")]
    compile("\n".join(example), "example", "exec")
    assert "Execute 18 of the 54 actions at 30 Hz" in text


@pytest.mark.parametrize(
    ("name", "expected"),
    [("press", ("press", None)), ("press@canary", ("press", "canary")), ("press@", None), ("@x", None)],
)
def test_what_to_serve_is_policy_at_channel(name: str, expected: Any) -> None:
    if expected:
        assert serve.split_name(name) == expected
    else:
        with pytest.raises(ConfigurationError, match="POLICY@CHANNEL"):
            serve.split_name(name)


def test_serving_what_does_not_exist_is_one_clear_message(store: Any) -> None:
    with pytest.raises(ConfigurationError, match="unknown policy 'press'; published: none yet"):
        serve.serve(store, "press")
