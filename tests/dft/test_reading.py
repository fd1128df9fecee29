"""Reading chats: every form becomes the same chats, and no file, however wrong, does more than make findings."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.dft.reading import FIELDS, ReadLimits, Row, _lines, parse_row, read_chats
from components.store.errors import ConfigurationError
from data_contracts.chat import ChatExample, Message
from data_contracts.chat_reasons import CHAT_REASONS

ASK, SAY = {"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "\\boxed{4}"}
SYSTEM = {"role": "system", "content": "Be brief."}


def chat(*turns: dict[str, str], **others: Any) -> ChatExample:
    return ChatExample(messages=tuple(Message.model_validate(turn) for turn in turns), **others)


def codes(rows: list[Row]) -> list[str]:
    return [finding.code for row in rows for finding in row.findings]


def jsonl(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


FORMS = [
    ({"messages": [SYSTEM, ASK, SAY]}, chat(SYSTEM, ASK, SAY)),
    ({"messages": [ASK], "answer": "4", "source": "me", "difficulty": 3},
     chat(ASK, answer="4", source="me", difficulty=3)),
    ({"messages": [{**ASK, "name": None, "tool_calls": []}, SAY]}, chat(ASK, SAY)),
    ({"prompt": "2+2?", "completion": "\\boxed{4}"}, chat(ASK, SAY)),
    ({"prompt": "2+2?", "response": "\\boxed{4}", "completion": None}, chat(ASK, SAY)),
    ({"prompt": [SYSTEM, ASK], "completion": [SAY]}, chat(SYSTEM, ASK, SAY)),
    ({"problem": "2+2?", "solution": "\\boxed{4}", "answer": 4}, chat(ASK, SAY, answer="4")),
    ({"problem": "2+2?", "answer": 0.5, "level": "hard"}, chat(ASK, answer="0.5")),
    ({"problem": "another", "solution": "x", "messages": [ASK, SAY]}, chat(ASK, SAY)),
    ({"messages": [ASK], "source": 7, "difficulty": "hard", "answer": None}, chat(ASK)),
]  # fmt: skip


@pytest.mark.parametrize(("row", "wanted"), FORMS)
def test_forms(row: dict[str, Any], wanted: ChatExample) -> None:
    """A form that is read otherwise than the documentation says trains on other turns than the user means."""
    assert parse_row(json.dumps(row).encode(), "here") == Row("here", wanted)


BAD_LINES = [
    ("inventory.malformed-row", b"no json"),
    ("inventory.malformed-row", b'{"prompt": "2+2?", "completion": "\xff"}'),
    ("inventory.malformed-row", b'{"prompt": "\\ud800", "completion": "x"}'),
    ("inventory.malformed-row", b'{"prompt": "x", "completion": "y"'),
    ("inventory.malformed-row", b'{"problem": "x", "answer": NaN}'),
    ("inventory.malformed-row", b"[" * 100_000 + b"]" * 100_000),
    ("inventory.malformed-row", b'{"answer": ' + b"9" * 100_000 + b"}"),
    ("inventory.unknown-form", b"[1, 2]"),
    ("inventory.unknown-form", b"null"),
    ("inventory.unknown-form", b'{"text": "a book"}'),
    ("inventory.unknown-form", b'{"messages": []}'),
    ("inventory.unknown-form", b'{"messages": "user: 2+2?"}'),
    ("inventory.unknown-form", b'{"messages": ["2+2?"]}'),
    ("inventory.unknown-form", b'{"messages": [{"role": "tool", "content": "x"}]}'),
    ("inventory.unknown-form", b'{"messages": [{"role": ["user"], "content": "x"}]}'),
    ("inventory.unknown-form", b'{"messages": [{"role": "user", "content": null}]}'),
    ("inventory.unknown-form", b'{"messages": [{"role": "user", "content": "x", "tool_calls": [1]}]}'),
    ("inventory.unknown-form", b'{"problem": {"text": "x"}, "solution": "y"}'),
    ("inventory.unknown-form", b'{"problem": "x", "answer": ["4"]}'),
    ("inventory.unknown-form", b'{"problem": "x", "answer": true}'),
]


@pytest.mark.parametrize(("code", "line"), BAD_LINES, ids=[f"{c} {line[:40]!r}" for c, line in BAD_LINES])
def test_a_bad_line_is_named_and_the_others_are_read(tmp_path: Path, code: str, line: bytes) -> None:
    """One bad line must cost itself only, and the finding must say where it is."""
    good = json.dumps(FORMS[0][0]).encode()
    (tmp_path / "a.jsonl").write_bytes(b"\n".join([good, line, b"", good]))
    first, bad, last = read_chats([tmp_path / "a.jsonl"])
    assert first == Row("a.jsonl:1", FORMS[0][1])
    assert last == Row("a.jsonl:4", FORMS[0][1])
    (found,) = bad.findings
    assert (found.code, found.where, bad.example) == (code, "a.jsonl:2", None)
    assert found.severity == "error"
    assert 0 < len(found.message) < 200
    assert "\n" not in found.message


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["user", "assistant"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", *FIELDS]) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


def is_sound(row: Row) -> bool:
    known = all(finding.code in CHAT_REASONS and finding.where == row.where for finding in row.findings)
    return known and (row.example is None) == bool(row.findings)


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_chat_or_a_finding(line: bytes) -> None:
    """A reader that raises on one row of a million loses the other 999,999."""
    assert is_sound(parse_row(line, "here"))


@given(st.dictionaries(st.sampled_from(FIELDS), json_values))
def test_any_fields_are_a_chat_or_a_finding(row: dict[str, Any]) -> None:
    assert is_sound(parse_row(json.dumps(row).encode(), "here"))


@given(st.lists(st.binary(max_size=12)), st.integers(min_value=1, max_value=8))
def test_lines_do_not_depend_on_how_the_bytes_come(chunks: list[bytes], longest: int) -> None:
    """Rows must have the same numbers and the same limit whether a file comes in one piece or byte by byte."""
    wanted = [line if len(line) <= longest else None for line in b"".join(chunks).split(b"\n")]
    if wanted[-1] == b"":
        wanted.pop()
    assert list(_lines(iter(chunks), longest)) == wanted


def test_limits(tmp_path: Path) -> None:
    """What is too much is left out by name, and what comes before and after it is read."""
    good = FORMS[3][0]
    path = jsonl(tmp_path / "a.jsonl", good, {**good, "prompt": "x" * 500_000}, good, good)
    rows = list(read_chats([path], ReadLimits(max_row_bytes=1000)))
    assert [row.where for row in rows] == [f"a.jsonl:{n}" for n in (1, 2, 3, 4)]
    assert codes(rows) == ["inventory.row-too-large"]
    rows = list(read_chats([path, path], ReadLimits(max_rows=3)))
    assert len(rows) == 4
    assert codes(rows) == ["inventory.too-many-rows"]
    assert codes(list(read_chats([path], ReadLimits(max_file_bytes=1000)))) == ["inventory.file-too-large"]


def test_parquet_and_arrow_are_read_as_json_lines_are(tmp_path: Path) -> None:
    """The same rows must give the same chats in every format, whatever the file is called: the store names by hash."""
    rows = [
        {"prompt": "2+2?", "completion": "4", "answer": "4", "when": None},
        {"prompt": "é\n漢", "completion": None, "answer": None, "when": None},
    ]
    table = pa.Table.from_pylist(rows).append_column("ignored", pa.array([b"\xff", b""]))
    pq.write_table(table, tmp_path / "0a1b2c")
    table = pa.table({"messages": [[ASK, SAY], None], "problem": [None, "2+2?"]})
    pq.write_table(table, tmp_path / "chats.parquet")
    datasets.Dataset.from_list([{"messages": [ASK, SAY]}] * 3).save_to_disk(tmp_path / "hub", num_shards=2)
    (tmp_path / "hub" / "cache-0123456789abcdef.arrow").write_bytes(b"left by datasets")
    found = list(read_chats([tmp_path / "0a1b2c", tmp_path / "chats.parquet", tmp_path / "hub"]))
    question = {"role": "user", "content": "é\n漢"}
    assert [row.example for row in found] == [
        chat(ASK, {**SAY, "content": "4"}, answer="4"), chat(question), chat(ASK, SAY), chat(ASK), *[chat(ASK, SAY)] * 3
    ]  # fmt: skip
    shards = [f"hub/data-0000{n}-of-00002.arrow:{row}" for n, row in ((0, 1), (0, 2), (1, 1))]
    assert [row.where for row in found] == ["0a1b2c:1", "0a1b2c:2", "chats.parquet:1", "chats.parquet:2", *shards]


def not_utf8(path: Path) -> None:
    texts = pa.array([b"good", b"\xff\xfe", b"good"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"problem": texts}), path)


def dates(path: Path) -> None:
    pq.write_table(pa.table({"problem": pa.array([0, 1, 2], pa.timestamp("s"))}), path)


def other_columns(path: Path) -> None:
    pq.write_table(pa.table({"text": ["a book"]}), path)


def truncated(path: Path) -> None:
    other_columns(path)
    path.write_bytes(path.read_bytes()[:-20])


def broken_arrow(path: Path) -> None:
    path.write_bytes(b"\xff\xff\xff\xff\x40\x00\x00\x00" + bytes(range(64)))


def bomb(path: Path) -> None:
    """A few megabytes that ask for many gigabytes: one text, named by a hundred thousand rows."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), pa.array(["x" * (5 << 20)]))
    pq.write_table(pa.table({"problem": texts}), path, compression="zstd")
    assert path.stat().st_size < 1 << 20


