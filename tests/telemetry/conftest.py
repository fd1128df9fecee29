"""Reports to look at: one with hostile text in every place, one with every kind of block and real pictures."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest

from components.robots.video import VideoWriter
from components.telemetry import charts
from components.telemetry import report as page

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c63601860f80f0001040100a2d5d7f10000000049454e44ae426082"
)
HOSTILE = (
    "press </style></svg><script>document.title='owned'</script><img src=http://127.0.0.1:9/x onerror=alert(1)> $x_{$"
)


@pytest.fixture(scope="session")
def hostile_page() -> page.Report:
    """A report with hostile text wherever text from outside can come; the text is its title."""
    text = HOSTILE
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


@pytest.fixture(scope="session")
def full_page(tmp_path_factory: pytest.TempPathFactory) -> page.Report:
    """A report as a run's is: charts, a picture, a film, a wide table, a graph of stages."""
    from PIL import Image

    picture = io.BytesIO()
    Image.linear_gradient("L").resize((640, 160)).save(picture, "PNG")
    film = tmp_path_factory.mktemp("film") / "episode.mp4"
    with VideoWriter(film, 64, 48, fps=15) as writer:
        for shade in range(0, 250, 10):
            writer.write(np.full((48, 64, 3), shade, np.uint8))
    lines = [charts.Curve(f"seed {i}", [1, 10, 100], [1.0, 0.5 / (i + 1), 0.1]) for i in range(3)]
    names = ("record", "intake", "stage1", "stage2", "pretrain", "specialize", "evaluate", "gate")
    nodes = [charts.Node(name, "1 min", "good", after=names[max(0, i - 1) : i]) for i, name in enumerate(names)]
    columns = [f"column {i}" for i in range(14)]
    return page.Report(
        "A run of tiny",
        [
            page.Section("Stages", [page.Figure(charts.graph(nodes), wide=True)], lead="All of them."),
            page.Section("Training", [page.Figure(charts.curves(lines, "step", "loss", log_y=True), caption="Loss")]),
            page.Section("Closed loop", [
                page.Figure(charts.intervals([charts.Interval("policy", 0.6, 0.4, 0.8)], "success")),
                page.Gallery([
                    page.Figure(picture.getvalue(), caption="Strip", alt="six frames"),
                    page.Video(film.read_bytes(), caption="Seed 3", tone="good"),
                ]),
            ]),
            page.Section("Numbers", [
                page.Table(columns, [["3.14159", page.Cell("60 %", share=0.6), *["0123456789abcdef"] * 12]] * 3),
                page.Preformatted("sha256:" + "0123456789abcdef" * 20),
                page.Verdict("Passed.", "good", ["success 0.6 is at least 0.5."]),
                page.Details("More", [page.Text("Folded away.")]),
            ]),
        ],
        status="succeeded", tone="good", facts=[("Time", "61 s"), ("Version", "0123456789abcdef" * 4)],
    )  # fmt: skip
