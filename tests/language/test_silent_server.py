"""A server that answers with nothing, or with what nobody asked for, is a clear end: never a hang, never a sample.

vLLM can't be made to do so, so a socket stands where its own would be.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.language.engine_config import EngineConfig
from components.language.samples import SamplingConfig, read_samples
from components.language.sampling import sample_to
from components.language.vllm_server import EngineUnavailable, VllmServer


class Standing(VllmServer):
    """A server whose socket is ours: there is nothing to start."""

    def start(self) -> None:
        pass


def http(body: bytes, status: str = "200 OK", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n".encode() + body


def choice(**fields: object) -> dict[str, object]:
    usual = {"index": 0, "text": "4", "token_ids": [5, 1], "finish_reason": "stop", "logprobs": None}
    return usual | fields


ANSWERS = {
    "nothing": b"",
    "an empty body": http(b""),
    "half a body": http(b'{"choices"', length=500),
    "no json": http(b"<html>"),
    "a list": http(b"[]"),
    "no choices": http(b'{"choices": []}'),
    "a choice too many": http(json.dumps({"choices": [choice(), choice(index=1)]}).encode()),
    "no tokens": http(json.dumps({"choices": [choice(token_ids=[], text="")]}).encode()),
    "more tokens than were asked for": http(json.dumps({"choices": [choice(token_ids=[5] * 99)]}).encode()),
    "no text": http(json.dumps({"choices": [choice(text=None)]}).encode()),
    "a nest of brackets": http(b"[" * 50_000),
    "failures": http(b'{"error": {"message": "out of memory"}}', "500 Internal Server Error"),
}


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Standing]:
    """It gives the answer that the test names to whoever asks."""
    monkeypatch.setenv("ORRERY_STORE_PATIENCE", "0.3")
    (tmp_path / "config.json").write_text("{}")
    standing = Standing(tmp_path, tmp_path / "log", EngineConfig(max_model_len=2048), python=Path("python"))
    standing._scratch = tmp_path
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(tmp_path / "http"))
        listening.listen()
        threading.Thread(target=answer, args=(listening, request.param), daemon=True).start()
        yield standing
        listening.shutdown(socket.SHUT_RDWR)


def answer(listening: socket.socket, what: bytes | None) -> None:
    kept = []
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:  # the test is over
            return
        if what is None:
            kept.append(connection)  # open, and silent
            continue
        with connection:
            connection.recv(1 << 16)
            connection.sendall(what)


@pytest.mark.parametrize("server", ANSWERS.values(), ids=ANSWERS.keys(), indirect=True)
def test_an_answer_that_is_none_ends_the_sampling(server: Standing, tmp_path: Path) -> None:
    """Breaks if it were taken for a sample, or asked for again without end."""
    with pytest.raises(EngineUnavailable, match=r"vLLM"):
        sample_to(tmp_path / "s.jsonl", server, [[3, 4]], SamplingConfig(max_tokens=8))
    assert not list(read_samples(tmp_path / "s.jsonl"))


@pytest.mark.parametrize("server", [None], indirect=True)
def test_a_server_that_never_answers_is_given_up(server: Standing, tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"did not answer prompt 0 within 0\.2 s"):
        sample_to(tmp_path / "s.jsonl", server, [[3, 4]], SamplingConfig(max_tokens=8), request_seconds=0.2)


@pytest.mark.parametrize(
    "server", [http(json.dumps({"choices": [choice()]}).encode())], ids=["an answer"], indirect=True
)
def test_what_is_an_answer_is_taken(server: Standing, tmp_path: Path) -> None:
    """Breaks if the tests above passed for another reason than the answers."""
    sample_to(tmp_path / "s.jsonl", server, [[3, 4]], SamplingConfig(max_tokens=8))
    [sampled] = read_samples(tmp_path / "s.jsonl")
    assert sampled.completions[0].text == "4"
