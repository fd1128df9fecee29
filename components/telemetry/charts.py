"""Charts for the report: inline SVG that follows the page's dark or light theme. Nothing here reads a file.

Curves, bars and intervals are drawn by matplotlib with placeholder colours that become CSS variables; the graph of a
run is laid out and drawn here, because it is small. Text that comes from outside is escaped, never read as mathematics.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from html import escape
from itertools import pairwise
from typing import Any, ParamSpec

import numpy as np

from components.telemetry.report import Svg, Tone

P = ParamSpec("P")
INK, SOFT, LINE, BAD = "#010203", "#010204", "#010205", "#010206"
SERIES = ("#010211", "#010212", "#010213", "#010214", "#010215")
_VARIABLES = {INK: "--ink", SOFT: "--soft", LINE: "--line", BAD: "--bad"}
_VARIABLES |= {colour: f"--series-{i + 1}" for i, colour in enumerate(SERIES)}
_STYLE = {
    "svg.fonttype": "none", "svg.hashsalt": "orrery", "font.size": 11, "text.parse_math": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none", "text.color": INK, "axes.labelcolor": SOFT, "axes.edgecolor": LINE,
    "xtick.color": SOFT, "ytick.color": SOFT, "grid.color": LINE, "grid.linewidth": 0.6, "axes.grid": True,
    "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False, "axes.titlesize": 11,
    "axes.titlelocation": "left", "path.simplify": True,
    "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"],
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a chart: `x` and `y` of equal length; points that are not finite are left out."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False

    def finite(self) -> tuple[np.ndarray, np.ndarray]:
        x, y = np.asarray(self.x, dtype=float), np.asarray(self.y, dtype=float)
        keep = np.isfinite(x) & np.isfinite(y)
        return x[keep], y[keep]


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with its confidence interval, all in 0..1."""

    label: str
    value: float
    low: float
    high: float


def _styled(draw: Callable[P, Svg]) -> Callable[P, Svg]:
    """Draw in the report's style alone: matplotlib reads its settings whenever it makes a text, not only at the end."""

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Svg:
        import matplotlib

        with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]
            return draw(*args, **kwargs)

    return styled


@_styled
def curves(
    lines: Sequence[Curve],
    x_label: str,
    y_label: str,
    log_y: bool = False,
    height: float = 2.6,
    shaded: Sequence[tuple[float, float]] = (),
) -> Svg:
    """A line chart. `log_y` is honoured only if all values are positive; `shaded` are stretches of x that are bad."""
    figure, axes = _figure(7.2, height)
    for start, end in shaded:
        axes.axvspan(start - 0.5, end + 0.5, color=BAD, alpha=0.18, linewidth=0)
    positive = all((line.finite()[1] > 0).all() for line in lines)
    for i, line in enumerate(lines):
        x, y = _thin(*line.finite())
        style = _style(line, i)
        axes.plot(x, y, color=SERIES[i % len(SERIES)], label=line.label, linewidth=1.6, linestyle=style)
    if log_y and positive:
        _logarithmic(axes)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    if len(lines) > 1:
        axes.legend(fontsize=9, labelcolor=INK)
    return _svg(figure, f"{y_label} over {x_label}")


def _logarithmic(axes: Any) -> None:
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}" if high < 10 * low else "")  # within a decade there is hardly a major tick


@_styled
def intervals(values: Sequence[Interval], x_label: str) -> Svg:
    """One row per value: a dot, and its confidence interval as a bar; 0 to 100 %."""
    figure, axes = _figure(7.2, 0.75 + 0.42 * len(values))
    for row, value in enumerate(reversed(values)):
        colour = SERIES[(len(values) - 1 - row) % len(SERIES)]
        axes.plot([100 * value.low, 100 * value.high], [row, row], color=colour, linewidth=5, alpha=0.35)
        axes.plot([100 * value.value], [row], "o", color=colour, markersize=8)
        axes.annotate(
            f"{100 * value.value:.0f} %",
            (100 * value.value, row),
            (0, 8),
            textcoords="offset points",
            fontsize=9,
            ha="center",
        )
    axes.set_yticks(range(len(values)), [_short(v.label, 38) for v in reversed(values)])
    axes.set_xlim(-3, 103)
    axes.set_ylim(-0.6, len(values) - 0.3)
    axes.set_xlabel(x_label)
    axes.grid(axis="y", visible=False)
    return _svg(figure, x_label)


@_styled
def small_multiples(panels: Mapping[str, Sequence[Curve]], x_label: str, columns: int = 4, log_y: bool = False) -> Svg:
    """One small chart per panel, sharing the x axis: the dimensions of an action chunk, for example."""
    rows = math.ceil(len(panels) / columns)
    figure = _new_figure(7.6, 1.45 * rows + 0.35)
    grid = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes, (title, lines) in zip(grid.flat, panels.items(), strict=False):
        for i, line in enumerate(lines):
            style = _style(line, i)
            axes.plot(*line.finite(), color=SERIES[i % len(SERIES)], linewidth=1.2, label=line.label, linestyle=style)
        axes.set_title(_short(title, 22), fontsize=9)
        axes.tick_params(labelsize=7)
        if log_y:
            _logarithmic(axes)
    for axes in grid[-1]:
        axes.set_xlabel(x_label, fontsize=8)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    if len(labels) > 1:
        figure.legend(handles, labels, loc="outside upper right", ncols=len(labels), fontsize=8, labelcolor=INK)
    return _svg(figure, x_label)


@dataclass(frozen=True, slots=True)
class Node:
    """A stage in the graph of a run. `after` names the nodes whose output it takes."""

    name: str
    note: str = ""
    tone: Tone = "plain"
    after: tuple[str, ...] = ()
    tooltip: str = ""