TABLES: list[tuple[Callable[[Path], None], list[str], int, str]] = [
    (not_utf8, ["inventory.unknown-form"], 2, "UTF8"),
    (dates, ["inventory.unknown-form"] * 3, 0, "datetime is not JSON"),
    (other_columns, ["inventory.unreadable-file"], 0, "none of the columns"),
    (truncated, ["inventory.unreadable-file"], 0, "Parquet magic bytes"),
    (broken_arrow, ["inventory.unreadable-file"], 0, ""),
    (bomb, ["inventory.unreadable-file"], 0, "more than 500000000 bytes of memory"),
]


@pytest.mark.parametrize(("make", "wanted", "chats", "message"), TABLES, ids=[t[0].__name__ for t in TABLES])
def test_a_bad_table_makes_findings(
    tmp_path: Path, make: Callable[[Path], None], wanted: list[str], chats: int, message: str
) -> None:
    """A hostile table must end the process that decodes it at worst, never this one, and within its memory."""
    make(tmp_path / "table")
    rows = list(read_chats([tmp_path / "table"], ReadLimits(max_table_memory=500_000_000)))
    assert codes(rows) == wanted
    assert sum(row.example is not None for row in rows) == chats
    assert all(message in finding.message and len(finding.message) < 200 for row in rows for finding in row.findings)


