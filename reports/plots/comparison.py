"""The forest plot of an A/B run: each cell's ratio B / A with its interval, beside the margin it is judged by."""
from __future__ import annotations

import re

from . import style
from .data import NotDrawable, Reports

VERDICTS = {"pass": "#009E73", "improved": "#0072B2", "fail": "#D55E00", "inconclusive": "#E69F00"}


def short_names(ids: list[str]) -> list[str]:
    """Ids without what all of them share, axis by axis."""
    parts = [re.split(r"[/;]", one) for one in ids]
    shared = set(parts[0]).intersection(*parts[1:]) if len(parts) > 1 else set()
    names = [" ".join(p.split("=", 1)[-1] for p in one if p not in shared) for one in parts]
    return [name or one for name, one in zip(names, ids)]


def forest(reports: Reports):
    if not reports.comparisons:
        raise NotDrawable("forest: there is no document of kdabench ab among the files")
    run = reports.comparisons[-1]
    rows = [r for r in run["cells"] if r.get("first") and r["first"].get("ratio") is not None]
    if not rows:
        raise NotDrawable("forest: the A/B run has no cell with a ratio")
    names = short_names([r["id"] for r in rows])
    margin = 1 + run["rule"]["delta"]
    height = max(style.HEIGHT_INCHES, 0.9 + 0.16 * len(rows))
    figure, axes = style.plt.subplots(figsize=(1.5 * style.WIDTH_INCHES, height))
    figure.subplots_adjust(left=0.34, right=0.75, top=1 - 0.42 / height, bottom=0.55 / height)
    title = f"B / A, {run.get('device', '')}: {run.get('exit_name', '')}"
    figure.text(0.02, 1 - 0.07 / height, title, fontsize=8, fontweight="bold", va="top")
    slowed = run.get("injected_slowdown", 1)
    level = f"{100 * run['rule']['interval_level']:.1f} %"
    figure.text(0.02, 1 - 0.22 / height, f"time ratio with its {level} interval over blocks; dashed: the margin"
                + (f"; B slowed {slowed:g} times on purpose" if slowed > 1 else ""), fontsize=7, va="top",
                color="#444444")
    reach = [margin, 2 - margin]
    for i, row in enumerate(rows):
        first, colour = row["first"], VERDICTS.get(row["verdict"], "#777777")
        low, high = first.get("low"), first.get("high")
        if low is not None and high is not None:
            axes.plot([low, high], [i, i], color=colour, linewidth=1.2, solid_capstyle="butt", zorder=3)
            reach += [low, high]
        axes.plot([first["ratio"]], [i], marker="s", markersize=3.4, color=colour, zorder=4)
        reach.append(first["ratio"])
        again = row.get("confirmation")
        if again and again.get("ratio") is not None:
            axes.plot([again["ratio"]], [i + 0.28], marker="D", markersize=2.2, color=colour, zorder=4)
        axes.text(1.02, i, f"{100 * (first['ratio'] - 1):+.2f} %  {row['verdict']}", fontsize=6.5, va="center",
                  color=colour, transform=axes.get_yaxis_transform())
    axes.axvline(1, color="#333333", linewidth=0.7, zorder=2)
    axes.axvline(margin, color="#D55E00", linewidth=0.7, linestyle=(0, (4, 3)), zorder=2)
    spare = 0.08 * (max(reach) - min(reach))
    axes.set_xlim(min(reach) - spare, max(reach) + spare)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), names, fontsize=6.2)
    confirmed = any(r.get("confirmation") for r in rows)
    axes.set_xlabel("B / A; above 1 is slower" + ("; diamonds: confirmation" if confirmed else ""), labelpad=2)
    axes.grid(axis="y", visible=False)
    return figure


FIGURES = {"forest": forest}
