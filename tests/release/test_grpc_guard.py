"""The gRPC door. If these fail, a client can fill the server's memory, or a robot acts on pixels that were cut."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from components.release import check
from components.release.client import PolicyClient
from components.release.grpc_guard import GrpcGuard, problem_of
from components.release.triton_server import TritonServer

SERVICE = "/inference.GRPCInferenceService/"


@pytest.fixture
def channel(server: TritonServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"{server.host}:{server.grpc_port}") as opened:
        yield opened


def typed(bundle: Any, pixels: np.ndarray) -> bytes:
    """A request whose tensors lie in typed fields, not in raw bytes."""
    request = service_pb2.ModelInferRequest(model_name=bundle.policy)
    _, state, _ = next(check.moments(bundle, 1, 0))
    for name, datatype, shape, field, values in (
        ("images", "UINT8", pixels.shape, "uint_contents", pixels.ravel().tolist()),
        ("state", "FP32", state.shape, "fp32_contents", state.tolist()),
        ("instruction", "BYTES", (1,), "bytes_contents", [b"press the red button"]),
        ("session", "BYTES", (1,), "bytes_contents", [b"typed"]),
        ("reset", "BOOL", (1,), "bool_contents", [True]),
    ):
        tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
        getattr(tensor.contents, field).extend(values)
    return request.SerializeToString()


def frames(bundle: Any) -> np.ndarray:
    return next(check.moments(bundle, 1, 0))[0].astype(np.int64)


def test_typed_pixels_pass_and_one_that_would_be_cut_does_not(channel: grpc.Channel, published: Any) -> None:
    infer = channel.unary_unary(SERVICE + "ModelInfer")
    pixels = frames(published.bundle)
    answer = service_pb2.ModelInferResponse.FromString(infer(typed(published.bundle, pixels), timeout=60))
    assert "actions" in [output.name for output in answer.outputs]
    pixels.flat[7] = 300
    with pytest.raises(grpc.RpcError) as refused:
        infer(typed(published.bundle, pixels), timeout=60)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == "input 'images' is UINT8, but holds 300; it must lie between 0 and 255"


def test_a_message_over_the_limit_is_refused_and_harms_nobody(
    server: TritonServer, channel: grpc.Channel, published: Any
) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(SERVICE + "ModelInfer")(bytes(17 << 20), timeout=60)
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    with PolicyClient(server.grpc_url, published.bundle.policy, timeout_s=60) as client:
        frame, state, _ = next(check.moments(published.bundle, 1, 0))
        client.act(frame, state, "press the red button", "after-a-large-message", reset=True)


@pytest.mark.parametrize("call", ["RepositoryIndex", "SystemSharedMemoryRegister", "LogSettings", "TraceSetting"])
def test_administration_is_not_offered(channel: grpc.Channel, call: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(SERVICE + call)(b"", timeout=20)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_streams_are_not_offered(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        list(channel.stream_stream(SERVICE + "ModelStreamInfer")(iter([b""]), timeout=20))
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_silent_policy_server_is_not_waited_for_longer_than_the_caller_does() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
        probe.close()
        guard = GrpcGuard("127.0.0.1", port, upstream=silent.getsockname()[1], max_message=1000)
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as link, pytest.raises(grpc.RpcError) as late:
                link.unary_unary(SERVICE + "ServerReady")(b"", timeout=0.5)
        finally:
            guard.close()
    assert late.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_taken_port_is_an_error_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="already in use"):
        GrpcGuard("127.0.0.1", taken.getsockname()[1], upstream=9, max_message=1000)


@given(st.lists(st.integers(0, 2**32 - 1), max_size=50))
def test_what_passes_is_what_fits_a_byte(values: list[int]) -> None:
    request = service_pb2.ModelInferRequest()
    request.inputs.add(name="images", datatype="UINT8").contents.uint_contents.extend(values)
    assert bool(problem_of(request.SerializeToString())) == any(v > 255 for v in values)


def test_what_is_no_request_is_named() -> None:
    assert problem_of(b"\xff\xff\xff") == "the message is no ModelInferRequest"
