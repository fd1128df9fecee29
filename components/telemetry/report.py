"""The one HTML report writer: a self-contained page without scripts or network, for phones and desks, dark or light.

A report is a list of sections, each a list of blocks; `render` turns it into one HTML text. All text is escaped by the
template (task names and messages come from outside and are hostile until shown), figures and videos are inlined, and a
Content-Security-Policy forbids what the page does not hold itself: a name that looks like a script stays a name.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

Tone = Literal["good", "warn", "bad", "busy", "plain"]

IMAGE_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif"}
VIDEO_TYPES = {".mp4": "video/mp4", ".webm": "video/webm"}


@dataclass(frozen=True, slots=True)
class Svg:
    """SVG markup that `components.telemetry.charts` drew: the only text that is not escaped again."""

    markup: str


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph. `tone` colours it: `bad` for a failure, `warn` for a doubt."""

    text: str
    tone: Tone = "plain"
    kind: ClassVar[str] = "text"


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading inside a section."""

    text: str
    kind: ClassVar[str] = "heading"


@dataclass(frozen=True, slots=True)
class Preformatted:
    """Monospaced text, kept as it is: configurations, hashes, commands."""

    text: str
    kind: ClassVar[str] = "preformatted"


@dataclass(frozen=True, slots=True)
class Facts:
    """Labelled values, as tiles. Values are shown as given."""

    facts: Sequence[tuple[str, str]]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True, slots=True)
class Cell:
    """A table cell with a tone, or with a bar of `share` (0..1) of the cell's width behind its text."""

    text: str
    tone: Tone = "plain"
    share: float | None = None
    code: bool = False


Row = Sequence[str | Cell]


@dataclass(frozen=True, slots=True)
class Table:
    """A table. Cells are strings or `Cell`s; it scrolls sideways in itself on a narrow screen."""

    columns: Sequence[str]
    rows: Sequence[Row]
    caption: str = ""
    kind: ClassVar[str] = "table"

    @property
    def cells(self) -> list[list[Cell]]:
        return [[c if isinstance(c, Cell) else Cell(c) for c in row] for row in self.rows]


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture: an `Svg` of ours, or the bytes of a PNG, JPEG or GIF."""

    image: Svg | bytes
    caption: str = ""
    alt: str = ""
    wide: bool = False
    media_type: str = "image/png"
    kind: ClassVar[str] = "figure"

    @property
    def svg(self) -> str | None:
        return self.image.markup if isinstance(self.image, Svg) else None

    @property
    def uri(self) -> str:
        return data_uri(self.image, self.media_type) if isinstance(self.image, bytes) else ""


@dataclass(frozen=True, slots=True)
class Video:
    """A short film, inlined. Keep it small: a report is sent around."""

    data: bytes
    caption: str = ""
    media_type: str = "video/mp4"
    loop: bool = True
    tone: Tone = "plain"
    kind: ClassVar[str] = "video"

    @property
    def uri(self) -> str:
        return data_uri(self.data, self.media_type)


@dataclass(frozen=True, slots=True)
class Gallery:
    """Figures and videos side by side, as many as fit; `wide` puts one on each line."""

    items: Sequence[Figure | Video]
    wide: bool = False
    kind: ClassVar[str] = "gallery"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision, large: the gate's, or an intake's."""

    headline: str
    tone: Tone
    reasons: Sequence[str] = ()
    kind: ClassVar[str] = "verdict"


@dataclass(frozen=True, slots=True)
class Details:
    """Blocks folded away behind a line."""

    summary: str
    blocks: Sequence[Block]
    open: bool = False
    kind: ClassVar[str] = "details"


Block = Text | Heading | Preformatted | Facts | Table | Figure | Video | Gallery | Verdict | Details


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    blocks: Sequence[Block]
    lead: str = ""

    @property
    def anchor(self) -> str:
        return "-".join("".join(c if c.isalnum() and c.isascii() else " " for c in self.title.lower()).split())


@dataclass(frozen=True, slots=True)
class Report:
    """One page. `status` is the pill beside the title; `facts` are the tiles under it."""

    title: str
    sections: Sequence[Section]
    subtitle: str = ""
    status: str = ""
    tone: Tone = "plain"
    facts: Sequence[tuple[str, str]] = ()
    footer: str = "Made by Orrery. This page holds everything it shows: it asks no network for anything."
    language: str = field(default="en")


def data_uri(data: bytes, media_type: str) -> str:
    """`data` as a `data:` URI. Raises ValueError for a media type that a report does not show."""
    if media_type not in {*IMAGE_TYPES.values(), *VIDEO_TYPES.values()}:
        raise ValueError(f"a report shows images and videos, not {media_type}")
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def media(name: str, data: bytes, caption: str = "", tone: Tone = "plain") -> Figure | Video:
    """The block for a picture or film called `name`. Raises ValueError for other endings."""
    suffix = Path(name).suffix.lower()
    if suffix in IMAGE_TYPES:
        return Figure(data, caption=caption, alt=caption or name, media_type=IMAGE_TYPES[suffix])
    if suffix in VIDEO_TYPES:
        return Video(data, caption=caption, media_type=VIDEO_TYPES[suffix], tone=tone)
    raise ValueError(f"{name} is neither an image nor a video that a report can show")


def render(report: Report) -> str:
    """The report as one HTML text. Equal reports give equal bytes."""
    environment = _environment()
    return environment.get_template("report.html.j2").render(report=report, css=_style())


def write(report: Report, path: Path) -> Path:
    """Render to `path`, atomically: a reader sees the old page or the new one, never half of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        temporary.write_text(render(report), encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


@lru_cache
def _environment() -> Any:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("components.telemetry", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@lru_cache
def _style() -> str:
    return (Path(__file__).parent / "templates" / "report.css").read_text(encoding="utf-8")
