#!/usr/bin/env python3
"""Draws every figure from a synthetic report. Usage: check_plots.py SOURCE_DIR [KDABENCH]

The files exist and are not blank, two runs give the same bytes, a figure whose cells are missing is skipped with
a sentence, and a report that cannot be read is an error. Exits 77 (skipped) without matplotlib.
"""
from __future__ import annotations

import json
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(sys.argv[1]).resolve()
SYNTHETIC = SOURCE / "tests/data/synthetic.json"
FIGURES = ["tpot_vs_context", "same_memory_tpot", "cache_vs_context", "fraction_of_floor", "breakdown"]


def python() -> str:
    """This interpreter if it has matplotlib, or the system's: a virtual environment often has none."""
    for candidate in (sys.executable, "/usr/bin/python3"):
        probe = subprocess.run([candidate, "-c", "import matplotlib"], capture_output=True)
        if probe.returncode == 0:
            return candidate
    print("skipped: no matplotlib")
    sys.exit(77)


def draw(interpreter: str, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([interpreter, "-m", "reports.plots", *arguments], cwd=SOURCE, env=environment,
                          capture_output=True, text=True)


def png_size(path: pathlib.Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG"), f"{path} is no PNG"
    return struct.unpack(">II", head[16:24])


def main() -> None:
    interpreter = python()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for run in ("first", "second"):
            result = draw(interpreter, str(SYNTHETIC), "--out", str(folder / run))
            assert result.returncode == 0, result.stderr
        for figure in FIGURES:
            svg, png = (folder / "first" / f"{figure}.{kind}" for kind in ("svg", "png"))
            assert svg.read_bytes() == (folder / "second" / svg.name).read_bytes(), f"{svg.name} differs"
            assert png.read_bytes() == (folder / "second" / png.name).read_bytes(), f"{png.name} differs"
            assert "<dc:date>" not in svg.read_text(), f"{svg.name} carries a date"
            assert svg.stat().st_size > 20_000 and png.stat().st_size > 8_000, f"{figure} looks blank"
            width, _ = png_size(png)
            assert width == 680, f"{png.name} is {width} pixels wide, wanted one column at 200 dpi: 680"

        # GDN-H and the OOM cell are drawn: without them the files differ.
        report = json.loads(SYNTHETIC.read_text())
        report["cells"] = [c for c in report["cells"] if c["axes"]["protocol"] == "same-batch"
                           and c["axes"]["model"] != "gdn-h" and c["status"] == "ok"]
        fewer = folder / "fewer.json"
        fewer.write_text(json.dumps(report))
        result = draw(interpreter, str(fewer), "--out", str(folder / "fewer"))
        assert result.returncode == 0, result.stderr
        assert "skipped same_memory_tpot: the reports have no such cells" in result.stdout, result.stdout
        assert not (folder / "fewer/same_memory_tpot.png").exists()
        drawn = folder / "fewer/tpot_vs_context.svg"
        assert drawn.read_bytes() != (folder / "first/tpot_vs_context.svg").read_bytes()

        # Two reports are joined by id: both halves make the whole.
        whole = json.loads(SYNTHETIC.read_text())
        halves = []
        for part in range(2):
            halves.append(str(folder / f"half{part}.json"))
            pathlib.Path(halves[-1]).write_text(json.dumps({**whole, "cells": whole["cells"][part::2]}))
        result = draw(interpreter, *halves, "--out", str(folder / "joined"), "--only", "tpot_vs_context")
        assert result.returncode == 0, result.stderr
        assert sorted(p.name for p in (folder / "joined").iterdir()) == ["tpot_vs_context.png",
                                                                         "tpot_vs_context.svg"]

        empty = folder / "empty.json"
        empty.write_text(json.dumps({**whole, "cells": []}))
        for arguments, said in ((["--out", "x", str(empty)], "nothing could be drawn"),
                                (["--out", "x", str(folder / "none.json")], "wanted a report"),
                                (["--out", "x", str(SOURCE / "LICENSE")], "wanted JSON"),
                                (["--out", "x", str(SYNTHETIC), "--only", "pie"], "--only wants one of")):
            arguments = [str(folder / "x") if a == "x" else a for a in arguments]
            result = draw(interpreter, *arguments)
            assert result.returncode != 0, f"{arguments} passed"
            assert said in result.stderr, f"{arguments} said {result.stderr!r}, wanted {said!r}"
            assert "Traceback" not in result.stderr, result.stderr
    print(f"{len(FIGURES)} figures drawn twice, byte for byte the same")


if __name__ == "__main__":
    main()
