"""Completions of many prompts from one vLLM engine: concurrent, reproducible, and resumable from a file.

Prompts are token ids, made by the caller with the model's own tokenizer: so the model is asked what it was trained on,
and a special token that somebody wrote into a question stays text.
"""

from __future__ import annotations

import hashlib
import http.client
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from components.language.engine_config import EngineConfig
from components.language.samples import Completion, Sampled, SampleFile, SamplingConfig
from components.language.vllm_command import MODEL
from components.language.vllm_server import EngineUnavailable, VllmServer
from components.store.errors import ConfigurationError, OrreryError
from components.store.retry import patiently
from components.telemetry.progress import progress
from data_contracts.base import fingerprint

Prompt = Sequence[int]

_TOKEN_BYTES = 1024
"""Room in an answer for a token: its text, number and probability. Far more than any tokenizer needs."""


def open_engine(model: Path, log: Path, config: EngineConfig, first_gpu: int = 0) -> VllmServer:
    """An engine for a `with` block, whose sequences are at most as long as the model has positions for."""
    from components.language.model import context

    places = context(model)
    length = min(config.max_model_len or places, places)
    return VllmServer(model, log, config.model_copy(update={"max_model_len": length}), first_gpu=first_gpu)


def sample(
    server: VllmServer,
    prompts: Sequence[Prompt],
    config: SamplingConfig,
    *,
    indices: Iterable[int] | None = None,
    request_seconds: float = 1800.0,
) -> Iterator[Sampled]:
    """The completions of every prompt, in the order in which they finish.

    As many prompts are under way as keep the engine busy, and no more are sent than the caller takes. An engine that
    dies is restarted, and what it had not answered is asked again. The random numbers of a prompt depend on (seed,
    index) alone. A caller that stops early leaves what is under way to be computed and dropped.

    Args:
        server: its engine is started if there is anything to ask.
        prompts: token ids, at least one in each prompt.
        config: how to draw.
        indices: the prompts to ask; default: all.
        request_seconds: for one prompt with all its completions, waiting inside the engine included.

    Raises:
        ConfigurationError: before anything is asked: a prompt is empty, or does not fit the engine with its completion.
        OrreryError: the engine refuses a prompt, with its reason.
        EngineUnavailable: it can't be started, died too often, or did not answer in time.
    """
    _check(prompts, config, server.config)
    todo = iter(range(len(prompts)) if indices is None else indices)
    under_way = server.config.max_num_seqs // config.n + 1
    first = list(itertools.islice(todo, under_way))
    if not first:
        return

    def ask(index: int) -> Sampled:
        return _ask(server, index, prompts[index], config, request_seconds)

    server.start()
    pool = ThreadPoolExecutor(under_way, thread_name_prefix="sample")
    try:
        waiting = {pool.submit(ask, index) for index in first}
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            waiting |= {pool.submit(ask, index) for index in itertools.islice(todo, len(done))}
            for future in done:
                yield future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def sample_to(
    path: Path,
    server: VllmServer,
    prompts: Sequence[Prompt],
    config: SamplingConfig,
    *,
    request_seconds: float = 1800.0,
) -> None:
    """`sample` into a file that `read_samples` reads. Killed at any point and called again, it goes on: what the file
    holds is not asked again, and if it is complete no engine is started.

    Raises what `sample` raises, and ConfigurationError if the file was begun with other prompts or another `config`.
    """
    asked = fingerprint([config.model_dump(mode="json"), [list(prompt) for prompt in prompts]])
    with SampleFile(path, asked) as file:
        todo = [index for index in range(len(prompts)) if index not in file.places]
        tokens, began = 0, time.monotonic()
        with progress(len(prompts), "vLLM samples", "prompts", initial=len(file.places)) as shown:
            for sampled in sample(server, prompts, config, indices=todo, request_seconds=request_seconds):
                file.append(sampled)
                tokens += sum(len(completion.token_ids) for completion in sampled.completions)
                shown.advance(1, tokens_per_second=round(tokens / (time.monotonic() - began)))


def _check(prompts: Sequence[Prompt], config: SamplingConfig, engine: EngineConfig) -> None:
    for index, prompt in enumerate(prompts):
        if not prompt:
            raise ConfigurationError(f"prompt {index} holds no token; leave it out")
        if len(prompt) + config.max_tokens > engine.max_model_len:
            raise ConfigurationError(
                f"prompt {index} has {len(prompt)} tokens and its completion up to {config.max_tokens}, together more "
                f"than max_model_len {engine.max_model_len}; shorten it, lower max_tokens or raise max_model_len"
            )