def test_a_reader_that_is_left_ends_its_process(tmp_path: Path) -> None:
    """Who takes the first rows only must not leave a process behind for each file."""
    pq.write_table(pa.table({"problem": ["x" * 1000] * 10_000}), tmp_path / "long")
    started: list[subprocess.Popen[bytes]] = []

    class Watched(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("components.dft.reading.subprocess.Popen", Watched)
        rows = read_chats([tmp_path / "long"])
        assert next(rows).example == chat({"role": "user", "content": "x" * 1000})
        rows.close()
    (child,) = started
    assert child.returncode == -9


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), r"holds no \.jsonl.*name a folder that does"),
        (("train/data-00000-of-00001.arrow", "test/x.jsonl"), "it has the folders test, train: name one"),
        (("train-00000-of-00001.parquet", "test-00000-of-00001.parquet"), "the splits test, train; name the files"),
        (("data-00000-of-00003.arrow", "data-00002-of-00003.arrow"), "lacks 1 shards of data, first number 1"),
    ],
)
def test_folders_that_are_no_data_set(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    """Half a data set, or the test split, must not be trained on by accident: the user hears it at once."""
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(ConfigurationError, match=message):
        read_chats([tmp_path])
    with pytest.raises(ConfigurationError, match="there is no file or folder"):
        read_chats([tmp_path / "elsewhere"])


def test_reading_is_cheap_to_import() -> None:
    """The process that reads tables imports it for every file; torch would cost each seconds and its memory."""
    code = "import sys, components.dft.reading; sys.exit('torch' in sys.modules or 'pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
