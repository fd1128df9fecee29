"""The HTTP door before Triton: it lets through what Triton survives, and answers the rest itself.

Triton 2.51 allocates what a JSON tensor's `shape` claims before it looks at the data, and parses nested lists by
recursion: one request of 100 bytes with an absurd shape, or a deeply nested list, ends the server and with it every
robot's session. (Its gRPC side answers the same requests with an error.) So HTTP requests are read here first, within
limits, and forwarded byte for byte to Triton's own port on the loopback address. Only inference, health, metadata and
statistics pass; administration does not.
"""

from __future__ import annotations

import http.client
import json
import math
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

READABLE = re.compile(
    r"/v2(/health/(live|ready)|/models/(stats|[\w.-]+(/versions/\d+)?(/(ready|config|stats))?))?/?", re.ASCII
)
INFER = re.compile(r"/v2/models/[\w.-]+(/versions/\d+)?/infer", re.ASCII)
HEADER_LENGTH = "Inference-Header-Content-Length"
MAX_DEPTH = 8
DATATYPES: dict[str, tuple[type, ...]] = {
    "UINT8": (int,), "INT32": (int,), "INT64": (int,), "FP32": (int, float), "BOOL": (bool,), "BYTES": (str,),
}  # fmt: skip
"""What a policy takes, and as what it comes out of JSON."""
RANGES = {"UINT8": (0, 255), "INT32": (-(1 << 31), (1 << 31) - 1), "INT64": (-(1 << 63), (1 << 63) - 1)}
_JSON_NAMES = {int: "number", float: "fraction", bool: "boolean", str: "string", type(None): "null", dict: "object"}
MAX_CONNECTIONS = 256
_CHECKS = threading.BoundedSemaphore(4)
"""A document takes many times its bytes while it is looked at: few at a time, or a crowd of large ones fills memory."""


_DIGITS = 18
"""As many as are read of a length: Python itself refuses thousands of them, in words that help no client."""


