"""The real vLLM engine on a random two-layer Qwen3. If these fail, an evaluation judges other text than the
model writes, a killed stage leaves engines behind, or a dead engine costs samples.

A start takes a minute, so one engine serves the module; the last test kills it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from components.language import vllm_server
from components.language.engine_config import EngineConfig
from components.language.samples import Sampled, SamplingConfig, read_samples
from components.language.sampling import sample, sample_to
from components.language.vllm_command import rollout_python
from components.language.vllm_server import EngineUnavailable, VllmServer
from components.store.errors import ConfigurationError, OrreryError
from tests.engines import qwen

pytestmark = pytest.mark.timeout(900)

ENGINE = EngineConfig(max_model_len=qwen.POSITIONS, max_num_seqs=32, kv_cache_mib=256, threads=1)
PROMPTS = [list(text.encode("ascii")) for text in ("2+3=", "a", "How many apples does Ann have?", "((1-2)*3", "x" * 90)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("qwen")
    qwen.write_model(folder)
    return folder


@pytest.fixture(scope="module")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vllm_server, "_HEALTH_SECONDS", 1.0)
        with VllmServer(model, tmp_path_factory.mktemp("vllm") / "vllm.log", ENGINE) as one:
            yield one


def in_order(samples: Iterator[Sampled]) -> list[Sampled]:
    return sorted(samples, key=lambda sampled: sampled.index)


def group(leader: int) -> dict[int, str]:
    """The living processes of a group, with their command lines."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            state, _, number = (process / "stat").read_text().rsplit(")", 1)[1].split()[:3]
            if int(number) == leader and state != "Z":
                found[int(process.name)] = (process / "cmdline").read_text()
    return found


def all_gone(leader: int) -> bool:
    """Whether no process of the group is left within a few seconds."""
    until = time.monotonic() + 30
    while group(leader) and time.monotonic() < until:
        time.sleep(0.1)
    return not group(leader)


def api_server(server: VllmServer) -> int:
    """The process that answers; the one that computes is another."""
    [pid] = [p for p, line in group(server.pid).items() if "api_server" in line and "vllm_supervisor" not in line]
    return pid


def test_greedy_completions_are_those_of_transformers(server: VllmServer, model: Path) -> None:
    """Breaks if the engine truncated, stopped or decoded otherwise than the library that trained the model."""
    network, tokenizer = AutoModelForCausalLM.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    config = SamplingConfig(temperature=0, max_tokens=24, logprobs=True, prompt_logprobs=True)
    for sampled in sample(server, PROMPTS, config):
        prompt, [completion] = PROMPTS[sampled.index], sampled.completions
        with torch.inference_mode():
            whole = network.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=24)
            logprobs = network(whole).logits[0, :-1].log_softmax(-1)
        assert [*prompt, *completion.token_ids] == whole[0].tolist()
        assert completion.text == tokenizer.decode(whole[0, len(prompt) :], skip_special_tokens=True)
        told = [*sampled.prompt_logprobs, *completion.logprobs]
        expected = logprobs.gather(1, whole[0, 1:, None])[:, 0].tolist()
        assert told == pytest.approx(expected, abs=1e-4)


def test_samples_depend_on_seed_and_index_alone(server: VllmServer) -> None:
    """Breaks if a resumed run drew other samples than an uninterrupted one, or all prompts drew alike."""
    config = SamplingConfig(n=3, max_tokens=16, seed=5)
    prompts = [PROMPTS[0]] * 3
    whole = in_order(sample(server, prompts, config))
    assert in_order(sample(server, prompts, config, indices=[1])) == whole[1:2]
    drawn = [completion.token_ids for sampled in whole for completion in sampled.completions]
    assert len(set(drawn)) == 9
    other = in_order(sample(server, prompts, config.model_copy(update={"seed": 6})))
    assert not {c.token_ids for s in other for c in s.completions} & set(drawn)


