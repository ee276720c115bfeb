"""The paper's Figures 1a, 2, 4 and 7a with its points beside ours, and the roofline. (1b is same_memory_tpot, 7b is
tpot_vs_context.)

The paper's points are hollow and dashed. A figure whose measurement is missing says so in itself; one whose reports
lack every cell it could show is skipped.
"""
from __future__ import annotations

from . import data, style
from .data import NotDrawable, Reports
from .figures import draw_lines, draw_paper, label_ends, named, note, ratio_sentence, setting

PAPER = {"linestyle": (0, (3, 2)), "linewidth": 0.8, "markerfacecolor": "white", "markeredgewidth": 0.7,
         "markersize": 3.4, "zorder": 2}


def panels(count: int, title: str, subtitle: str, width: float = 1.0):
    """Panels side by side under one title."""
    size = (width * style.WIDTH_INCHES, style.HEIGHT_INCHES)
    figure, axes = style.plt.subplots(1, count, figsize=size, squeeze=False)
    figure.subplots_adjust(left=0.065, right=0.985, top=0.80, bottom=0.22, wspace=0.18)
    figure.text(0.01, 0.975, title, fontsize=8, fontweight="bold", va="top")
    figure.text(0.01, 0.91, subtitle, fontsize=7, va="top", color="#444444")
    return figure, list(axes[0])


def measured_acceleration(reports: Reports, context: int) -> dict[str, float]:
    """MLA's amortised time over each model's, at one context on a GPU; the best of the budgets."""
    found: dict[str, float] = {}
    cells = [c for c in reports.decode("same-memory") if data.timed(c) and c["axes"]["context"] == context
             and c["axes"]["device"] == "cuda"]
    for cell in cells:
        for other in cells:
            same = all(cell["axes"][a] == other["axes"][a] for a in ("config", "dtype", "cache_budget_bytes"))
            if same and other["axes"]["model"] == "mla" and cell["axes"]["model"] != "mla":
                ratio = data.tpot_ms(other) / data.tpot_ms(cell)
                model = cell["axes"]["model"]
                found[model] = max(found.get(model, 0), ratio)
    return found


def fig1a(reports: Reports):
    """Scores against decode acceleration."""
    points, measured = data.paper()["fig1a"], measured_acceleration(reports, 131072)
    scores = {c["axes"]["model"]: 100 * c["accuracy"]["value"] for c in reports.cells
              if c["suite"] == "ruler" and c["axes"]["context"] == 131072 and c["axes"]["task"] == "mean"
              and c["status"] == "ok"}
    if not measured and not scores:
        raise NotDrawable("fig1a: the reports have neither same-memory decode nor RULER at 128K on a GPU")
    figure, axes = panels(2, "Score against decode acceleration (Fig. 1a)",
                          "hollow: paper (48B, 1.4T tokens); triangles on the axis: acceleration measured here", 2)
    for panel, (task, where) in zip(axes, (("ruler", "RULER, %, 128K tokens"), ("mmlu-pro", "MMLU-Pro, %, 4K tokens"))):
        values = []
        for model, (x, y) in points[task].items():
            panel.plot([x], [y], color=style.colour(model), marker=style.marker(model), linestyle="none",
                       markerfacecolor="white", markersize=5.5, markeredgewidth=1.1, zorder=4)
            panel.annotate(f"{style.name(model)} {y:g}", (x, y), (0, 6), textcoords="offset points", ha="center",
                           fontsize=6.5, color=style.colour(model))
            values.append(y)
        low, high = min(values) - 1.5, max(values) + 2.6
        panel.set_ylim(low, high)
        panel.set_xlim(0.6 if task == "ruler" else 0.94, 4.6 if task == "ruler" else 1.14)
        panel.set_xlabel("acceleration of amortised decode over MLA", labelpad=2)
        panel.set_title(where, pad=3)
        if task != "ruler":
            note(panel, ["not measured here: no same-memory cells at 4K,", "no weights of the paper's models"])
            continue
        both = " and ".join(style.name(m) for m in measured)
        for model, x in measured.items():
            thin = model == "gdn-h"
            panel.plot([x], [low], marker="^", color=style.colour(model), markersize=4 if thin else 7, clip_on=False,
                       zorder=6 if thin else 5)
        if measured:
            x = max(measured.values())
            panel.annotate(f"{both}: {x:.2f}x here", (x, low), (0, 10), textcoords="offset points", ha="center",
                           fontsize=6.5, color="#333333")
        for model, y in scores.items():
            panel.plot([measured.get(model, 1.0)], [y], color=style.colour(model), marker=style.marker(model), zorder=5)
        if not scores:
            note(panel, ["no scores measured: the weights are not released"])
    return figure


