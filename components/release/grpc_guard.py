"""The gRPC door before Triton: bounded messages, the calls that are offered, and no value that would wrap.

Triton 2.51 takes gRPC messages of up to 2 GiB, without an option to lower that, and cuts a typed value of 300 for a
UINT8 tensor to 44 in silence. So its gRPC port lies on the loopback address, and every call passes here first:
inference, health, metadata and statistics, forwarded byte for byte. Streams, and all administration, do not pass.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

SERVICE = "/inference.GRPCInferenceService/"
INFER = f"{SERVICE}ModelInfer"
READABLE = frozenset(
    SERVICE + call
    for call in (
        "ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelConfig", "ModelStatistics",
    )
)  # fmt: skip
UPSTREAM_SECONDS = 120.0
"""For an answer, if the caller has no deadline or a later one."""
MAX_CALLS = 64
"""Calls at a time; more are refused at once."""
_RESPONSE_BYTES = 64 << 20

Call = Callable[[bytes, grpc.ServicerContext], bytes]


class GrpcGuard:
    """Listens on (host, port) and forwards to Triton on 127.0.0.1:`upstream`. Raises OSError if the port is taken."""

    def __init__(self, host: str, port: int, upstream: int, max_message: int) -> None:
        self._channel = grpc.insecure_channel(
            f"127.0.0.1:{upstream}",
            options=[("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", _RESPONSE_BYTES)],
        )
        self._server = grpc.server(
            ThreadPoolExecutor(MAX_CALLS, "grpc-guard"),
            handlers=[_Door(self._channel)],
            maximum_concurrent_rpcs=MAX_CALLS,
            options=[("grpc.max_receive_message_length", max_message), ("grpc.so_reuseport", 0)],
        )
        try:
            self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            self.close()
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)) from error
        self._server.start()

    def close(self) -> None:
        self._server.stop(grace=None).wait(5)
        self._channel.close()


class _Door(grpc.GenericRpcHandler):
    """Messages stay bytes: what passes is what came."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._calls = {path: channel.unary_unary(path) for path in (INFER, *READABLE)}

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """gRPC answers UNIMPLEMENTED where there is no handler."""
        upstream = self._calls.get(details.method)
        if upstream is None:
            return None

        def handle(message: bytes, context: grpc.ServicerContext) -> bytes:
            if details.method == INFER and (problem := problem_of(message)):
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, problem)
            left = context.time_remaining()  # without a deadline None, or more than a clock can count
            seconds = UPSTREAM_SECONDS if left is None else min(left, UPSTREAM_SECONDS)
            try:
                return bytes(upstream(message, timeout=seconds))
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())
                raise  # for the type checker: abort has raised already

        return grpc.unary_unary_rpc_method_handler(handle)


def problem_of(message: bytes) -> str:
    """Why an inference request does not pass; empty if it does."""
    request = service_pb2.ModelInferRequest()
    try:
        request.ParseFromString(message)
    except DecodeError:
        return "the message is no ModelInferRequest"
    for tensor in request.inputs:
        if tensor.datatype == "UINT8" and max(tensor.contents.uint_contents, default=0) > 255:
            worst = max(tensor.contents.uint_contents)
            return f"input {tensor.name[:60]!r} is UINT8, but holds {worst}; it must lie between 0 and 255"
    return ""
