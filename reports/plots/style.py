"""How every figure looks: one column wide, 7 to 8 point text, the same colour for a model everywhere."""
from __future__ import annotations

import pathlib
import textwrap

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend comes first)
from matplotlib.patheffects import withStroke  # noqa: E402
from matplotlib.ticker import FixedFormatter, FixedLocator, NullFormatter, NullLocator  # noqa: E402

WIDTH_INCHES, HEIGHT_INCHES = 3.4, 2.75
# Okabe and Ito: told apart with any colour vision, and in grey by marker.
COLOURS = {"mla": "#D55E00", "gdn-h": "#009E73", "kimi-linear": "#0072B2"}
OTHER_COLOURS = ["#CC79A7", "#E69F00", "#56B4E9", "#000000"]
MARKERS = {"mla": "o", "gdn-h": "^", "kimi-linear": "s"}
# The parts of a step, from the bottom of a bar; what is left of it is grey.
PART_COLOURS = {"projections": "#0072B2", "attention": "#D55E00", "recurrence": "#009E73", "router": "#882255", "experts": "#E69F00",
                "dense": "#56B4E9", "head": "#CC79A7", "norms": "#F0E442", "gaps": "#CCCCCC"}
NAMES = {"mla": "MLA", "gdn-h": "GDN-H", "kimi-linear": "Kimi Linear"}

plt.rcParams.update({
    "font.family": "DejaVu Sans", "font.size": 7, "axes.titlesize": 8, "axes.labelsize": 7.5,
    "xtick.labelsize": 6.5, "ytick.labelsize": 7, "axes.linewidth": 0.6, "lines.linewidth": 1.3,
    "lines.markersize": 3.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True, "grid.linewidth": 0.4,
    "grid.color": "#DDDDDD", "svg.hashsalt": "kdabench", "svg.fonttype": "path", "savefig.dpi": 200,
})


def colour(model: str) -> str:
    return COLOURS.get(model) or OTHER_COLOURS[sum(map(ord, model)) % len(OTHER_COLOURS)]


def marker(model: str) -> str:
    return MARKERS.get(model, "D")


def name(model: str) -> str:
    return NAMES.get(model, model)


def tokens(value: float) -> str:
    value = int(value)
    for unit, size in (("M", 1 << 20), ("K", 1 << 10)):
        if value >= size and value % size == 0:
            return f"{value // size}{unit}"
    return str(value)


def halo():
    """A white outline, for text that may lie on a line."""
    return [withStroke(linewidth=2, foreground="white")]


def new_axes(title: str, ylabel: str, left: float = 0.125):
    title = title if len(title) <= 50 else title[:48].rstrip(" ,") + " ..."
    figure, axes = plt.subplots(figsize=(WIDTH_INCHES, HEIGHT_INCHES))
    figure.subplots_adjust(left=left, right=0.80, top=0.865, bottom=0.235)
    size = 8 if len(title) <= 40 else 7
    figure.text(0.02, 0.975, title, fontsize=size, fontweight="bold", va="top")
    figure.text(0.02, 0.905, ylabel, fontsize=7, va="top", color="#444444")
    return figure, axes


def context_axis(axes, contexts) -> None:
    contexts = sorted(set(contexts))
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(contexts))
    axes.xaxis.set_major_formatter(FixedFormatter([tokens(c) for c in contexts]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(contexts[0] / 1.25, contexts[-1] * 1.25)
    axes.set_xlabel("context, tokens", labelpad=2)


def log_axis(axis, values, label) -> None:
    """Ticks at 1, 2, 5 per decade where the range is short, at powers of ten where it is long."""
    low, high = min(values), max(values)
    steps = (1, 2, 5) if high / low < 300 else (1,)
    ticks = [m * 10.0 ** e for e in range(-6, 16) for m in steps]
    ticks = [t for t in ticks if low * 0.6 <= t <= high * 1.6]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter([label(t) for t in ticks]))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def spread(wanted: list[float], gap: float, low: float, high: float) -> list[float]:
    """Positions close to the wanted ones, at least `gap` apart, inside [low, high]."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed = sorted(wanted)
    for _ in range(200):
        for i in range(1, len(placed)):
            short = gap - (placed[i] - placed[i - 1])
            if short > 1e-9:
                placed[i - 1] -= short / 2
                placed[i] += short / 2
        if placed:
            placed = [p + max(0.0, low - placed[0]) for p in placed]
            placed = [p - max(0.0, placed[-1] - high) for p in placed]
    out = [0.0] * len(wanted)
    for rank, i in enumerate(order):
        out[i] = placed[rank]
    return out


def points_between(axes, x: float, a: float, b: float) -> float:
    """The distance on paper between two values, in points."""
    top, bottom = axes.transData.transform((x, a))[1], axes.transData.transform((x, b))[1]
    return abs(top - bottom) / axes.figure.dpi * 72


def label_right(axes, labels: list[tuple[float, float, str, str, bool]], line_points: float = 8.5) -> None:
    """Writes (x, y, text, colour, joined by a line?) in the right margin, as near as the neighbours allow."""
    if not labels:
        return
    axes.figure.canvas.draw()
    box = axes.get_window_extent()
    height = box.height / axes.figure.dpi * 72
    at = [axes.transAxes.inverted().transform(axes.transData.transform(label[:2])) for label in labels]
    lines = max(label[2].count("\n") + 1 for label in labels)
    heights = spread([float(y) for _, y in at], lines * line_points / height, 0.02, 0.98)
    for (x, y), (_, _, text, shade, joined), place in zip(at, labels, heights):
        arrow = {"arrowstyle": "-", "color": shade, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2}
        axes.annotate(text, (x, y), (1.035, place), xycoords="axes fraction", textcoords="axes fraction",
                      color=shade, va="center", fontsize=7, linespacing=1.05, annotation_clip=False,
                      arrowprops=arrow if joined else None)


def caption(figure, text: str) -> None:
    """At the foot: what made the figure, shortened to three lines."""
    lines = textwrap.wrap(text, 84)
    if len(lines) > 3:
        lines = lines[:2] + [lines[2][:80] + " ..."]
    figure.text(0.02, 0.015, "\n".join(lines), fontsize=5, color="#666666", va="bottom", linespacing=1.2)


def save(figure, folder: pathlib.Path, stem: str) -> list[pathlib.Path]:
    made = [folder / f"{stem}.png", folder / f"{stem}.svg"]
    figure.savefig(made[0], metadata={"Software": None})
    figure.savefig(made[1], metadata={"Date": None, "Creator": None})
    plt.close(figure)
    return made