def fig2(reports: Reports):
    """Time of one operator, KDA against DPLR."""
    points = data.paper()["fig2"]
    own = {kind: {int(name.rsplit("=", 1)[1]): ns / 1e6 for name, ns in reports.kernels.items()
                  if name.startswith(f"{kind}/prefill/T=") or name.startswith(f"{kind}/prefill/H=16/T=")}
           for kind in ("kda", "gdn", "dplr")}
    if not any(own.values()):
        raise NotDrawable("fig2: no kernel_bench rows kda/prefill, gdn/prefill or dplr/prefill; run "
                          "scripts/gpu_kernels.sh")
    colours = {"kda": style.colour("kimi-linear"), "gdn": style.colour("gdn-h"), "dplr": "#CC79A7"}
    marks = {"kda": "s", "gdn": "^", "dplr": "D"}
    figure, axes = style.new_axes("One operator over a sequence (Fig. 2)",
                                  "ms; hollow: paper, 16 heads; full: here, 32 heads")
    ends = {}
    for kind in ("dplr", "kda"):
        axes.plot(points["tokens"], points[kind], color=colours[kind], marker=marks[kind], **PAPER)
        ends[kind] = (points["tokens"][-1], points[kind][-1])
    lengths, values = set(points["tokens"]), points["dplr"] + points["kda"]
    for kind, rows in own.items():
        if rows:
            xs = sorted(rows)
            axes.plot(xs, [rows[x] for x in xs], color=colours[kind], marker=marks[kind], zorder=4)
            axes.annotate(f"{kind.upper()} here", (xs[-1], rows[xs[-1]]), (4, 0 if kind == "kda" else -5),
                          textcoords="offset points", fontsize=6.5, va="center", color=colours[kind])
            lengths |= set(xs)
            values += rows.values()
    style.context_axis(axes, lengths)
    axes.set_yscale("log")
    axes.set_ylim(min(values) / 1.6, max(values) * 4)
    style.log_axis(axes.yaxis, values, lambda t: f"{t:g}")
    style.label_right(axes, [(*ends[kind], f"{kind.upper()}, paper", colours[kind], True) for kind in ends])
    note(axes, ["forward pass here; the paper's times fit forward",
                "and backward" + ("" if own["dplr"] else ". DPLR is not measured here")])
    return figure


def fig4(reports: Reports):
    """Best accuracy on the synthetic tests against length."""
    points = data.paper()["fig4_peak"]
    cells = [c for c in reports.cells if c["suite"] == "synthetic" and c["status"] == "ok" and "accuracy" in c]
    if not cells:
        raise NotDrawable("fig4: the reports have no cells of the suite synthetic")
    figure, axes = panels(3, "Synthetic tests against length (Fig. 4)",
                          "accuracy, %; hollow and dashed: paper, best of 20,000 steps; full: measured here", 2)
    for panel, task in zip(axes, ("palindrome", "mqar", "stack")):
        for model, ys in points[task].items():
            if model != "mamba2":
                panel.plot(points["lengths"], ys, color=style.colour(model), marker=style.marker(model), **PAPER)
        lengths = set(points["lengths"])
        own = [c for c in cells if str(c["axes"]["task"]).startswith(task)]
        for model, rows in data.by_model(own, lambda c: 100 * c["accuracy"]["value"]).items():
            panel.plot(list(rows), list(rows.values()), color=style.colour(model), marker=style.marker(model), zorder=4,
                       label={"kimi-linear": "KDA", "gdn-h": "GDN"}.get(model, style.name(model)))
            lengths |= set(rows)
        style.context_axis(panel, lengths)
        panel.set_xlabel("length, tokens", labelpad=2)
        panel.set_ylim(-3, 106)
        panel.set_title({"mqar": "MQAR"}.get(task, task.capitalize()), pad=3)
        if own:
            panel.legend(fontsize=6, frameon=False, loc="lower left")
        else:
            panel.text(0.04, 0.06, "not measured here", transform=panel.transAxes, fontsize=6.5)
    return figure


