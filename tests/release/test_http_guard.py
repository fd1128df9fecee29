"""The door before Triton's HTTP. If these fail, one small request ends the server for every robot."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

import pytest

from components.release import http_guard
from components.release.http_guard import Refused, check_inference
from components.release.triton_server import TritonServer


def body(**tensor: Any) -> bytes:
    whole = {"name": "state", "datatype": "FP32", "shape": [2], "data": [0.5, 1]} | tensor
    return json.dumps({"inputs": [{k: v for k, v in whole.items() if v is not None}]}).encode()


@pytest.mark.parametrize(
    "good",
    [
        body(),
        body(shape=[2, 2], data=[[1, 2], [3, 4]]),
        body(shape=[2, 2], data=[1, 2, 3, 4]),
        body(shape=[0], data=[]),
        body(data=None, parameters={"binary_data_size": 8}),
        body(datatype="BYTES", data=["press the \u00fcber-button", ""]),
        body(datatype="UINT8", data=[0, 255]),
        body(datatype="BOOL", data=[True, False]),
        b'{"id": "7", "parameters": {"binary_data_output": true}, ' + body()[1:],
        b'{"outputs": [{"name": "actions", "parameters": {"binary_data": true}}], ' + body()[1:],
    ],
)
def test_what_the_protocol_allows_passes(good: bytes) -> None:
    check_inference(good, None)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[]", "needs 'inputs'"),
        (b'{"inputs":[{"name":"s","shape":[9],"data":[1]}],' + body()[1:], "two members of the same name"),
        (body().decode().encode("utf-16"), "no JSON"),
        (b'{"inputs": []}', "needs 'inputs'"),
        (b'{"inputs": [3]}', "needs a 'name'"),
        (body(shape=[10**10]), "shape"),
        (body(shape=[10**9, 10**9]), "values, but holds 2"),
        (body(shape=[3]), "is 3 values, but holds 2"),
        (body(shape=[-1]), "non-negative"),
        (body(shape=[True, 2]), "non-negative"),
        (body(shape=[1] * 1000), "non-negative"),
        (body(shape="2"), "non-negative"),
        (body(shape=None), "non-negative"),
        (body(data="xx"), "must be a list"),
        (body(data=json.loads("[" * 50 + "1" + "]" * 50)), "nested too deeply"),
        (body(datatype=None), "needs a 'datatype': one of UINT8"),
        (body(datatype="FP64"), "needs a 'datatype'"),
        (body(datatype=7), "needs a 'datatype'"),
        (body(data=[1, "a"]), "'state' is FP32, but holds a value of JSON type string"),
        (body(data=[1, None]), "JSON type null"),
        (body(data=[1, {}]), "JSON type object"),
        (body(data=[1, True]), "JSON type boolean"),
        (body(data=[1, float("nan")]), "not finite"),
        (body(data=[1, 10**400]), "not finite"),
        (body(datatype="UINT8", data=[1, 1.5]), "JSON type fraction"),
        (body(datatype="UINT8", data=[0, 300]), "holds 300; it must lie between 0 and 255"),
        (body(datatype="UINT8", data=[-1, 5]), "holds -1; it must"),
        (body(datatype="INT32", data=[0, 1 << 32]), "holds 4294967296; it must"),
        (body(datatype="BYTES", data=["a", "\ud800"]), "surrogate"),
        (body(parameters={"shared_memory_region": "x"}), "'shared_memory_region' of input 'state' is not offered"),
        (body(parameters={"binary_data_size": -1}), "must be a flag or a size"),
        (body(parameters=[1]), "must be an object"),
        (b'{"parameters": {"sequence_id": 1}, ' + body()[1:], "'sequence_id' of the request is not offered"),
        (b'{"outputs": [{"name": "version", "parameters": {"classification": 3}}], ' + body()[1:], "'classification'"),
        (b'{"outputs": [3], ' + body()[1:], "'outputs' must be a list"),
        (b'{"outputs": {}, ' + body()[1:], "'outputs' must be a list"),
        (b'{"inputs":' + b"[" * 10**5 + b"]" * 10**5 + b"}", "nested too deeply"),
        (b'{"id":' + b"[" * 50 + b"]" * 50 + b", " + body()[1:], "'id' must be a text"),
        (b'{"id": 7, ' + body()[1:], "'id' must be a text"),
        (b'{"note": [7], ' + body()[1:], "'note' must not hold a list"),
    ],
)
def test_what_triton_might_not_survive_is_refused(bad: bytes, message: str) -> None:
    with pytest.raises(Refused, match=message) as refused:
        check_inference(bad, None)
    assert refused.value.status == 400


@pytest.mark.parametrize("length", ["-1", "0", "999999", "abc", "1e3", "٣", "9" * 5000])
def test_a_header_length_that_lies_is_refused(length: str) -> None:
    with pytest.raises(Refused, match="does not fit"):
        check_inference(body(), length)


def test_binary_tensors_follow_the_header() -> None:
    header = body(data=None, parameters={"binary_data_size": 8})
    check_inference(header + b"\x00" * 8, str(len(header)))


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /v2/models/press-test/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n\r\n", 411),
        (b"POST /v2/models/press-test/infer HTTP/1.1\r\n\r\n", 411),
        (b"POST /v2/models/press-test/infer HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"POST /v2/models/press-test/infer HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 413),
        (b"POST /v2/models/press-test/infer HTTP/1.1\r\nContent-Length: 2\r\nContent-Encoding: gzip\r\n\r\n{}", 415),
        (b"POST /v2/repository/models/press-test/load HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 404),
        (b"POST /v2/systemsharedmemory/region/x/register HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 404),
        (b"GET /v2/models/press-test/../../logging HTTP/1.1\r\n\r\n", 404),
        (b"GET /v2/health/ready HTTP/1.1\r\n\r\n", 200),
        (b"GET /v2/models/press-test/config HTTP/1.1\r\n\r\n", 200),
        (b"DELETE /v2 HTTP/1.1\r\n\r\n", 501),
    ],
)
def test_only_inference_and_reading_pass(server: TritonServer, head: bytes, status: int) -> None:
    with socket.create_connection((server.host, server.http_port), timeout=20) as link:
        link.sendall(head)
        assert link.recv(4096).split(b" ", 2)[1] == str(status).encode()


def test_a_client_that_stops_in_the_middle_holds_nobody_up(server: TritonServer) -> None:
    with socket.create_connection((server.host, server.http_port), timeout=20) as link:
        link.sendall(b"POST /v2/models/press-test/infer HTTP/1.1\r\nContent-Length: 500\r\n\r\n{")
        connection = http.client.HTTPConnection(server.host, server.http_port, timeout=20)
        connection.request("GET", "/v2/health/ready")
        assert connection.getresponse().status == 200
        connection.close()


def test_without_triton_the_door_says_so() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    guard = http_guard.HttpGuard("127.0.0.1", port, upstream=9, max_body=1000)
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/v2/health/ready")
        response = connection.getresponse()
        assert response.status == 503
        assert "does not answer" in json.loads(response.read())["error"]
        connection.close()
    finally:
        guard.close()
