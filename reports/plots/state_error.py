"""python3 -m reports.plots.state_error STATE-ERROR.json --out DIR

Error of the recurrent state against the fp64 recurrence, over tokens: one panel for usual writes, one for small ones; a
colour for each type of state, a line for each decay.
"""
from __future__ import annotations

import argparse
import json
import pathlib

from . import style
from .style import plt

TYPES = {"fp32": "#000000", "bf16": "#D55E00", "bf16-stochastic": "#0072B2"}
NAMES = {"fp32": "fp32", "bf16": "bf16, to nearest", "bf16-stochastic": "bf16, stochastic"}
DASHES = {0.99: (0, (1, 1.5)), 0.999: (0, (4, 1.5)), 0.99999: "solid"}
PANELS = {"usual": "writes near 1/2", "small": "writes near 1/50"}


def draw(rows: list[dict]):
    device = "cuda" if any(row["device"] == "cuda" for row in rows) else "cpu"
    figure, panels = plt.subplots(1, 2, figsize=(2 * style.WIDTH_INCHES, style.HEIGHT_INCHES), sharey=True)
    for axes, (writes, title) in zip(panels, PANELS.items()):
        for kind, colour in TYPES.items():
            for decay, dashes in DASHES.items():
                line = sorted((row["steps"], row["state_rel_l2"]) for row in rows if row["device"] == device and
                              row["writes"] == writes and row["state_dtype"] == kind and row["decay"] == decay)
                if line:
                    axes.plot(*zip(*line), color=colour, linestyle=dashes)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_title(title)
        axes.set_xlabel("tokens")
    panels[0].set_ylabel("relative error of the state")
    lines = [plt.Line2D([], [], color=colour, label=NAMES[kind]) for kind, colour in TYPES.items()]
    lines += [plt.Line2D([], [], color="#888888", linestyle=dashes, label=f"decay {decay}")
              for decay, dashes in DASHES.items()]
    where = "the decode kernel" if device == "cuda" else "fp32 arithmetic on the CPU"
    figure.suptitle(f"Drift of the recurrent state from the fp64 recurrence: {where}", fontsize=8)
    figure.legend(handles=lines, loc="lower center", ncols=6, frameon=False, fontsize=6.5)
    figure.subplots_adjust(left=0.08, right=0.99, top=0.84, bottom=0.26, wspace=0.06)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(prog="python3 -m reports.plots.state_error")
    parser.add_argument("rows", metavar="STATE-ERROR.json")
    parser.add_argument("--out", required=True, metavar="DIR")
    args = parser.parse_args()
    figure = draw(json.loads(pathlib.Path(args.rows).read_text())["rows"])
    for kind in ("png", "svg"):
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(pathlib.Path(args.out) / f"state_error.{kind}", metadata=metadata)


if __name__ == "__main__":
    main()
