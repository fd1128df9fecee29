"""Coverage-guided fuzzing of the readers that see a drop's bytes first: the tar index and task_info.

Atheris brings a compiler's runtime with it, so it has an environment of its own, beside the project's packages:

    .venv-uv/bin/uv venv --python 3.11 .venv-fuzz && .venv-uv/bin/uv pip install --python .venv-fuzz/bin/python atheris==3.0.0
    PYTHONPATH=.:.venv/lib/python3.11/site-packages .venv-fuzz/bin/python tests/agibot/fuzz/fuzz_readers.py \\
        tar CORPUS -max_total_time=300 -max_len=8192       # or task_info; CORPUS is a folder, seeded if it is empty

An input that raises, or that makes a reader promise what is not there, is written to `crash-…` here: make a test of it.
"""  # noqa: E501

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from pathlib import Path

import atheris

with atheris.instrument_imports():
    from components.agibot.blob import Blob
    from components.agibot.tar_index import BLOCK, index_blob
    from components.agibot.task_info import parse_task_info

MOST_FINDINGS = 20
_FILE = os.memfd_create("tar")
_PATH = f"/proc/self/fd/{_FILE}"


def tar(data: bytes) -> None:
    """Blocks that look like headers get their checksum: no mutation would ever find it."""
    content = bytearray(data)
    for at in range(0, len(content) - BLOCK + 1, BLOCK):
        if content[at + 257 : at + 262] == b"ustar":
            content[at + 148 : at + 156] = b" " * 8
            content[at + 148 : at + 156] = b"%06o\0 " % sum(content[at : at + BLOCK])
    os.ftruncate(_FILE, 0)
    os.pwrite(_FILE, content, 0)
    index = index_blob(Blob(_PATH, 0, len(content), "t.tar"))
    for member in index.members:
        assert 0 <= member.offset <= member.offset + member.size <= len(content)
        assert not member.name.startswith("/")
        assert ".." not in member.name.split("/")
        assert "\0" not in member.name
    codes = [found.code for found in index.findings]
    assert all(codes.count(code) <= MOST_FINDINGS for code in codes)
    for found in index.findings:
        found.model_dump_json()


def task_info(data: bytes) -> None:
    entries, problems = parse_task_info(data, "task_1.json")
    for entry in entries:
        assert 0 <= entry.episode_id <= 10**15
        for text in (
            entry.task_name,
            entry.init_scene_text,
            *(t for s in entry.spans or () for t in (s.text, s.skill)),
        ):
            assert text == " ".join(text.split())
            text.encode()
        for span in entry.spans or ():
            assert abs(span.start) <= 10**15 >= abs(span.end)
    assert len(problems) <= MOST_FINDINGS
    for found in problems:
        found.model_dump_json()


def seeds(target: str) -> list[bytes]:
    if target == "task_info":
        step = {"start_frame": 0, "end_frame": "40", "action_text": "Pick \ud800 up", "skill": "Pick"}
        entry = {
            "episode_id": 648642,
            "task_name": "t",
            "init_scene_text": "s",
            "label_info": {"action_config": [step]},
        }
        odd = {**entry, "episode_id": 1.0, "label_info": {"action_config": [{**step, "start_frame": 1e300}, 3]}}
        return [json.dumps(document).encode() for document in ([entry, odd], {}, [[]], [{"episode_id": "-7"}])]
    out = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=form) as file:
            names = ["1/2/proprio_stats.h5", "x" * 90 + "/" + "y" * 60, "../out", "/etc/x"]
            for name in [*names, *([] if form == tarfile.USTAR_FORMAT else ["é/" + "z" * 200])]:
                member = tarfile.TarInfo(name)
                member.size = 700
                file.addfile(member, io.BytesIO(bytes(700)))
            link = tarfile.TarInfo("link")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            file.addfile(link)
        out.append(stream.getvalue())
    return out


def main() -> None:
    target, corpus = sys.argv[1], Path(sys.argv[2])
    corpus.mkdir(parents=True, exist_ok=True)
    if not any(corpus.iterdir()):
        for number, seed in enumerate(seeds(target)):
            (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *sys.argv[2:]], {"tar": tar, "task_info": task_info}[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