class Refused(Exception):
    """A request that is not forwarded, with its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class HttpGuard:
    """Listens on (host, port) and forwards to Triton on 127.0.0.1:`upstream`."""

    def __init__(self, host: str, port: int, upstream: int, max_body: int) -> None:
        handler = type("Handler", (_Handler,), {"upstream": upstream, "max_body": max_body})
        self._server = _Server((host, port), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="http-guard", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(address, handler)

    def process_request(self, request, client_address) -> None:  # type: ignore[no-untyped-def]
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request, client_address) -> None:  # type: ignore[no-untyped-def]
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 60
    upstream: int
    max_body: int
    _link: http.client.HTTPConnection | None = None

    def do_GET(self) -> None:
        self._handle(READABLE, body=False)

    def do_POST(self) -> None:
        self._handle(INFER, body=True)

    def finish(self) -> None:
        if self._link is not None:
            self._link.close()
        super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """Triton keeps the log."""

    def _handle(self, allowed: re.Pattern[str], body: bool) -> None:
        try:
            if not allowed.fullmatch(self.path.split("?", 1)[0]):
                raise Refused(404, f"{self.command} {self.path[:100]} is not offered here")
            data = self._read() if body else b""
            if body:
                with _CHECKS:
                    check_inference(data, self.headers.get(HEADER_LENGTH))
            self._forward(data)
        except Refused as refused:
            self.close_connection = True  # an unread body must not be taken for the next request
            self._answer(refused.status, {}, json.dumps({"error": str(refused)}).encode())
        except (OSError, http.client.HTTPException):
            self.close_connection = True

    def _read(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if self.headers.get("Transfer-Encoding") or not (length.isascii() and length.isdigit()):
            raise Refused(411, "send the body with a Content-Length, not in chunks")
        if self.headers.get("Content-Encoding", "identity") != "identity":
            raise Refused(415, "send the body without Content-Encoding")
        size = int(length[:_DIGITS])
        if size > self.max_body:
            raise Refused(413, f"the body has {length[:_DIGITS]} bytes; this server takes at most {self.max_body}")
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionResetError("the client went away within its body")
        return data

    def _forward(self, data: bytes) -> None:
        kept = {n: v for n in (HEADER_LENGTH, "Content-Type") if (v := self.headers.get(n)) is not None}
        try:
            if self._link is None:
                self._link = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=120)
            self._link.request(self.command, self.path, data or None, kept)
            response = self._link.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Refused(503, f"the policy server does not answer ({type(error).__name__}); try again") from error
        back = {n: v for n in (HEADER_LENGTH, "Content-Type") if (v := response.headers.get(n)) is not None}
        self._answer(response.status, back, answer)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


def check_inference(body: bytes, header_length: str | None) -> None:
    """Raise Refused for a body that Triton's HTTP side would not survive, or would answer unclearly.

    With `header_length`, that many bytes are JSON and binary tensors follow; else all of it is JSON.
    """
    end = len(body)
    if header_length is not None:
        digits = header_length.isascii() and header_length.isdigit()
        if not digits or not 0 < int(header_length[:_DIGITS]) <= end:
            raise Refused(400, f"{HEADER_LENGTH} {header_length[:20]!r} does not fit a body of {end} bytes")
        end = int(header_length[:_DIGITS])
    try:
        document = json.loads(body[:end].decode(), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else f"no JSON: {error}"
        raise Refused(400, f"the request is {what}") from None
    inputs = document.get("inputs") if isinstance(document, dict) else None
    if not isinstance(inputs, list) or not inputs:
        raise Refused(400, "the request needs 'inputs', a list of tensors")
    for tensor in inputs:
        _check_tensor(tensor)
    _check_settings(document.get("parameters", {}), "binary_data_output", "the request")
    outputs = document.get("outputs", [])
    if not isinstance(outputs, list) or not all(
        isinstance(o, dict) and isinstance(o.get("name"), str) for o in outputs
    ):
        raise Refused(400, "'outputs' must be a list of objects with a 'name'")
    for output in outputs:
        _check_settings(output.get("parameters", {}), "binary_data", f"output {output['name'][:60]!r}")
        _only_scalars(output, {"parameters"})
    if not isinstance(document.get("id", ""), str):
        raise Refused(400, "'id' must be a text")
    _only_scalars(document, {"inputs", "outputs", "parameters"})


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Two members of one name would be read differently here and by Triton."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object has two members of the same name")
    return members


def _check_tensor(tensor: object) -> None:
    if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
        raise Refused(400, "each input needs a 'name'")
    name, shape, datatype = tensor["name"][:60], tensor.get("shape"), tensor.get("datatype")
    if not isinstance(shape, list) or not all(type(d) is int and 0 <= d < 1 << 31 for d in shape) or len(shape) > 16:
        raise Refused(400, f"input {name!r} needs a 'shape' of non-negative numbers")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise Refused(400, f"input {name!r} needs a 'datatype': one of {', '.join(DATATYPES)}")
    _check_settings(tensor.get("parameters", {}), "binary_data_size", f"input {name!r}")
    _only_scalars(tensor, {"shape", "data", "parameters"})
    if "data" in tensor:
        values, claimed = _values(tensor["data"], name), math.prod(shape)
        if len(values) != claimed:
            raise Refused(400, f"input {name!r} has shape {shape}, which is {claimed} values, but holds {len(values)}")
        problem = _problem(values, datatype)
        if problem:
            raise Refused(400, f"input {name!r} is {datatype}, but holds {problem}")


def _check_settings(settings: object, known: str, where: str) -> None:
    """One parameter is offered at each place. Others are Triton's extensions; asked to classify texts, it dies."""
    if not isinstance(settings, dict):
        raise Refused(400, f"the 'parameters' of {where} must be an object")
    for name, value in settings.items():
        if name != known:
            raise Refused(400, f"the parameter {name[:60]!r} of {where} is not offered here")
        if type(value) not in (bool, int) or not 0 <= value < 1 << 62:
            raise Refused(400, f"the parameter {known!r} of {where} must be a flag or a size")


def _only_scalars(members: dict[str, object], besides: set[str]) -> None:
    for name, value in members.items():
        if name not in besides and isinstance(value, list | dict):
            raise Refused(400, f"{name[:60]!r} must not hold a list or an object")


def _values(data: object, where: str, depth: int = 0) -> list[Any]:
    """The scalars of lists in lists. Raises Refused when they are nested deeper than any tensor is."""
    if not isinstance(data, list):
        raise Refused(400, f"'data' of input {where!r} must be a list")
    if depth > MAX_DEPTH:
        raise Refused(400, f"{where!r} is nested too deeply")
    if list not in set(map(type, data)):
        return data
    values: list[Any] = []
    for item in data:
        values += _values(item, where, depth + 1) if isinstance(item, list) else [item]
    return values


def _problem(values: list[Any], datatype: str) -> str:
    """What in `values` is not of `datatype`; Triton would wrap a pixel of 300 to 44 in silence."""
    for kind in set(map(type, values)):
        if kind not in DATATYPES[datatype]:
            return f"a value of JSON type {_JSON_NAMES[kind]}"
    if datatype in RANGES and values:
        low, high = RANGES[datatype]
        worst = min(values) if min(values) < low else max(values)
        return f"{str(worst)[:30]}; it must lie between {low} and {high}" if not low <= worst <= high else ""
    if datatype == "FP32" and not all(map(_is_finite, values)):
        return "a number that is not finite"
    if datatype == "BYTES" and not "".join(values).isascii():
        return "" if all(map(_is_unicode, values)) else "half a surrogate pair, which is no character"
    return ""


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number beyond any float
        return False


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
