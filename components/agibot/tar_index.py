"""An index of a tar's members, made from its headers alone: what is where, and what must not be touched.

Reads POSIX ustar with PAX and GNU long names. A tar comes from outside: names that lead out of it, links, devices,
sparse files, absurd sizes and torn ends are findings; no byte of a member is read here. Format: POSIX.1-2001, pax.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from components.agibot.blob import Blob
from data_contracts.catalogue import finding, thresholds
from data_contracts.reasons import Finding

BLOCK = 512
_LARGEST_NAME_RECORD = 1 << 20
_REGULAR, _FOLDER, _LINKS, _DEVICES = b"0\0" + b"7", b"5", b"12", b"346"
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"(\xb5/\xfd")
"""How gzip, bzip2, xz and zstd files begin."""
_MOST_FINDINGS = 20
"""of one kind per tar: a hostile tar must not fill the report"""


@dataclass(frozen=True)
class Member:
    """A plain file in a tar: `size` bytes from `offset`."""

    name: str
    offset: int
    size: int


@dataclass
class TarIndex:
    """Members that may be read, those that are cut off, and what was found. `name` is the tar's, for messages."""

    name: str
    members: list[Member] = field(default_factory=list)
    truncated: list[Member] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def _report(self, code: str, message: str, where: str) -> None:
        if sum(f.code == code for f in self.findings) < _MOST_FINDINGS:
            self.findings.append(finding(code, message, where))


class _Bytes(Protocol):
    """What is read of a tar."""

    def seek(self, offset: int, /) -> int: ...
    def read(self, size: int, /) -> bytes | None: ...


class _Damaged(Exception):
    """The headers can't be followed any further."""


def index_tar(path: Path, name: str) -> TarIndex:
    """The index of the tar at `path`. Never raises for its content; OSError only if the file itself can't be read."""
    return index_blob(Blob.of_file(path, name))


def index_blob(blob: Blob) -> TarIndex:
    """The index of a tar, wherever it lies: one read per header, none of a member.

    Never raises for its content; OSError or StoreError if the file itself can't be read.
    """
    index, name, size = TarIndex(blob.name), blob.name, blob.size
    with blob.raw() as file:
        try:
            for count, member in enumerate(_members(file, size, index)):
                if count >= thresholds().max_members:
                    raise _Damaged(f"it has more than {thresholds().max_members} members")
                if member.offset + member.size > size:
                    index.truncated.append(member)
                    index._report(
                        "archive.truncated",
                        f"{member.name} needs bytes up to {member.offset + member.size}, the tar has {size}",
                        f"{name}:{member.name}",
                    )
                    return index
                index.members.append(member)
        except _Damaged as error:
            index._report("archive.unreadable", f"{name}: {error}", name)
        except EOFError as error:
            index._report("archive.truncated", f"{name}: {error}", name)
    return index


def _members(file: _Bytes, size: int, index: TarIndex) -> Iterator[Member]:
    """Plain files with safe names, in order; the others become findings."""
    offset, long_name, long_size = 0, "", None
    while True:
        header = _header(file, offset, size)
        if header is None:
            return
        kind, offset = header[156:157], offset + BLOCK
        length = _number(header[124:136], "size")
        if kind in (b"x", b"g", b"L", b"K"):
            record = _record(file, offset, length, size)
            if kind == b"x":
                pax = _pax(record)
                long_name = pax.get("path", long_name)
                long_size = _pax_size(pax)
            elif kind == b"L":
                long_name = record.split(b"\0", 1)[0].decode("utf-8", "replace")
            offset += _padded(length)
            continue
        name, length = long_name or _name(header), length if long_size is None else long_size
        long_name, long_size = "", None
        problem = _problem(name, kind)
        if problem:
            index._report("archive.unsafe-member", f"{name[:200]!r} {problem}", index.name)
        elif kind in _REGULAR:
            yield Member(name, offset, length)
        offset += _padded(length) if kind in _REGULAR or kind not in _FOLDER + _LINKS + _DEVICES else 0


def _header(file: _Bytes, offset: int, size: int) -> bytes | None:
    """The header block at `offset`, None at the archive's end. Raises EOFError, _Damaged."""
    if offset == size and offset > 0:
        return None  # no closing zero blocks: some writers leave them out
    file.seek(offset)
    block = file.read(BLOCK) or b""
    if offset == 0 and block.startswith(_COMPRESSED):
        raise _Damaged("it is compressed")
    if len(block) < BLOCK:
        raise EOFError(f"it ends at byte {size} within a header" if size else "it is empty")
    if not any(block):
        return None
    stored = _number(block[148:156], "checksum")
    if stored != sum(block[:148]) + 8 * 32 + sum(block[156:]):
        raise _Damaged(f"damaged: no tar header at byte {offset}")
    return block


def _number(field_: bytes, what: str) -> int:
    """An octal or base-256 number of a header. Raises _Damaged if it is neither, or negative."""
    if field_[0] & 0x80:
        if field_[0] & 0x40:
            raise _Damaged(f"a header has a negative {what}")
        return int.from_bytes(bytes([field_[0] & 0x7F]) + field_[1:], "big")
    text = field_.strip(b" \0")
    if not all(c in b"01234567" for c in text):
        raise _Damaged(f"a header has the {what} {field_!r}")
    return int(text or b"0", 8)


def _record(file: _Bytes, offset: int, length: int, size: int) -> bytes:
    if length > _LARGEST_NAME_RECORD:
        raise _Damaged(f"a name record claims {length} bytes")
    if offset + length > size:
        raise EOFError(f"it ends at byte {size} within a name record")
    file.seek(offset)
    return file.read(length) or b""


def _pax(record: bytes) -> dict[str, str]:
    """`length key=value` lines of a PAX record. Raises _Damaged."""
    found, at = {}, 0
    while at < len(record):
        digits, _, _ = record[at : at + 20].partition(b" ")
        if not digits.isdigit() or not len(digits) + 3 <= int(digits) <= len(record) - at:
            raise _Damaged("a PAX record has a wrong length")
        line = record[at + len(digits) + 1 : at + int(digits) - 1]
        key, equals, value = line.partition(b"=")
        if not equals:
            raise _Damaged("a PAX record has no '='")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        at += int(digits)
    return found


def _pax_size(pax: dict[str, str]) -> int | None:
    if "size" not in pax:
        return None
    if not (pax["size"].isascii() and pax["size"].isdigit() and len(pax["size"]) <= 20):
        raise _Damaged(f"a PAX record claims the size {pax['size'][:40]!r}")
    return int(pax["size"])


def _name(header: bytes) -> str:
    name = header[:100].split(b"\0", 1)[0]
    prefix = header[345:500].split(b"\0", 1)[0] if header[257:262] == b"ustar" and header[262:264] != b"  " else b""
    return (prefix + b"/" + name if prefix else name).decode("utf-8", "replace")


def _problem(name: str, kind: bytes) -> str | None:
    """Why a member must not be read."""
    if kind in _LINKS:
        return "is a link"
    if kind in _DEVICES:
        return "is a device"
    if kind not in _REGULAR and kind not in _FOLDER:
        return f"is of the unsupported type {kind!r}"
    if kind in _REGULAR and not name.strip("./"):
        return "has no name"
    if name.startswith("/") or "\\" in name or "\0" in name or (len(name) > 1 and name[1] == ":"):
        return "is an absolute path or no portable name"
    if ".." in name.split("/"):
        return "leads out of the tar"
    return None


def _padded(length: int) -> int:
    return -(-length // BLOCK) * BLOCK
