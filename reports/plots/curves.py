"""python3 -m reports.plots.curves CURVES.json --out DIR: accuracy against training steps, a panel a synthetic test.

CURVES.json is what scripts/train/collect.py gathers from training runs (schema kdabench/curves). A line is the mean of
the seeds at the better learning rate, by the area under it; the band runs from the lowest to the highest seed. Runs at
the other rate are thin. The paper's points belong to settings that it does not state (batch, vocabulary, metric).
"""
from __future__ import annotations

import argparse
import json
import pathlib
import sys

PAPER_LENGTH = 1024  # of the panels against steps

def curves_of(runs: list[dict], metric: str) -> dict[float, dict[int, list[float]]]:
    """Rate -> step -> the seeds' accuracies, in percent. A run that was solved early keeps its last value."""
    longest = max(point["step"] for run in runs for point in run["curve"])
    rates: dict[float, dict[int, list[float]]] = {}
    for run in runs:
        steps = {point["step"]: 100 * point[metric] for point in run["curve"]}
        if run["ended"] == "solved":
            last = max(steps)
            steps |= {step: steps[last] for step in range(last, longest + 1, run["every"])}
        for step, value in steps.items():
            rates.setdefault(run["rate"], {}).setdefault(step, []).append(value)
    return rates


def best_rate(rates: dict[float, dict[int, list[float]]]) -> float:
    """A rate that ran to the end, or nearly so, with the largest mean accuracy."""
    end = max(max(steps) for steps in rates.values())
    whole = {rate: steps for rate, steps in rates.items() if max(steps) >= 0.9 * end}
    return max(whole, key=lambda r: sum(sum(v) / len(v) for v in whole[r].values()) / len(whole[r]))


def draw(curves: dict, style, data, metric: str, length: int):
    drawn = [run for run in curves["runs"] if run["length"] == length]
    tasks = [task for task in ("palindrome", "mqar", "stack") if any(run["task"] == task for run in drawn)]
    size = (2 * style.WIDTH_INCHES, 1.12 * style.HEIGHT_INCHES)
    figure, panels = style.plt.subplots(1, len(tasks), figsize=size, sharey=True, squeeze=False)
    figure.subplots_adjust(left=0.06, right=0.985, top=0.815, bottom=0.335, wspace=0.1)
    names = {"kimi-linear": "KDA", "gdn-h": "GDN", "mla": "MLA (NoPE)"}
    what = {"token_accuracy": "asked tokens", "sequence_accuracy": "whole sequences"}[metric]
    figure.text(0.01, 0.975, f"Synthetic tests at length {length}: held-out accuracy against training steps",
                fontsize=8, fontweight="bold", va="top")
    paper = data.paper().get("fig4_steps", {}) if length == PAPER_LENGTH else {}
    lines = "thick: the better rate (band: seeds); thin: single runs at the other"
    lines += "; dashed: paper, Fig. 4" if paper else ""
    figure.text(0.01, 0.915, f"% of {what}; {lines}", fontsize=7, va="top", color="#444444")
    for axes, task in zip(panels[0], tasks):
        runs = [run for run in drawn if run["task"] == task]
        end = max(p["step"] for r in runs for p in r["curve"])
        for model in ("mla", "gdn-h", "kimi-linear"):
            own = [r for r in runs if r["architecture"] == model]
            if not own:
                continue
            rates = curves_of(own, metric)
            rate = best_rate(rates)
            steps = sorted(rates[rate])
            values = [rates[rate][s] for s in steps]
            seeds = max(map(len, values))
            label = f"{names[model]}, lr {rate:g}, {seeds} seed{'s' if seeds > 1 else ''}"
            axes.plot(steps, [sum(v) / len(v) for v in values], color=style.colour(model), linewidth=1.2, label=label,
                      zorder=4)
            axes.fill_between(steps, [min(v) for v in values], [max(v) for v in values], color=style.colour(model),
                              alpha=0.2, linewidth=0, zorder=3)
            for run in own:
                if run["rate"] != rate:
                    axes.plot([p["step"] for p in run["curve"]], [100 * p[metric] for p in run["curve"]],
                              color=style.colour(model), linewidth=0.5, zorder=3)
            printed = paper.get(task, {}).get(model)
            if printed:
                xy = [(x, y) for x, y in zip(paper["steps"], printed) if x <= end and y is not None]
                axes.plot([x for x, _ in xy], [y for _, y in xy], color=style.colour(model), linestyle=(0, (3, 2)),
                          linewidth=0.8, marker=style.marker(model), markerfacecolor="white", markersize=3, zorder=2)
        axes.set_title({"palindrome": "Palindrome", "mqar": "MQAR", "stack": "Stack"}[task], pad=3)
        axes.set_ylim(-2, 102)
        axes.set_xlabel("training steps", labelpad=2)
        axes.legend(fontsize=6, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), labelspacing=0.25)
    style.caption(figure, curves["made_by"])
    return figure


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m reports.plots.curves", description=__doc__.split("\n")[0])
    parser.add_argument("curves", metavar="CURVES.json")
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--length", type=int, default=PAPER_LENGTH)
    args = parser.parse_args()
    from . import data, style
    curves = json.loads(pathlib.Path(args.curves).read_text())
    if curves.get("schema") != "kdabench/curves":
        raise SystemExit(f"{args.curves}: wanted schema kdabench/curves; make it with scripts/train/collect.py")
    if not any(run["length"] == args.length for run in curves["runs"]):
        raise SystemExit(f"{args.curves}: no run at length {args.length}; it has "
                         f"{sorted({run['length'] for run in curves['runs']})}")
    folder = pathlib.Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    for what in ("token", "sequence"):
        figure = draw(curves, style, data, f"{what}_accuracy", args.length)
        length = "" if args.length == PAPER_LENGTH else f"_{args.length}"
        for path in style.save(figure, folder, f"synthetic_{what}s_vs_steps{length}"):
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
