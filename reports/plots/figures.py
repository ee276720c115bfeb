"""The figures: each takes reports, returns a matplotlib figure, raises NotDrawable when cells are missing.

Measured lines are solid with full markers; the paper's are dashed with hollow ones.
"""
from __future__ import annotations

from . import accuracy, data, style
from .data import NotDrawable, Reports


def setting(reports: Reports, cells: list[dict]) -> str:
    axes = cells[0]["axes"]
    return f"{axes['config']} {axes['dtype']}, {reports.device}"


def draw_lines(axes, lines: dict[str, dict[int, float]]) -> None:
    """GDN-H is thin and on top: it lies on Kimi Linear in most figures, and both must be seen."""
    for model, points in lines.items():
        thin = model == "gdn-h"
        axes.plot(list(points), list(points.values()), color=style.colour(model), marker=style.marker(model),
                  linewidth=0.6 if thin else 1.3, markersize=2.2 if thin else 3.6, zorder=4 if thin else 3)


def draw_paper(axes, points: dict, cells: list[dict], models) -> list[float]:
    """The paper's points at the contexts that were measured on a GPU: hollow markers, dashed."""
    contexts = {c["axes"]["context"] for c in cells if c["axes"]["device"] == "cuda"}
    if len(contexts & set(data.paper()["contexts"])) < 2:
        return []
    drawn = []
    for model in models:
        if model in points:
            xy = [(x, y) for x, y in zip(data.paper()["contexts"], points[model]) if x in contexts]
            axes.plot([x for x, _ in xy], [y for _, y in xy], color=style.colour(model),
                      linestyle=(0, (3, 2)), linewidth=0.8, marker=style.marker(model),
                      markerfacecolor="white", markersize=3.2, markeredgewidth=0.7, alpha=0.85, zorder=2)
            drawn += [y for _, y in xy]
    return drawn


def ratio_at(lines: dict) -> tuple[int, float, float] | None:
    """The longest context that both reached, and MLA's and Kimi Linear's values there."""
    shared = sorted(set(lines.get("mla", {})) & set(lines.get("kimi-linear", {})))
    return (shared[-1], lines["mla"][shared[-1]], lines["kimi-linear"][shared[-1]]) if shared else None


def ratio_sentence(lines: dict) -> str:
    found = ratio_at(lines)
    return f"MLA / Kimi Linear: {found[1] / found[2]:.2f}x at {style.tokens(found[0])}" if found else ""


def label_ends(axes, lines: dict, contexts: set[int], text, ratio: bool = True) -> None:
    """Names every line where it ends, and writes MLA / Kimi Linear beside an arrow between the two.

    A line that reaches the last context has its name in the margin; one that stops earlier has it at its last
    point, above it when no line is higher there.
    """
    margin, dark = [], "#333333"
    for model, points in lines.items():
        x = max(points)
        if x == max(contexts):
            margin.append((x, points[x], text(model, points[x]), style.colour(model), True))
            continue
        above = all(points[x] >= other.get(x, 0) for other in lines.values())
        axes.annotate(text(model, points[x]), (x, points[x]), (0, 5 if above else -5), fontsize=7,
                      textcoords="offset points", ha="center", va="bottom" if above else "top",
                      color=style.colour(model), zorder=8, path_effects=style.halo())
    found = ratio_at(lines) if ratio else None
    if found and style.points_between(axes, found[0], found[1], found[2]) > 16:
        x, high, low = found
        axes.annotate("", (x, low), (x, high), zorder=5, arrowprops={
            "arrowstyle": "<->", "color": dark, "linewidth": 0.7, "mutation_scale": 6, "shrinkA": 2.5,
            "shrinkB": 2.5})
        middle = (high * low) ** 0.5 if axes.get_yscale() == "log" else (high + low) / 2
        if x == max(contexts):
            margin.append((x, middle, f"{high / low:.2f}x", dark, False))
        else:
            axes.annotate(f"{high / low:.2f}x", (x, middle), (3, 0), textcoords="offset points", va="center",
                          fontsize=7, color=dark, zorder=8, path_effects=style.halo())
    style.label_right(axes, margin)


def named(model: str, _: float) -> str:
    return style.name(model)


def paper_ratio(points: dict, where: str) -> str:
    return f"paper (48B): {points['mla'][-1] / points['kimi-linear'][-1]:.2f}x at 1M, dashed, {where}"


def note(axes, lines: list[str], below: int = 0) -> None:
    """Sentences in the upper left corner, below the rows that mark_missing took."""
    axes.text(0.03, 0.975 - 0.08 * below, "\n".join(line for line in lines if line), transform=axes.transAxes,
              ha="left", va="top", fontsize=6.5, linespacing=1.25, zorder=6,
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2, "alpha": 0.85})