def fig7a(reports: Reports):
    """Time of a whole prefill, batch 1."""
    points = data.paper()["fig7a"]
    cells = [c for c in reports.cells if c["suite"] == "prefill" and c["axes"]["batch"] == 1]
    decode = [c for c in reports.decode("same-batch") if c["axes"]["device"] == "cuda"]
    if not cells and not decode:
        raise NotDrawable("fig7a: the reports have no cells of the suite prefill, nor any of a GPU")
    own = data.by_model(data.one_setting(cells, "fig7a"), lambda c: c["timing"]["stats"]["median_ns"] / 1e9
                        if data.timed(c) else None) if cells else {}
    title = setting(reports, cells) if own else "Prefill (Fig. 7a): the paper's alone"
    figure, axes = style.new_axes(title, "time of the whole prompt, s, batch 1; dashed: paper")
    contexts = data.paper()["contexts"]
    if own:
        draw_lines(axes, own)
    paper = {model: dict(zip(contexts, points[model])) for model in data.MODELS}
    for model, line in paper.items():
        axes.plot(list(line), list(line.values()), color=style.colour(model), marker=style.marker(model), **PAPER)
    everything = [y for lines in (own, paper) for line in lines.values() for y in line.values()]
    style.context_axis(axes, set(contexts) | {x for line in own.values() for x in line})
    axes.set_yscale("log")
    axes.set_ylim(min(everything) / 1.6, max(everything) * 4)
    style.log_axis(axes.yaxis, everything, lambda t: f"{t:g}")
    note(axes, [f"paper: {points['mla'][-1] / points['kimi-linear'][-1]:.2f}x at 1M",
                ratio_sentence(own) if own else "not measured here"])
    label_ends(axes, paper, set(contexts), named, ratio=False)  # the longer lines; colours say the rest
    return figure


def roofline(reports: Reports):
    """What a step does a second against its operations a byte, under the measured ceilings."""
    ceilings = reports.ceilings
    if not ceilings or not ceilings.get("read_bytes_per_s") or not ceilings.get("gemm_flops_per_s"):
        raise NotDrawable("roofline: no report has both ceilings, read bandwidth and matrix rate")
    timed = [c for c in reports.cells if data.timed(c) and c["suite"] == "decode"
             and data.number(c.get("floor", {}).get("flops", 0))]
    cells = data.one_setting(timed, "roofline", budgets_alike=True)
    bandwidth, peak = ceilings["read_bytes_per_s"], ceilings["gemm_flops_per_s"]
    figure, axes = style.new_axes(setting(reports, cells),
                                  "TFLOP/s of a decode step against FLOP/byte; hollow: batch 1")
    points = []
    for cell in cells:
        flops, moved = data.number(cell["floor"]["flops"]), data.number(cell["floor"]["bytes"])
        rate = flops / cell["timing"]["stats"]["median_ns"] * 1e9
        points.append((cell["axes"]["model"], cell["axes"]["batch"], flops / moved, rate / 1e12))
    xs, ys = [p[2] for p in points], [p[3] for p in points]
    low, high = min(xs) / 1.8, max(max(xs) * 2.2, peak / bandwidth * 2.5)
    bend = peak / bandwidth
    axes.plot([low, bend, high], [low * bandwidth / 1e12, peak / 1e12, peak / 1e12], color="#333333", linewidth=1,
              zorder=2)
    axes.plot([low, bend], [0.5 * low * bandwidth / 1e12, 0.5 * peak / 1e12], color="#999999", linewidth=0.6,
              linestyle=(0, (4, 3)), zorder=1)
    for model in data.MODELS + sorted({p[0] for p in points} - set(data.MODELS)):
        for one in (True, False):
            own = [p for p in points if p[0] == model and (p[1] == 1) == one]
            axes.plot([p[2] for p in own], [p[3] for p in own], linestyle="none", marker=style.marker(model),
                      color=style.colour(model), markerfacecolor="white" if one else style.colour(model),
                      markersize=2.6 if model == "gdn-h" else 3.8, markeredgewidth=0.8,
                      zorder=5 if model == "gdn-h" else 4)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(min(ys) / 2.5, peak / 1e12 * 2)
    style.log_axis(axes.xaxis, [low, high], lambda t: f"{t:g}")
    style.log_axis(axes.yaxis, [min(ys), peak / 1e12], lambda t: f"{t:g}")
    axes.set_xlabel("operations a byte that must move", labelpad=2)
    roof = f"roof, measured: {bandwidth / 1e12:.2f} TB/s,\n{peak / 1e12:.0f} TFLOP/s; dashed: half of it"
    axes.text(0.97, 0.04, roof, transform=axes.transAxes, fontsize=6.5, ha="right", va="bottom", linespacing=1.25)
    ends = {}
    for model in data.MODELS:
        own = [p for p in points if p[0] == model]
        if own:
            ends[model] = max(own, key=lambda p: p[2])
    style.label_right(axes, [(p[2], p[3], style.name(m), style.colour(m), True) for m, p in ends.items()])
    return figure


FIGURES = {"fig1a": fig1a, "fig2": fig2, "fig4": fig4, "fig7a": fig7a, "roofline": roofline}
