"""The report writer: nothing from outside is obeyed, nothing is asked of the network, the page is whole or absent."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.telemetry import charts
from components.telemetry import report as page

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c63601860f80f0001040100a2d5d7f10000000049454e44ae426082"
)
HOSTILE = (
    "press </style></svg><script>document.title='owned'</script><img src=http://127.0.0.1:9/x onerror=alert(1)> $x_{$"
)


def hostile_page(text: str = HOSTILE) -> page.Report:
    """A report with `text` wherever text from outside can come."""
    curve = charts.Curve(text, [1, 2, 3], [1.0, math.nan, 0.1])
    nodes = [charts.Node(text, text, "good"), charts.Node("b", text, "bad", after=(text,), tooltip=text)]
    blocks: list[page.Block] = [
        page.Text(text),
        page.Preformatted(text),
        page.Facts([(text, text)]),
        page.Table([text], [[text], [page.Cell(text, "bad", share=2.0, code=True)]], caption=text),
        page.Figure(charts.curves([curve, curve], text, text, log_y=True), caption=text),
        page.Figure(charts.intervals([charts.Interval(text, 0.5, 0.2, 0.8)], text)),
        page.Figure(charts.small_multiples({text: [curve], "b": [curve, curve]}, text)),
        page.Figure(charts.graph(nodes), wide=True),
        page.Gallery([page.Figure(PIXEL, caption=text, alt=text)]),
        page.Verdict(text, "bad", [text]),
        page.Details(text, [page.Text(text)]),
    ]
    return page.Report(
        text, [page.Section(text, blocks, lead=text), page.Section("b", [])], text, text, facts=[(text, text)]
    )


class Tags(HTMLParser):
    """All tags with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def unsafe(text: str) -> list[tuple[str, dict[str, str | None]]]:
    """Tags and attributes that could run code or fetch something."""
    bad = []
    for tag, attributes in Tags(text).tags:
        links = [
            v or "" for k, v in attributes.items() if k in ("src", "href", "xlink:href", "data", "action", "srcset")
        ]
        remote = any(not link.startswith(("#", "data:image/", "data:video/")) for link in links)
        if (
            tag in ("script", "iframe", "object", "embed", "base")
            or remote
            or any(k.startswith("on") for k in attributes)
        ):
            bad.append((tag, attributes))
    return bad


def test_hostile_names_stay_names() -> None:
    """A task called `<script>` must be shown, not run, by whoever opens the report."""
    text = page.render(hostile_page())
    assert unsafe(text) == []
    assert unsafe("<img src=http://127.0.0.1/x onerror=a>") != [], "the check itself must see what it looks for"
    assert "default-src 'none'" in text


@settings(max_examples=25, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=60))
def test_any_text_can_be_shown(text: str) -> None:
    """No instruction that a robot uploads may break the report or leave its place in it."""
    blocks: list[page.Block] = [
        page.Text(text),
        page.Table([text], [[text]]),
        page.Figure(charts.graph([charts.Node(text, text)])),
    ]
    assert unsafe(page.render(page.Report(text, [page.Section(text, blocks)]))) == []


def test_equal_reports_are_equal_bytes() -> None:
    """A page that differs each time would be published again and again."""
    assert page.render(hostile_page()) == page.render(hostile_page())


def test_figures_keep_their_ids_apart() -> None:
    """Two inline figures with one id would clip each other."""
    ids = [a["id"] for _, a in Tags(page.render(hostile_page())).tags if a.get("id")]
    repeated = {i for i in ids if ids.count(i) > 1}
    curve = charts.Curve("a", [1, 2], [1, 2])
    one, two = (charts.curves([curve], "x", y).markup for y in ("first", "second"))
    shared = set(re.findall(r'\bid="([^"]+)"', one)) & set(re.findall(r'\bid="([^"]+)"', two))
    assert shared == set()
    assert repeated <= set()


