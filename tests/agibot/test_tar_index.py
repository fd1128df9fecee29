"""A tar is read by its headers alone; a hostile or torn one gives findings, never an escape or a crash."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.agibot.blob import Blob
from components.agibot.tar_index import BLOCK, TarIndex, index_tar


def member(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, link
    return info


def tar(path: Path, *members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.USTAR_FORMAT) -> Path:
    with tarfile.open(path, "w", format=form) as file:
        for info, data in members:
            file.addfile(info, io.BytesIO(data))
    return path


def codes(index: TarIndex) -> list[str]:
    return [f.code for f in index.findings]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_found_where_their_bytes_are(tmp_path: Path, form: int) -> None:
    """All three dialects, with empty, aligned and odd sizes, long names and names beyond ASCII."""
    names = ["a", "folder/b", "x" * 70 + "/" + "y" * 90, *([] if form == tarfile.USTAR_FORMAT else ["é/" + "z" * 200])]
    contents = [b"", b"1" * BLOCK, b"2" * 700, b"3"]
    path = tar(tmp_path / "t.tar", *((member(n, len(c)), c) for n, c in zip(names, contents, strict=False)), form=form)
    index = index_tar(path, "t.tar")
    assert codes(index) == []
    assert [m.name for m in index.members] == names
    for found, content in zip(index.members, contents, strict=False):
        assert Blob(str(path), found.offset, found.size, found.name).read(1 << 20) == content


UNSAFE = {
    "a parent": member("../outside"),
    "a parent inside": member("a/../../outside"),
    "an absolute path": member("/etc/passwd"),
    "a drive": member("C:/windows"),
    "a backslash": member("..\\outside"),
    "no name but the folder itself": member("./."),
    "a symbolic link": member("link", kind=tarfile.SYMTYPE, link="/etc/passwd"),
    "a hard link": member("link", kind=tarfile.LNKTYPE, link="../../x"),
    "a character device": member("device", kind=tarfile.CHRTYPE),
    "a block device": member("device", kind=tarfile.BLKTYPE),
    "a pipe": member("pipe", kind=tarfile.FIFOTYPE),
    "a sparse file": member("sparse", kind=tarfile.GNUTYPE_SPARSE),
}


@pytest.mark.parametrize("what", UNSAFE)
def test_unsafe_members_are_named_and_never_read(tmp_path: Path, what: str) -> None:
    path = tar(tmp_path / "t.tar", (member("good", 4), b"good"), (UNSAFE[what], b""), (member("after", 2), b"ok"))
    index = index_tar(path, "t.tar")
    assert codes(index) == ["archive.unsafe-member"]
    assert [m.name for m in index.members] == ["good", "after"], "the others are still there"


def test_many_unsafe_members_do_not_fill_the_report(tmp_path: Path) -> None:
    path = tar(tmp_path / "t.tar", *((member(f"../{i}"), b"") for i in range(200)))
    assert len(index_tar(path, "t.tar").findings) == 20


def edited(path: Path, offset: int, data: bytes, checksum: bool = True) -> Path:
    """Overwrite bytes of the first header, and mend its checksum."""
    content = bytearray(path.read_bytes())
    content[offset : offset + len(data)] = data
    if checksum:
        content[148:156] = b" " * 8
        content[148:156] = b"%06o\0 " % sum(content[:BLOCK])
    path.write_bytes(content)
    return path


def whole(path: Path) -> Path:
    return tar(path, (member("a", 600), bytes(600)), (member("b", 600), bytes(600)))


def compressed(path: Path) -> Path:
    path.write_bytes(gzip.compress(whole(path).read_bytes()))
    return path


def cut(path: Path, size: int) -> Path:
    path.write_bytes(whole(path).read_bytes()[:size])
    return path


def pax(path: Path, record: bytes) -> Path:
    header = member("pax", len(record), b"x")
    return tar(path, (header, record), (member("a", 3), b"abc"))


DAMAGED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "cut within a member": (lambda p: cut(p, 700), "archive.truncated"),
    "cut within a header": (lambda p: cut(p, BLOCK + 1024 + 100), "archive.truncated"),
    "empty": (lambda p: cut(p, 0), "archive.truncated"),
    "compressed": (compressed, "archive.unreadable"),
    "a wrong checksum": (lambda p: edited(whole(p), 0, b"z", checksum=False), "archive.unreadable"),
    "a size that is no number": (lambda p: edited(whole(p), 124, b"12x4567\0"), "archive.unreadable"),
    "a negative size": (lambda p: edited(whole(p), 124, b"\xff" * 12), "archive.unreadable"),
    "an absurd size": (lambda p: edited(whole(p), 124, b"\x80" + b"\x7f" * 11), "archive.truncated"),
    "a PAX size beyond the file": (lambda p: pax(p, b"22 size=9999999999999\n"), "archive.truncated"),
    "a PAX size that is negative": (lambda p: pax(p, b"11 size=-5\n"), "archive.unreadable"),
    "a PAX record of a wrong length": (lambda p: pax(p, b"99 path=x\n"), "archive.unreadable"),
    "a PAX record without a value": (lambda p: pax(p, b"7 path\n"), "archive.unreadable"),
    "a PAX path that leads out": (lambda p: pax(p, b"18 path=../../etc\n"), "archive.unsafe-member"),
    "a huge name record": (
        lambda p: edited(pax(p, b"10 path=x\n"), 124, b"77777777777\0"),
        "archive.unreadable",
    ),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_damaged_tars_are_findings(tmp_path: Path, what: str) -> None:
    make, code = DAMAGED[what]
    index = index_tar(make(tmp_path / "t.tar"), "t.tar")
    assert codes(index) == [code]
    size = (tmp_path / "t.tar").stat().st_size
    assert all(m.offset + m.size <= size for m in index.members), "nothing beyond the file may be promised"


def test_a_cut_member_is_named(tmp_path: Path) -> None:
    """The episode that it belongs to must not be published with half a file."""
    index = index_tar(cut(tmp_path / "t.tar", 3 * BLOCK + 900), "t.tar")
    assert [m.name for m in index.members] == ["a"]
    assert [m.name for m in index.truncated] == ["b"]
    assert index.findings[0].where == "t.tar:b"


def test_a_tar_without_its_closing_blocks_is_whole(tmp_path: Path) -> None:
    index = index_tar(cut(tmp_path / "t.tar", 6 * BLOCK), "t.tar")
    assert (len(index.members), codes(index)) == (2, [])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4 * BLOCK), st.binary(min_size=1, max_size=12)), min_size=1, max_size=4))
def test_random_damage_never_raises_nor_leaves_the_file(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, bytes]]
) -> None:
    path = tmp_path_factory.mktemp("tar") / "t.tar"
    content = bytearray(whole(path).read_bytes())
    for offset, data in edits:
        content[offset : offset + len(data)] = data
    path.write_bytes(content)
    for found in index_tar(path, "t.tar").members:
        assert 0 <= found.offset <= found.offset + found.size <= len(content)
        assert ".." not in found.name.split("/")
        assert not found.name.startswith("/")
