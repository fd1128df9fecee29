"""The report writer: nothing from outside is obeyed, nothing is asked of the network, the page is whole or absent."""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.telemetry import charts
from components.telemetry import report as page


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


def test_hostile_names_stay_names(hostile_page: page.Report) -> None:
    """A task called `<script>` must be shown, not run, by whoever opens the report."""
    text = page.render(hostile_page)
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


def test_equal_reports_are_equal_bytes(hostile_page: page.Report) -> None:
    """A page that differs each time would be published again and again."""
    assert page.render(hostile_page) == page.render(hostile_page)


def test_figures_keep_their_ids_apart(hostile_page: page.Report) -> None:
    """Two inline figures with one id would clip each other."""
    ids = [a["id"] for _, a in Tags(page.render(hostile_page)).tags if a.get("id")]
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


def test_the_style_sheet_names_every_colour_that_charts_use() -> None:
    """A variable without a value draws nothing."""
    css = page._style()
    for variable in {*charts._VARIABLES.values(), "--good", "--bad", "--busy", "--paper"}:
        assert css.count(f"{variable}:") == 2, f"{variable} needs a light and a dark value"
    assert json.dumps(css)


def test_long_names_of_a_graph_differ_where_the_stages_do() -> None:
    """`dft.evaluate-r_zero.sol…` stood three times in one graph."""
    stages = [f"dft.evaluate-r_zero.solver-{which}" for which in ("untrained", "1", "2")]
    drawn = charts.graph([charts.Node(name) for name in stages]).markup
    shown = re.findall(r'font-weight="600">([^<]+)</text>', drawn)
    assert len(set(shown)) == 3
    assert all(len(name) <= 27 for name in shown)