def mark_missing(axes, cells: list[dict]) -> int:
    """Cells without a time, by status, a row a model along the top: an out-of-memory cell is a result."""
    rows: dict[str, int] = {}
    for model, context, status in data.without_time(cells):
        row = rows.setdefault(model, len(rows))
        axes.text(context, 0.985 - 0.08 * row, "OOM" if status == "oom" else status,
                  transform=axes.get_xaxis_transform(), color=style.colour(model), ha="center", va="top",
                  fontsize=5.5, fontweight="bold", zorder=7,
                  bbox={"facecolor": "white", "edgecolor": style.colour(model), "linewidth": 0.5, "pad": 1})
    return len(rows)


def sweep(reports: Reports, protocol: str, value, what: str, batch_1: bool = False):
    cells = reports.decode(protocol)
    if batch_1:
        cells = [c for c in cells if c["axes"]["batch"] == 1]
    cells = data.one_setting(cells, what)
    lines = data.by_model(cells, value)
    if not lines:
        raise NotDrawable(f"{what}: no {protocol} decode cell has the value it shows")
    return cells, lines, {c["axes"]["context"] for c in cells}


def tpot_vs_context(reports: Reports):
    cells, lines, contexts = sweep(reports, "same-batch", data.tpot_ms, "tpot_vs_context", batch_1=True)
    figure, axes = style.new_axes(setting(reports, cells), "TPOT, ms, batch 1")
    fig7b = data.paper()["fig7b"]
    drawn = draw_paper(axes, fig7b, cells, lines)
    draw_lines(axes, lines)
    style.context_axis(axes, contexts)
    measured = [y for points in lines.values() for y in points.values()]
    axes.set_ylim(0, max(measured + drawn) * 1.2)
    rows = mark_missing(axes, cells)
    note(axes, [ratio_sentence(lines), paper_ratio(fig7b, "Fig. 7b") if drawn else ""], rows)
    label_ends(axes, lines, contexts, named)
    return figure


def same_memory_tpot(reports: Reports):
    cells, lines, contexts = sweep(reports, "same-memory", data.tpot_ms, "same_memory_tpot")
    budget = data.number(cells[0]["axes"]["cache_budget_bytes"])
    per = f"cache {budget / 2**30:.0f} GiB" if budget else "all free memory"
    figure, axes = style.new_axes(setting(reports, cells),
                                  f"TPOT, ms (step / batch), {per}; numbers are batches")
    fig1b = data.paper()["fig1b"]
    drawn = draw_paper(axes, fig1b, cells, lines)
    draw_lines(axes, lines)
    style.context_axis(axes, contexts)
    values = [y for points in lines.values() for y in points.values()] + drawn
    axes.set_yscale("log")
    axes.set_ylim(min(values) / 2.2, max(values) * 3)
    style.log_axis(axes.yaxis, values, lambda t: f"{t:g}")
    write_batches(axes, cells, lines)
    rows = mark_missing(axes, cells)
    note(axes, [ratio_sentence(lines), paper_ratio(fig1b, "Fig. 1b") if drawn else ""], rows)
    label_ends(axes, lines, contexts, named)
    return figure


def write_batches(axes, cells: list[dict], lines: dict) -> None:
    """The batch at each point of MLA and Kimi Linear; the slower of the two has its numbers above."""
    batches = data.by_model(cells, lambda c: c["axes"]["batch"] if data.timed(c) else None)
    pair = {"mla": "kimi-linear", "kimi-linear": "mla"}
    for model in pair:
        for context, y in lines.get(model, {}).items():
            other = lines.get(pair[model], {}).get(context)
            above = model == "mla" if other is None or other == y else y > other
            axes.annotate(str(batches[model][context]), (context, y), (0, 4 if above else -4),
                          textcoords="offset points", ha="center", va="bottom" if above else "top",
                          fontsize=5.5, color=style.colour(model), zorder=5, path_effects=style.halo())


def cache_vs_context(reports: Reports):
    what = "cache_vs_context"
    counted = [c for c in reports.cells if c["axes"]["context"] > 0 and "memory" in c]
    cells = data.one_setting(counted, what, budgets_alike=True)
    lines = data.by_model(cells, data.cache_bytes_per_sequence)
    if not lines:
        raise NotDrawable(f"{what}: no cell counts the bytes of a cache")
    figure, axes = style.new_axes(setting(reports, cells), "cache and state of one sequence", left=0.16)
    draw_lines(axes, lines)
    contexts = {c["axes"]["context"] for c in cells}
    style.context_axis(axes, contexts)
    values = [y for points in lines.values() for y in points.values()]
    axes.set_yscale("log", base=2)
    powers = [2.0 ** e for e in range(0, 60, 2) if min(values) / 3 <= 2.0 ** e <= max(values) * 3]
    axes.yaxis.set_major_locator(style.FixedLocator(powers))
    axes.yaxis.set_major_formatter(style.FixedFormatter([bytes_label(p) for p in powers]))
    axes.yaxis.set_minor_locator(style.NullLocator())
    axes.set_ylim(min(values) / 1.6, max(values) * 2.5)
    note(axes, [ratio_sentence(lines)])
    label_ends(axes, lines, contexts, lambda model, y: f"{style.name(model)}\n{bytes_label(y)}")
    return figure


