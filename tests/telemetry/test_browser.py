"""The report in a real browser, without a network: what whoever opens it sees, and what the page tries to do."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from components.telemetry import report as page
from tests.engines.chromium import Browser

PHONE, DESK = (390, 844), (1280, 900)

SECTIONS = """[...document.querySelectorAll("section")].map(section => {
  const box = section.getBoundingClientRect();
  return [section.querySelector("h2").innerText, box.width, box.height, section.checkVisibility()];
})"""
PICTURES = """Promise.all([...document.images].map(async image => {
  image.loading = "eager";
  await image.decode();
  return image.naturalWidth * image.getBoundingClientRect().width;
}))"""
FILMS = """Promise.all([...document.querySelectorAll("video")].map(async film => {
  if (!film.readyState) await new Promise((ready, failed) => { film.onloadedmetadata = ready; film.onerror = failed; });
  return [film.videoWidth, film.videoHeight, film.getBoundingClientRect().width > 0];
}))"""
CHARTS = """[...document.querySelectorAll("svg")].map(chart => {
  const drawn = chart.getBBox(), box = chart.getBoundingClientRect();
  return Math.min(drawn.width, drawn.height, box.width, box.height);
})"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


def colours(png: bytes) -> tuple[int, float]:
    """How many colours a picture has, and its mean brightness, 0..255."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    grey = picture.convert("L").histogram()
    return len(picture.getcolors(1 << 24) or ()), sum(i * n for i, n in enumerate(grey)) / sum(grey)


def test_it_opens_without_errors_or_network(browser: Browser, hostile_page: page.Report, tmp_path: Path) -> None:
    """It runs nothing, logs nothing and asks nobody for anything, whatever the names in it say."""
    seen = browser.open(page.write(hostile_page, tmp_path / "report.html"))
    assert browser.ask("document.title") == hostile_page.title
    assert browser.ask("document.querySelector('h1').innerText").startswith(hostile_page.title)
    assert seen.console == []
    assert seen.hosts == set()


def test_the_check_sees_what_it_looks_for(browser: Browser, tmp_path: Path) -> None:
    loose = tmp_path / "loose.html"
    loose.write_text("<script>console.error('seen'); nothing()</script><img src='http://127.0.0.1:1/pixel.png'>")
    seen = browser.open(loose)
    assert "seen" in seen.console
    assert len(seen.console) > 1, "the exception too"
    assert seen.hosts == {"127.0.0.1"}
    loose.write_text("<section></section>")
    browser.open(loose)
    assert colours(browser.screenshot()) == (1, 255.0)


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_every_section_is_there_and_fits_the_screen(
    browser: Browser, full_page: page.Report, tmp_path: Path, size: tuple[int, int]
) -> None:
    """Breaks if a wide table or graph pushed the page sideways, or a section fell to nothing."""
    seen = browser.open(page.write(full_page, tmp_path / "report.html"), *size)
    assert seen.console == []
    sections = browser.ask(SECTIONS)
    assert [title for title, *_ in sections] == [section.title for section in full_page.sections]
    for title, width, height, visible in sections:
        assert visible, title
        assert width > 0.8 * min(size[0], 1000), title
        assert height > 80, title
    assert browser.ask("document.documentElement.scrollWidth") <= size[0]
    links = browser.ask("[...document.querySelectorAll('nav a')].map(a => a.hash.slice(1))")
    assert links == [section.anchor for section in full_page.sections]
    assert browser.ask("[...document.querySelectorAll('nav a')].every(a => document.querySelector(a.hash))")


def test_pictures_films_and_charts_are_shown(browser: Browser, full_page: page.Report, tmp_path: Path) -> None:
    """Breaks if the page's own security policy, or an encoding, kept a browser from showing what is inside."""
    browser.open(page.write(full_page, tmp_path / "report.html"))
    assert min(browser.ask(PICTURES)) > 0
    assert browser.ask(FILMS) == [[64, 48, True]]
    drawn = browser.ask(CHARTS)
    assert len(drawn) == 3
    assert min(drawn) > 20


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_is_not_blank_in_light_or_dark(browser: Browser, full_page: page.Report, tmp_path: Path, dark: bool) -> None:
    browser.open(page.write(full_page, tmp_path / "report.html"), *DESK, dark=dark)
    different, brightness = colours(browser.screenshot())
    assert different > 100, "text and lines have many shades; an empty page has one"
    assert brightness < 80 if dark else brightness > 200