def test_temperature_and_truncation_reach_the_engine(server: VllmServer) -> None:
    """top_k=1 and a tiny top_p leave only the most probable token; the probabilities told are the model's own."""
    greedy = in_order(sample(server, PROMPTS, SamplingConfig(temperature=0, max_tokens=8, logprobs=True)))
    for narrow in ({"top_k": 1}, {"top_p": 1e-6}):
        config = SamplingConfig.model_validate({"max_tokens": 8, "logprobs": True, "temperature": 2.0, **narrow})
        for wide, one in zip(in_order(sample(server, PROMPTS, config)), greedy, strict=True):
            assert wide.completions[0].token_ids == one.completions[0].token_ids
            assert wide.completions[0].logprobs == pytest.approx(one.completions[0].logprobs, abs=1e-4)


def test_stop_texts_end_a_completion_and_are_cut_off(server: VllmServer) -> None:
    [whole] = sample(server, PROMPTS[:1], SamplingConfig(temperature=0, max_tokens=24))
    text = whole.completions[0].text
    assert whole.completions[0].finish == "length"
    [cut] = sample(server, PROMPTS[:1], SamplingConfig(temperature=0, max_tokens=24, stop=(text[4:6],)))
    assert cut.completions[0].text == text[: text.index(text[4:6])]
    assert cut.completions[0].finish == "stop"


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "message"),
    [
        ([], 8, "prompt 1 holds no token"),
        ([5] * 250, 8, "prompt 1 has 250 tokens .* more than max_model_len 256; shorten it"),
        ([5], 300, "up to 300, together more than max_model_len 256"),
        ([100_000], 8, r"refuses prompt 1: .*100000"),
        ([-1], 8, "refuses prompt 1: "),
    ],
)
def test_a_malformed_prompt_is_named(server: VllmServer, prompt: list[int], max_tokens: int, message: str) -> None:
    with pytest.raises(OrreryError, match=message) as refused:
        list(sample(server, [PROMPTS[0], prompt], SamplingConfig(max_tokens=max_tokens)))
    assert "Traceback" not in str(refused.value)
    assert len(list(sample(server, PROMPTS[:1], SamplingConfig(max_tokens=4)))) == 1, "nobody else is harmed"


def test_more_prompts_than_fit_one_step_of_the_engine(server: VllmServer) -> None:
    """vLLM's CPU build dies when it computes a prompt with a seed in two parts."""
    assert len(list(sample(server, [[code] * 250 for code in range(40, 80)], SamplingConfig(n=4, max_tokens=2)))) == 40


def test_a_prompt_that_takes_too_long_is_given_up(server: VllmServer) -> None:
    """A stage must not hang; and the engine serves the next one."""
    with pytest.raises(EngineUnavailable, match=r"did not answer prompt 0 within 0\.05 s; allow more"):
        list(sample(server, PROMPTS[:1], SamplingConfig(n=16, max_tokens=200), request_seconds=0.05))
    assert len(list(sample(server, PROMPTS[:1], SamplingConfig(max_tokens=4), request_seconds=20))) == 1