def graph(nodes: Sequence[Node], node_width: int = 228, node_height: int = 50) -> Svg:
    """The run's graph, top to bottom. Edges that another path already implies are left out, so that it can be read."""
    nodes = _ordered(nodes)
    edges = _reduced(nodes)
    layers = _layers(nodes, edges)
    gap_x, gap_y, margin = 22, 40, 6
    widest = max((len(layer) for layer in layers), default=1)
    width = widest * (node_width + gap_x) - gap_x + 2 * margin
    height = len(layers) * (node_height + gap_y) - gap_y + 2 * margin
    place: dict[str, tuple[float, float]] = {}
    for depth, layer in enumerate(layers):
        for i, name in enumerate(layer):  # from the left: the trunk is what a narrow screen shows first
            place[name] = (margin + i * (node_width + gap_x), margin + depth * (node_height + gap_y))
    parts = [
        f'<svg class="graph" xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="The stages, and what each takes from which">'
    ]
    for source, target in edges:
        (x0, y0), (x1, y1) = place[source], place[target]
        x0, x1, y0, bend = x0 + node_width / 2, x1 + node_width / 2, y0 + node_height, gap_y / 2 + (y1 - y0) / 5
        parts.append(
            f'<path d="M{x0:.0f} {y0:.0f} C{x0:.0f} {y0 + bend:.0f} {x1:.0f} {y1 - bend:.0f} {x1:.0f} {y1:.0f}" '
            'fill="none" stroke="var(--soft)" stroke-width="1.4" opacity=".7"/>'
        )
    parts += [_box(node, *place[node.name], node_width, node_height) for node in nodes]
    return Svg("".join([*parts, "</svg>"]))


def _box(node: Node, x: float, y: float, width: int, height: int) -> str:
    colour = "var(--line)" if node.tone == "plain" else f"var(--{node.tone})"
    name, note = escape(_short(node.name, 27)), escape(_short(node.note, 27))
    return (
        f"<g><title>{escape(node.tooltip or node.name)}</title>"
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{width}" height="{height}" rx="9" fill="var(--paper)" '
        f'stroke="{colour}" stroke-width="1.8"/>'
        f'<text x="{x + 12:.0f}" y="{y + 21:.0f}" fill="var(--ink)" font-size="13" font-weight="600">{name}</text>'
        f'<text x="{x + 12:.0f}" y="{y + 39:.0f}" fill="var(--soft)" font-size="12">{note}</text></g>'
    )


def _ordered(nodes: Sequence[Node]) -> list[Node]:
    """The nodes with every node behind those it takes from, else as given. A cycle is broken where it is met."""
    known = {node.name: node for node in nodes}
    placed: dict[str, Node] = {}

    def place(node: Node, above: frozenset[str]) -> None:
        for name in node.after:
            if name in known and name not in placed and name not in above:
                place(known[name], above | {node.name})
        placed.setdefault(node.name, node)

    for node in nodes:
        place(node, frozenset())
    return list(placed.values())


def _reduced(nodes: Sequence[Node]) -> list[tuple[str, str]]:
    """The edges that no longer path implies. Edges to unknown nodes and backward edges are dropped."""
    order = {node.name: i for i, node in enumerate(nodes)}
    direct = {n.name: [a for a in dict.fromkeys(n.after) if order.get(a, len(nodes)) < order[n.name]] for n in nodes}
    reach: dict[str, set[str]] = {}
    for node in nodes:
        reach[node.name] = {b for a in direct[node.name] for b in {a, *reach[a]}}
    return [
        (a, name) for name, after in direct.items() for a in after if not any(a in reach[b] for b in after if b != a)
    ]


def _layers(nodes: Sequence[Node], edges: Sequence[tuple[str, str]]) -> list[list[str]]:
    depth = {node.name: 0 for node in nodes}
    for node in nodes:
        depth[node.name] = max((depth[a] + 1 for a, b in edges if b == node.name), default=0)
    layers: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name, level in depth.items():
        layers[level].append(name)
    return layers


def _short(text: str, limit: int) -> str:
    """Both ends of a text that is too long: what tells names apart stands last."""
    text = " ".join(text.split())
    head = (limit - 1) // 2
    return text if len(text) <= limit else f"{text[:head]}…{text[head + 1 - limit :]}"


def _thin(x: np.ndarray, y: np.ndarray, most: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """At most `most` points, by averaging neighbours: a page needs no more, and noise hides the trend."""
    if len(x) <= most:
        return x, y
    edges = np.linspace(0, len(x), most + 1).astype(int)
    pairs = list(pairwise(edges))
    return np.array([x[a:b].mean() for a, b in pairs]), np.array([y[a:b].mean() for a, b in pairs])


def _style(line: Curve, number: int) -> Any:
    """Dashed, too, where the colours have been used up once."""
    return (0, (4, 3)) if line.dashed or number // len(SERIES) % 2 else "-"


def _new_figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _figure(width: float, height: float) -> tuple[Any, Any]:
    figure = _new_figure(width, height)
    return figure, figure.subplots()


def _svg(figure: Any, label: str) -> Svg:
    """The figure as SVG markup for a page: placeholder colours to CSS variables, ids made unique, nothing but SVG."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    unique = "c" + hashlib.sha256(text.encode()).hexdigest()[:8]
    text = re.sub(r'\bid="([^"]+)"', rf'id="{unique}-\1"', text)
    text = re.sub(r'(href="|url\()#', rf"\1#{unique}-", text)
    return Svg(text.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1))
