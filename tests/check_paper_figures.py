#!/usr/bin/env python3
"""The paper's figures, the roofline and the forest plot. Usage: check_paper_figures.py SOURCE_DIR [KDABENCH]

Each is drawn from a document that has its cells, twice with the same bytes, and is skipped with its reason without
them; what was measured changes the picture. Exits 77 (skipped) without matplotlib.
"""
from __future__ import annotations

import copy
import json
import os
import pathlib
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(sys.argv[1]).resolve()
SYNTHETIC = json.loads((SOURCE / "tests/data/synthetic.json").read_text())


def python() -> str:
    for candidate in (sys.executable, "/usr/bin/python3"):
        if subprocess.run([candidate, "-c", "import matplotlib"], capture_output=True).returncode == 0:
            return candidate
    print("skipped: no matplotlib")
    sys.exit(77)


PYTHON = python()


def draw(figure: str, out: pathlib.Path, *files: pathlib.Path) -> subprocess.CompletedProcess:
    words = [PYTHON, "-m", "reports.plots", *map(str, files), "--out", str(out), "--only", figure]
    return subprocess.run(words, cwd=SOURCE, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True,
                          text=True)


def cell(**axes) -> dict:
    made = copy.deepcopy(SYNTHETIC["cells"][0])
    made["suite"] = axes.pop("suite", "decode")
    made["axes"].update(axes)
    made["id"] = f"{made['suite']}/{sorted(made['axes'].items(), key=str)}"
    return made


def with_cells(cells: list[dict], peak: float | None = None) -> dict:
    return {**SYNTHETIC, "cells": cells, "ceilings": {**SYNTHETIC["ceilings"], "gemm_flops_per_s": peak}}


def timed(ms: float, flops: int = 0, **axes) -> dict:
    made = cell(**axes)
    made["timing"]["stats"]["median_ns"] = made["timing"]["tpot_ns"] = ms * 1e6
    made["floor"]["flops"] = flops
    return made


def scored(value: float, **axes) -> dict:
    return {**cell(**axes), "accuracy": {"metric": "m", "value": value, "bound": None, "stderr": 0.01, "n": 100}}


def kernels(factor: float) -> dict:
    rows = [{"name": f"{kind}/prefill/T={t}/iterations:20/manual_time", "run_type": "iteration", "time_unit": "us",
             "real_time": factor * t / 8} for kind in ("kda", "gdn") for t in (2048, 8192)]
    return {"context": {}, "benchmarks": rows}


def ab(ratio: float) -> dict:
    rows = [{"id": f"decode/model=mla;context={c};batch=1", "verdict": verdict,
             "first": {"ratio": ratio, "low": ratio - 0.01, "high": ratio + 0.01}, "confirmation": again}
            for c, verdict, again in ((1, "pass", None), (2, "fail", {"ratio": ratio, "low": 1, "high": 1.1}))]
    rows.append({"id": "decode/model=x;context=3;batch=1", "verdict": "failed", "first": None, "confirmation": None})
    return {"schema": "kdabench/ab", "schema_version": "1.0.0", "device": "GPU", "exit_name": "regression",
            "injected_slowdown": 1, "rule": {"delta": 0.02, "interval_level": 0.95}, "cells": rows}


# Figure: two documents that must draw two pictures, and what is said where there is nothing to draw.
DOCUMENTS = {
    "fig1a": (SYNTHETIC, with_cells(SYNTHETIC["cells"] + [scored(0.8, suite="ruler", model="mla", context=131072,
                                                                 task="mean")]),
              "neither same-memory decode nor RULER"),
    "fig2": (kernels(1), kernels(2), "no kernel_bench rows"),
    "fig4": (*(with_cells([scored(v, suite="synthetic", model="kimi-linear", task="mqar", context=c)
                           for c, v in ((256, 1.0), (512, w))]) for w in (0.9, 0.7)), "no cells of the suite synthetic"),
    "fig7a": (SYNTHETIC, with_cells([timed(ms, suite="prefill", model=m, context=c) for m in ("mla", "kimi-linear")
                                     for c, ms in ((4096, 50), (8192, 120))]), "no cells of the suite prefill"),
    "roofline": (*(with_cells([timed(ms, 10**12, model=m) for m in ("mla", "kimi-linear")], 8e14) for ms in (5, 6)),
                 "no report has both ceilings"),
    "forest": (ab(1.01), ab(1.03), "no document of kdabench ab"),
}

with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    empty = folder / "empty.json"
    empty.write_text(json.dumps(with_cells([])))
    for figure, (*documents, reason) in DOCUMENTS.items():
        pictures = []
        for i, document in enumerate(documents):
            file = folder / f"{figure}{i}.json"
            file.write_text(json.dumps(document))
            for again in range(2 if i == 0 else 1):
                out = folder / f"{figure}-{i}-{again}"
                done = draw(figure, out, file)
                assert done.returncode == 0, f"{figure}: {done.stdout}{done.stderr}"
                svg, png = (out / f"{figure}.{kind}" for kind in ("svg", "png"))
                assert svg.stat().st_size > 10_000 and png.stat().st_size > 6_000, f"{figure} looks blank"
                assert "<dc:date>" not in svg.read_text(), f"{figure} carries a date"
                pictures.append((svg.read_bytes(), png.read_bytes()))
        assert pictures[0] == pictures[1], f"{figure}: two runs differ"
        assert pictures[0][0] != pictures[2][0], f"{figure} does not show what was measured"
        done = draw(figure, folder / "none", empty)
        assert done.returncode == 1 and f"skipped {figure}: " in done.stdout and reason in done.stdout, done.stdout

    bad = folder / "bad.json"
    bad.write_text(json.dumps({"context": {}, "benchmarks": [{"name": "x"}]}))
    done = draw("fig2", folder / "bad", bad)
    assert done.returncode != 0 and "wanted rows of Google Benchmark" in done.stderr, done.stderr

    # Every point of the paper: as many values as places, and the labels that the paper prints.
    paper = json.loads((SOURCE / "reports/plots/paper_points.json").read_text())
    for key in ("fig7a", "fig7b", "fig1b"):
        for model in ("mla", "kimi-linear"):
            assert len(paper[key][model]) == len(paper["contexts"]), f"{key} {model}"
    for key, i, label in (("fig1b", 8, 6.3), ("fig1b", 7, 5.7), ("fig1b", 6, 4.8), ("fig1b", 5, 3.98), ("fig7b", 8, 2.2),
                          ("fig7b", 7, 1.8), ("fig7a", 8, 2.9), ("fig7a", 7, 2.3)):
        ratio = paper[key]["mla"][i] / paper[key]["kimi-linear"][i]
        assert abs(ratio / label - 1) < 0.025, f"{key}: the points give {ratio:.2f}, the paper prints {label}"
print(f"{len(DOCUMENTS)} figures drawn, twice the same bytes, and skipped without their cells")