def test_no_more_is_asked_than_is_taken(server: VllmServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks if a slow reader's answers piled up in memory."""
    asked = []
    real = VllmServer.ask
    monkeypatch.setattr(VllmServer, "ask", lambda self, *request: asked.append(request) or real(self, *request))
    samples = sample(server, PROMPTS * 20, SamplingConfig(n=4, max_tokens=2))
    next(samples)
    time.sleep(2)
    most = ENGINE.max_num_seqs // 4 + 1
    assert len(asked) <= 2 * most, "those under way, and one for each that was done"
    samples.close()


def test_a_finished_file_starts_no_engine(server: VllmServer, model: Path, tmp_path: Path) -> None:
    """A stage that is killed after its last sample must not pay for another start."""
    config = SamplingConfig(n=2, max_tokens=4)
    sample_to(tmp_path / "samples.jsonl", server, PROMPTS, config)
    with VllmServer(model, tmp_path / "vllm.log", ENGINE) as unused:
        sample_to(tmp_path / "samples.jsonl", unused, PROMPTS, config)
        assert not unused.running()
    assert [sampled.index for sampled in read_samples(tmp_path / "samples.jsonl")] == list(range(len(PROMPTS)))
    with pytest.raises(ConfigurationError, match="begun with other prompts or settings"):
        sample_to(tmp_path / "samples.jsonl", server, PROMPTS, SamplingConfig(n=2, max_tokens=4, seed=1))


def test_a_killed_stage_leaves_no_engine_and_no_folder(model: Path, tmp_path: Path) -> None:
    """kill -9 while the engine loads: its processes and its scratch folder go too."""
    code = (
        "import sys; from pathlib import Path; from components.language.engine_config import EngineConfig\n"
        "from components.language.vllm_server import VllmServer\n"
        "VllmServer(Path(sys.argv[1]), Path(sys.argv[2]), EngineConfig(max_model_len=256)).start()"
    )
    command = [sys.executable, "-c", code, str(model), str(tmp_path / "vllm.log")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as stage:
        until = time.monotonic() + 60
        while not (found := children(stage.pid)) and time.monotonic() < until:
            time.sleep(0.05)
        [supervisor] = found
        while len(group(supervisor)) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        assert len(group(supervisor)) >= 2, "the supervisor and the engine"
        scratch = Path(Path(f"/proc/{supervisor}/cmdline").read_text().split("\0")[5])
        assert scratch.is_dir()
        stage.kill()
    assert all_gone(supervisor)
    assert not scratch.exists()


def children(parent: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def test_an_engine_can_be_stopped_while_it_starts(model: Path, tmp_path: Path) -> None:
    server = VllmServer(model, tmp_path / "vllm.log", ENGINE)
    said: list[str] = []

    def start() -> None:
        try:
            server.start()
        except EngineUnavailable as error:
            said.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    while not server.running():
        time.sleep(0.05)
    leader = server.pid
    server.close()
    thread.join(60)
    assert said == ["vLLM was stopped while it started"]
    assert all_gone(leader)
    with pytest.raises(EngineUnavailable, match="was stopped"):
        server.start()


def test_a_model_that_can_not_load_is_told_with_the_engines_reason(model: Path, tmp_path: Path) -> None:
    for file in model.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((model / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"architectures": ["AbacusForCausalLM"]}))
    with VllmServer(tmp_path, tmp_path / "vllm.log", ENGINE) as server:
        with pytest.raises(EngineUnavailable, match="AbacusForCausalLM") as failed:
            list(sample(server, PROMPTS, SamplingConfig(max_tokens=8)))
        assert not server.running()
    assert failed.value.exit_code == 3
    assert str(failed.value).count("\n") < 10, "the reason, not a traceback"


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"is no model folder: it holds no config\.json"):
        VllmServer(tmp_path, tmp_path / "vllm.log", ENGINE)


def test_without_the_environment_the_message_says_how_to_get_one(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("ORRERY_ROLLOUT_PYTHON", str(tmp_path / "bin/python"))
    with pytest.raises(ConfigurationError, match=r"run `images/setup\.sh rollout`") as missing:
        rollout_python()
    assert missing.value.exit_code == 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_engine_that_is_killed_costs_no_sample_and_doubles_none(
    server: VllmServer, tmp_path: Path, number: signal.Signals
) -> None:
    """In the middle, the process that answers. After kill -9, vLLM's other process would live on with all its memory;
    after a SIGTERM, both may live on and answer nothing."""
    path, prompts = tmp_path / "samples.jsonl", PROMPTS * 16
    config = SamplingConfig(n=8, max_tokens=120, seed=2)
    server.start()
    before, victim = server.pid, api_server(server)
    done = threading.Thread(target=sample_to, args=(path, server, prompts, config))
    done.start()
    while (lines := path.read_bytes().count(b"\n") if path.exists() else 0) < 4 and done.is_alive():
        time.sleep(0.02)
    os.kill(victim, number)
    kept = path.read_bytes()
    done.join(600)
    assert 4 <= lines <= kept.count(b"\n") < len(prompts), "it was killed in the middle"
    assert path.read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])
    assert [sampled.index for sampled in read_samples(path)] == list(range(len(prompts)))
    assert server.pid != before
    assert all_gone(before)
    again = in_order(sample(server, prompts, config, indices=[0, 7, 79]))
    assert again == [sampled for sampled in read_samples(path) if sampled.index in (0, 7, 79)]
