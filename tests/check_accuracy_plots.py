#!/usr/bin/env python3
"""Draws the accuracy figures from scores and curves made here. Usage: check_accuracy_plots.py SOURCE_DIR [KDABENCH]

What is drawn is what was given: seeds are averaged, a solved run keeps its last value, the better learning rate is
chosen, means of different tasks are never mixed. Exits 77 (skipped) without matplotlib.
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
try:
    import matplotlib  # noqa: F401
except ModuleNotFoundError:
    if sys.executable != "/usr/bin/python3" and pathlib.Path("/usr/bin/python3").exists():
        os.execv("/usr/bin/python3", ["/usr/bin/python3", *sys.argv])
    print("skipped: no matplotlib")
    sys.exit(77)

sys.path.insert(0, str(SOURCE))
from reports.plots import accuracy, curves, data  # noqa: E402


def mean_cell(template: dict, model: str, config: str, context: int, value: float, tasks: list[str]) -> dict:
    cell = copy.deepcopy(template)
    cell.update(suite="ruler", status="ok", id=f"{config}{model}{context}{len(tasks)}")
    cell["axes"].update(model=model, config=config, context=context, task="mean of " + "+".join(tasks))
    cell["accuracy"] = {"metric": "mean", "value": value, "stderr": 0.03, "bound": None, "n": 100,
                        "score": {"rows": [{"name": task} for task in tasks]}}
    cell["memory"] = {"cache_bytes_per_token": 3584 if model == "mla" else 896, "state_bytes_per_sequence": 400000}
    return cell


def main() -> None:
    report = json.loads((SOURCE / "tests/data/synthetic.json").read_text())
    template = report["cells"][0]
    report["cells"] = []
    for tasks, lengths in ((["a", "b"], (1024, 2048, 4096)), (["a", "b", "c"], (4096, 8192))):
        for seed in (0, 1):
            for model in data.MODELS:
                for length in lengths:
                    value = 0.5 + 0.1 * seed + 0.01 * len(tasks)
                    mean = mean_cell(template, model, f"lm-s{seed}", length, value, tasks)
                    part = copy.deepcopy(mean)
                    part["axes"]["task"], part["id"] = "a", mean["id"] + "a"
                    del mean["memory"]
                    report["cells"] += [mean, part]
    run = {"task": "palindrome", "architecture": "gdn-h", "length": 1024, "seed": 0, "every": 100, "ended": "steps"}

    def points(values):
        return [{"step": 100 * i, "token_accuracy": v, "sequence_accuracy": v} for i, v in enumerate(values)]

    runs = [{**run, "rate": 0.001, "curve": points([0, 0.2, 0.4, 0.5])},
            {**run, "rate": 0.001, "seed": 1, "ended": "solved", "curve": points([0, 1.0])},
            {**run, "rate": 0.0005, "curve": points([0, 0.1, 0.1, 0.1])},
            {**run, "architecture": "kimi-linear", "rate": 0.001, "curve": points([0, 0.8, 0.9, 1])}]
    rates = curves.curves_of(runs[:3], "token_accuracy")
    assert rates[0.001] == {0: [0, 0], 100: [20, 100], 200: [40, 100], 300: [50, 100]}, rates
    assert curves.best_rate(rates) == 0.001

    cells, tasks = accuracy.ruler_means(data.Reports(report["cells"], "", ""), "test")
    assert tasks == ["a", "b"] and len(cells) == 18, (tasks, len(cells))
    drawn = accuracy.over_seeds(cells)["mla"][1024]
    assert [round(v, 6) for v in drawn] == [57, 52, 62, 2], drawn

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / "report.json").write_text(json.dumps(report))
        (folder / "curves.json").write_text(json.dumps({"schema": "kdabench/curves", "made_by": "a test", "runs": runs}))
        commands = [["reports.plots", "report.json", "--only", "accuracy_vs_length"],
                    ["reports.plots", "report.json", "--only", "accuracy_vs_cache"],
                    ["reports.plots.curves", "curves.json"]]
        for module, file, *rest in commands:
            done = subprocess.run([sys.executable, "-m", module, str(folder / file), "--out", name, *rest], cwd=SOURCE,
                                  env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        for figure in ("accuracy_vs_length", "accuracy_vs_cache", "synthetic_tokens_vs_steps"):
            assert (folder / f"{figure}.png").stat().st_size > 8000, f"{figure} looks blank"
        wrong = subprocess.run([sys.executable, "-m", "reports.plots.curves", str(folder / "report.json"), "--out", name],
                               cwd=SOURCE, capture_output=True, text=True)
        assert wrong.returncode != 0 and "kdabench/curves" in wrong.stderr, wrong.stderr
    print("the accuracy figures show what was given")


if __name__ == "__main__":
    main()
