"""python3 -m reports.plots REPORT.json... --out DIR [--only NAME]"""
from __future__ import annotations

import argparse
import pathlib
import sys


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m reports.plots",
                                     description="Draws the figures of the paper from reports.")
    parser.add_argument("reports", nargs="+", metavar="REPORT.json",
                        help="reports (of two cells with one id the later counts), kernel_bench's JSON, "
                             "documents of kdabench ab")
    parser.add_argument("--out", required=True, metavar="DIR", help="where NAME.png and NAME.svg go")
    parser.add_argument("--only", metavar="NAME", help="draw this figure alone")
    args = parser.parse_args()
    try:
        from . import comparison, data, figures, paper_figures, style
    except ModuleNotFoundError as error:
        print(f"wanted matplotlib to draw, found no module {error.name}; install python3-matplotlib",
              file=sys.stderr)
        return 2
    known = {**figures.FIGURES, **paper_figures.FIGURES, **comparison.FIGURES}
    names = [args.only] if args.only else list(known)
    if args.only and args.only not in known:
        print(f"--only wants one of {', '.join(known)}, got '{args.only}'", file=sys.stderr)
        return 2
    reports = data.load(args.reports)
    folder = pathlib.Path(args.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"--out {folder}: wanted a folder to write to, found {error.strerror}; give another",
              file=sys.stderr)
        return 2
    drawn = 0
    for name in names:
        try:
            figure = known[name](reports)
        except data.NotDrawable as reason:
            print(f"skipped {reason}")
            continue
        style.caption(figure, reports.command)
        for path in style.save(figure, folder, name):
            print(path)
        drawn += 1
    if not drawn:
        print("nothing could be drawn from these reports", file=sys.stderr)
    return 0 if drawn else 1


if __name__ == "__main__":
    sys.exit(main())
