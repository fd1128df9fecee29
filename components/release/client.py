"""A small client of a served policy, over HTTP or gRPC.

    with PolicyClient("http://127.0.0.1:8000", "press-button") as policy:
        actions, version = policy.act(images, state, "press the red button", session="robot-7")

One client per thread: neither protocol's connection may be shared. Nothing is retried: repeating a request whose
answer was lost would tell the session's memory twice that the robot moved; the caller decides.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.release.errors import RequestRefused, ServerUnavailable
from components.store.errors import ConfigurationError

_TYPES = {"uint8": "UINT8", "float32": "FP32", "int32": "INT32", "int64": "INT64", "bool": "BOOL", "object": "BYTES"}


class PolicyClient:
    """`url` is `http://host:port` or `grpc://host:port`; `policy` is the model's name on the server."""

    def __init__(self, url: str, policy: str, *, timeout_s: float = 10.0) -> None:
        self.url, self.policy, self._timeout_s = url, policy, timeout_s
        self._module = _protocol(url)
        address = url.split("://", 1)[1].rstrip("/")
        options = {} if url.startswith("grpc") else {"network_timeout": timeout_s, "connection_timeout": timeout_s}
        self._client: Any = self._module.InferenceServerClient(address, **options)

    def __enter__(self) -> PolicyClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def act(
        self,
        images: NDArray[np.uint8],
        state: NDArray[np.floating],
        instruction: str,
        session: str,
        *,
        executed_steps: int = 0,
        reset: bool = False,
        seed: int = 0,
    ) -> tuple[NDArray[np.float32], str]:
        """The next chunk of absolute actions (54, D), and the policy's version.

        Args:
            images: uint8 (V, H, W, 3) RGB, cameras in the bundle's order, at the bundle's size.
            state: (D,) in the schema's space, raw units.
            instruction: what to do.
            session: the robot session whose memory frames are used.
            executed_steps: control steps executed since this session's last request.
            reset: begin the session anew.
            seed: of the flow's noise.

        Raises:
            RequestRefused: the server's clear message. ServerUnavailable: no answer in time.
        """
        return self.infer(
            {
                "images": np.asarray(images),
                "state": np.asarray(state, dtype=np.float32),
                "instruction": np.array([instruction.encode()], dtype=object),
                "session": np.array([session.encode()], dtype=object),
                "executed_steps": np.array([executed_steps], dtype=np.int32),
                "reset": np.array([reset], dtype=np.bool_),
                "seed": np.array([seed], dtype=np.int64),
            }
        )

    def infer(self, tensors: dict[str, np.ndarray]) -> tuple[NDArray[np.float32], str]:
        """Send tensors as they are: `act` for those who have them already."""
        from tritonclient.utils import InferenceServerException

        inputs = [self._tensor(name, np.asarray(value)) for name, value in tensors.items()]
        limit = {"client_timeout": self._timeout_s} if self.url.startswith("grpc") else {}
        try:
            answer = self._client.infer(self.policy, inputs, **limit)
        except InferenceServerException as error:
            if _unanswered(error):
                raise ServerUnavailable(f"{self.url} did not answer: {error.message()}") from error
            raise RequestRefused(f"{self.policy}: {error.message()}") from error
        except (OSError, EOFError) as error:
            raise ServerUnavailable(f"{self.url} can't be reached: {error}; is the server running?") from error
        return answer.as_numpy("actions"), answer.as_numpy("version").tobytes().decode()

    def _tensor(self, name: str, value: np.ndarray) -> Any:
        if value.dtype.name not in _TYPES:
            raise RequestRefused(f"{name} is {value.dtype.name}, which no policy takes; use one of {', '.join(_TYPES)}")
        tensor = self._module.InferInput(name, list(value.shape), _TYPES[value.dtype.name])
        tensor.set_data_from_numpy(value)
        return tensor


def _protocol(url: str) -> ModuleType:
    """tritonclient's module for the scheme; both have the same interface."""
    if url.startswith("http://"):
        import tritonclient.http

        return tritonclient.http
    if url.startswith("grpc://"):
        import tritonclient.grpc

        return tritonclient.grpc
    raise ConfigurationError(f"{url!r} is not a policy server's address; use http://host:port or grpc://host:port")


def _unanswered(error: Any) -> bool:
    """The connection failed, the time ran out or the model's process is gone, as against an answer that refuses."""
    if str(error.message()).startswith("Stub process"):
        return True
    return str(error.status()).upper() in ("503", "STATUSCODE.UNAVAILABLE", "STATUSCODE.DEADLINE_EXCEEDED")