def test_colours_follow_the_theme() -> None:
    """A hard-coded black axis is invisible in the dark."""
    markup = charts.curves([charts.Curve("a", [1, 2], [1, 2])], "x", "y").markup
    assert "var(--ink)" in markup or "var(--soft)" in markup
    assert "#0102" not in markup


def test_only_pictures_and_films_are_inlined() -> None:
    with pytest.raises(ValueError, match="images and videos"):
        page.data_uri(b"<script>", "text/html")
    with pytest.raises(ValueError, match="neither an image nor a video"):
        page.media("model.safetensors", b"")
    assert isinstance(page.media("a.mp4", b"x"), page.Video)


def test_writing_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that is being rewritten when the power goes must still be the old one."""
    path = page.write(page.Report("old", []), tmp_path / "a" / "r.html")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("no")))
    with pytest.raises(OSError, match="no"):
        page.write(page.Report("new", []), path)
    assert "old" in path.read_text()
    assert [p.name for p in path.parent.iterdir()] == ["r.html"]


def test_the_graph_leaves_out_what_another_path_implies() -> None:
    """Every stage takes the dataset; drawn out, nobody could follow a line."""
    nodes = [
        charts.Node("a"),
        charts.Node("b", after=("a",)),
        charts.Node("c", after=("a", "b")),
        charts.Node("d", after=("zz",)),
    ]
    assert charts._reduced(nodes) == [("a", "b"), ("b", "c")]


def test_the_graph_does_not_depend_on_the_order_of_its_nodes() -> None:
    """Stages that end in the same second may be listed in any order."""
    forward = [charts.Node("a"), charts.Node("b", after=("a",)), charts.Node("c", after=("b",))]
    assert [n.name for n in charts._ordered(forward[::-1])] == ["a", "b", "c"]
    circle = [charts.Node("a", after=("b",)), charts.Node("b", after=("a",)), charts.Node("c", after=("c",))]
    assert "<svg" in charts.graph(circle).markup


OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here; `make setup` installs it where it may")
def test_it_opens_in_a_real_browser_without_errors_or_network(tmp_path: Path) -> None:
    """What the issue promises: it opens, runs nothing, logs no error, and asks nobody for anything."""
    path = page.write(hostile_page(), tmp_path / "report.html")
    title, console, hosts = browse(path, tmp_path / "one")
    assert title == HOSTILE
    assert console == []
    assert hosts == set()

    loose = tmp_path / "loose.html"
    loose.write_text("<title>t</title><script>console.error('seen')</script><img src='http://127.0.0.1:9/pixel.png'>")
    _, console, hosts = browse(loose, tmp_path / "two")
    assert console, "the check itself must see an error"
    assert hosts == {"127.0.0.1"}, "the check itself must see a request"


def browse(path: Path, profile: Path) -> tuple[str, list[str], set[str]]:
    """Open a page in headless Chromium: its title, its console's errors and the hosts it asked."""
    log = profile.with_suffix(".net.json")
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --disable-dev-shm-usage --enable-logging=stderr --dump-dom"
    )
    done = subprocess.run(
        [str(BROWSER), *flags.split(), OFFLINE, f"--user-data-dir={profile}", f"--log-net-log={log}", path.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    hosts = set()
    for event in json.loads(log.read_text())["events"]:
        asked = event.get("params", {})
        # the browser itself calls home too; only requests that the page started count
        if asked.get("url", "").startswith("http") and asked.get("initiator", "not an origin") != "not an origin":
            hosts.add(urlsplit(asked["url"]).hostname or "")
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.S)
    return unescape(title.group(1)) if title else "", console, hosts


def test_the_style_sheet_names_every_colour_that_charts_use() -> None:
    """A variable without a value draws nothing."""
    css = page._style()
    for variable in {*charts._VARIABLES.values(), "--good", "--bad", "--busy", "--paper"}:
        assert css.count(f"{variable}:") == 2, f"{variable} needs a light and a dark value"
    assert json.dumps(css)