def bytes_label(value: float) -> str:
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f} B"


def fraction_of_floor(reports: Reports):
    cells, lines, contexts = sweep(reports, "same-batch", data.fraction_of_floor, "fraction_of_floor",
                                   batch_1=True)
    figure, axes = style.new_axes(setting(reports, cells), "physical floor / measured step, batch 1")
    axes.axhline(1, color="#444444", linewidth=0.7)
    draw_lines(axes, lines)
    style.context_axis(axes, contexts)
    axes.set_ylim(0, 1.05)
    axes.yaxis.set_major_locator(style.FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    rows = mark_missing(axes, cells)
    axes.text(0.03, 0.93 - 0.08 * max(0, rows - 1), "1 = bytes or FLOPs at the measured rates",
              transform=axes.transAxes, fontsize=6.5, color="#444444", va="top")
    label_ends(axes, lines, contexts, named, ratio=False)
    return figure


def breakdown(reports: Reports):
    """A bar a model and context: what each part takes of a step at batch 1, with the bar's physical floor across it."""
    taken = [c for c in reports.decode("same-batch") if c["axes"]["batch"] == 1 and data.timed(c) and "breakdown" in c]
    cells = data.one_setting(taken, "breakdown")
    contexts = sorted({c["axes"]["context"] for c in cells})
    contexts = sorted({contexts[0], contexts[len(contexts) // 2], contexts[-1]})
    bars = [(context, model, c) for context in contexts for model in data.MODELS for c in cells
            if c["axes"]["context"] == context and c["axes"]["model"] == model]
    if not bars:
        raise NotDrawable("breakdown: none of its cells is of a known model")
    figure, axes = style.new_axes(setting(reports, cells), "where a decode step goes, ms, batch 1; line: floor")
    width, used = 0.8, []
    for i, (context, model, cell) in enumerate(bars):
        x, bottom = i + contexts.index(context) * 0.7, 0.0
        parts = {p["name"]: p["time_ns"] / 1e6 for p in cell["breakdown"]["parts"]}
        parts["gaps"] = cell["breakdown"]["remainder_ns"] / 1e6
        for name in style.PART_COLOURS:
            height = max(0.0, parts.get(name, 0.0))
            if height > 0:
                axes.bar(x, height, width, bottom=bottom, color=style.PART_COLOURS[name], linewidth=0, zorder=3)
                bottom += height
                used.append(name)
        floor = cell["floor"]["time_ns"] / 1e6
        axes.plot([x - width / 2, x + width / 2], [floor, floor], color="black", linewidth=1.1, zorder=5,
                  path_effects=style.halo())
        axes.text(x, -0.02, {"kimi-linear": "KL", "gdn-h": "GDN"}.get(model, style.name(model)), transform=axes.get_xaxis_transform(),
                  ha="center", va="top", fontsize=5.5, color=style.colour(model))
    centres = {c: [i + contexts.index(c) * 0.7 for i, b in enumerate(bars) if b[0] == c] for c in contexts}
    for context, xs in centres.items():
        axes.text(sum(xs) / len(xs), -0.085, style.tokens(context), transform=axes.get_xaxis_transform(),
                  ha="center", va="top", fontsize=6.5)
    axes.set_xticks([])
    axes.set_xlabel("context, tokens", labelpad=17)
    axes.grid(axis="x", visible=False)
    handles = [style.plt.Rectangle((0, 0), 1, 1, color=style.PART_COLOURS[n]) for n in style.PART_COLOURS if n in used]
    labels = [n for n in style.PART_COLOURS if n in used]
    axes.legend(handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=6,
                handlelength=0.9, handleheight=0.9, borderpad=0.1, labelspacing=0.35)
    return figure


FIGURES = {
    "tpot_vs_context": tpot_vs_context,
    "same_memory_tpot": same_memory_tpot,
    "cache_vs_context": cache_vs_context,
    "fraction_of_floor": fraction_of_floor,
    "breakdown": breakdown,
    **accuracy.FIGURES,
}