def _ask(server: VllmServer, index: int, prompt: Prompt, config: SamplingConfig, seconds: float) -> Sampled:
    """One prompt, until it is answered or refused."""
    request = _request(prompt, config, _seed(config.seed, index))
    most = (config.n * (config.max_tokens + len(prompt)) + len(prompt)) * _TOKEN_BYTES + (1 << 16)

    def attempt() -> Sampled:
        server.start()
        status, answer = server.ask("POST", "/v1/completions", request, seconds, most)
        if status >= 500:
            raise _Failed(f"vLLM failed at prompt {index} with status {status}: {_message(answer)}")
        if status != 200:
            raise OrreryError(f"vLLM refuses prompt {index}: {_message(answer)}")
        return _sampled(index, answer, prompt, config)

    try:
        return patiently(attempt, _is_outage, "vLLM")
    except TimeoutError as error:
        raise EngineUnavailable(
            f"vLLM did not answer prompt {index} within {seconds:g} s; allow more, lower max_tokens; see {server.log}"
        ) from error
    except _Failed as error:
        raise EngineUnavailable(f"{error}; its log {server.log} says: {server.why()}") from error
    except (OSError, http.client.HTTPException) as error:
        raise EngineUnavailable(f"vLLM does not answer ({error}); see {server.log}") from error


class _Failed(EngineUnavailable):
    """The engine, not the request, failed: worth another try."""


def _is_outage(error: BaseException) -> bool:
    if isinstance(error, TimeoutError):  # it would be as slow again
        return False
    return isinstance(error, OSError | http.client.HTTPException | _Failed)


def _request(prompt: Prompt, config: SamplingConfig, seed: int) -> dict[str, Any]:
    request = config.model_dump(mode="json", exclude={"logprobs", "prompt_logprobs"})
    request |= {"model": MODEL, "prompt": list(prompt), "seed": seed, "return_token_ids": True}
    # As numbers: of how many tokens besides the one that is there.
    request |= {name: 0 for name in ("logprobs", "prompt_logprobs") if getattr(config, name)}
    return request


def _seed(seed: int, index: int) -> int:
    """62 bits: vLLM adds the number of the completion, and takes 63."""
    return int.from_bytes(hashlib.sha256(f"{seed} {index}".encode()).digest()[:8]) >> 2


def _message(answer: Any) -> str:
    """The reason in the answer of an error."""
    error = answer.get("error") if isinstance(answer, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return " ".join(str(message or answer).split())[:500]


def _sampled(index: int, answer: Any, prompt: Prompt, config: SamplingConfig) -> Sampled:
    """The answer as a record. Raises EngineUnavailable if it is not what was asked for."""
    try:
        choices = sorted(answer["choices"], key=lambda choice: choice["index"])
        if any(choice["finish_reason"] == "abort" for choice in choices):
            raise _Failed(f"vLLM broke prompt {index} off")
        sampled = Sampled(
            index=index,
            completions=tuple(_completion(choice) for choice in choices),
            prompt_logprobs=_prompt_logprobs(choices[0], prompt) if config.prompt_logprobs else (),
        )
    except (LookupError, TypeError, ValueError) as error:
        raise EngineUnavailable(f"vLLM's answer to prompt {index} is not what was asked for: {error!r:.300}") from error
    if len(choices) != config.n or any(_lacks(completion, config) for completion in sampled.completions):
        raise EngineUnavailable(f"vLLM's answer to prompt {index} has too few or too many completions or numbers")
    return sampled


def _lacks(completion: Completion, config: SamplingConfig) -> bool:
    tokens = len(completion.token_ids)
    return not 0 < tokens <= config.max_tokens or len(completion.logprobs) != (tokens if config.logprobs else 0)


def _completion(choice: dict[str, Any]) -> Completion:
    logprobs = choice["logprobs"]
    return Completion(
        text=choice["text"],
        token_ids=choice["token_ids"],
        finish=choice["finish_reason"],
        logprobs=logprobs["token_logprobs"] if logprobs else (),
    )


def _prompt_logprobs(choice: dict[str, Any], prompt: Prompt) -> tuple[float, ...]:
    """From a dictionary of tokens for each position; the first position is null."""
    positions = choice["prompt_logprobs"][1:]
    return tuple(position[str(token)]["logprob"] for token, position in zip(prompt[1:], positions, strict=True))
