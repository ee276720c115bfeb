"""The figures of accuracy: RULER against length and against cache bytes, from reports.

A group of checkpoints that differ in their seed alone (NAME-s0, NAME-s1) is one line: the mean over seeds, with a bar
from the lowest to the highest seed, or of one standard error where there is one seed.
"""
from __future__ import annotations

import re

from . import data, style
from .data import NotDrawable, Reports


def scored(reports: Reports, suite: str) -> list[dict]:
    return [c for c in reports.cells
            if c["suite"] == suite and c["status"] == "ok" and c.get("accuracy", {}).get("score")]


def family(config: str) -> str:
    return re.sub(r"-s\d+$", "", config)


def ruler_means(reports: Reports, what: str) -> tuple[list[dict], list[str]]:
    """The cells of a mean of tasks that most lengths have; ties go to the mean of more tasks."""
    groups: dict[tuple, list[dict]] = {}
    for cell in scored(reports, "ruler"):
        axes = cell["axes"]
        if str(axes["task"]).startswith("mean"):
            tasks = tuple(row["name"] for row in cell["accuracy"]["score"]["rows"])
            groups.setdefault((tasks, family(axes["config"]), axes["device"]), []).append(cell)
    if not groups:
        raise NotDrawable(f"{what}: the reports have no mean of RULER tasks")
    key = max(groups, key=lambda k: (len({c["axes"]["context"] for c in groups[k]}), len(k[0])))
    return groups[key], list(key[0])


def over_seeds(cells: list[dict]) -> dict[str, dict[int, tuple[float, float, float, int]]]:
    """Model -> length -> (mean, low, high, seeds), in percent."""
    found: dict[str, dict[int, list]] = {}
    for cell in cells:
        found.setdefault(cell["axes"]["model"], {}).setdefault(cell["axes"]["context"], []).append(cell["accuracy"])
    result: dict[str, dict[int, tuple]] = {}
    for model in [m for m in data.MODELS if m in found] + sorted(set(found) - set(data.MODELS)):
        for context, accuracies in sorted(found[model].items()):
            values = [100 * a["value"] for a in accuracies]
            mean = sum(values) / len(values)
            error = 100 * (accuracies[0]["stderr"] or 0)
            low, high = (min(values), max(values)) if len(values) > 1 else (mean - error, mean + error)
            result.setdefault(model, {})[context] = (mean, low, high, len(values))
    return result


def seeds_text(points: dict) -> str:
    seeds = max(n for lengths in points.values() for *_, n in lengths.values())
    return f"{seeds} seeds, bars: range" if seeds > 1 else "one seed, bars: standard error"


def draw(axes, model: str, xs: list[float], points: list[tuple]) -> None:
    ys = [p[0] for p in points]
    bars = [[max(0.0, p[0] - p[1]) for p in points], [max(0.0, p[2] - p[0]) for p in points]]
    axes.errorbar(xs, ys, yerr=bars, color=style.colour(model), marker=style.marker(model), linewidth=1.1,
                  elinewidth=0.7, capsize=1.5, capthick=0.7, zorder=3)


def new_axes(cells: list[dict], tasks: list[str], points: dict, reports: Reports):
    names = ", ".join(tasks) if len(tasks) <= 3 else f"{len(tasks)} tasks, {tasks[0]} to {tasks[-1]}"
    return style.new_axes(f"RULER, {family(cells[0]['axes']['config'])}, {reports.device}; {seeds_text(points)}",
                          f"%, mean of {names}")


def accuracy_vs_length(reports: Reports):
    cells, tasks = ruler_means(reports, "accuracy_vs_length")
    points = over_seeds(cells)
    contexts = {c for lengths in points.values() for c in lengths}
    figure, axes = new_axes(cells, tasks, points, reports)
    for i, (model, lengths) in enumerate(points.items()):  # side by side, so that the bars can be told apart
        draw(axes, model, [c * 1.04 ** (i - (len(points) - 1) / 2) for c in lengths], list(lengths.values()))
    style.context_axis(axes, contexts)
    axes.set_ylim(-2, 102)
    ends = [(max(lengths), lengths[max(lengths)][0], style.name(model), style.colour(model), True)
            for model, lengths in points.items()]
    style.label_right(axes, ends)
    return figure


def accuracy_vs_cache(reports: Reports):
    """Right and low costs memory; a point a length, its tokens beside it."""
    cells, tasks = ruler_means(reports, "accuracy_vs_cache")
    points = over_seeds(cells)
    parts = [c for c in scored(reports, "ruler") if family(c["axes"]["config"]) == family(cells[0]["axes"]["config"])]
    sizes = data.by_model(parts, data.cache_bytes_per_sequence)  # a mean has no memory, the tasks that it is of have
    if not sizes:
        raise NotDrawable("accuracy_vs_cache: no cell counts the bytes of a cache")
    figure, axes = new_axes(cells, tasks, points, reports)
    ends = []
    for model, lengths in points.items():
        xs = [sizes[model][c] / 2**20 for c in lengths]
        draw(axes, model, xs, list(lengths.values()))
        below = model != "mla"
        for x, (context, point) in zip(xs, lengths.items()):
            if model == "gdn-h" and "kimi-linear" in points:  # the same bytes, but for a few
                continue
            axes.annotate(style.tokens(context), (x, point[0]), (0, -5 if below else 5), textcoords="offset points",
                          ha="center", va="top" if below else "bottom", fontsize=5.5, color=style.colour(model),
                          zorder=6, path_effects=style.halo())
        ends.append((xs[-1], list(lengths.values())[-1][0], style.name(model), style.colour(model), True))
    values = [s / 2**20 for lengths in sizes.values() for s in lengths.values()]
    axes.set_xscale("log")
    style.log_axis(axes.xaxis, values, lambda t: f"{t:g}")
    axes.set_xlim(min(values) / 1.3, max(values) * 1.3)
    axes.set_ylim(-2, 108)
    axes.set_xlabel("cache and state of one sequence, MiB", labelpad=2)
    style.label_right(axes, ends)
    return figure


FIGURES = {"accuracy_vs_length": accuracy_vs_length, "accuracy_vs_cache": accuracy_vs_cache}
