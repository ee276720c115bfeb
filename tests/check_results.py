#!/usr/bin/env python3
"""The committed results are whole: reports are valid, and README's table is what the program makes of them.

Usage: check_results.py SOURCE_DIR KDABENCH
"""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

source, kdabench = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
reports = [path for path in sorted((source / "reports/results").glob("*.json"))
           if json.loads(path.read_text()).get("schema") == "kdabench/report"]
assert reports, "reports/results holds no kdabench report"
for path in reports:
    done = subprocess.run([kdabench, "validate", path], capture_output=True, text=True)
    assert done.returncode == 0, f"{path.name}: {done.stdout}{done.stderr}"

# A cell on a GPU that names its kernels says what they take.
for path in reports:
    report = json.loads(path.read_text())
    for cell in report["cells"]:
        if cell["axes"]["device"] != "cuda" or "kernels" not in cell:
            continue
        rows = cell.get("resources", {"kernels": []})["kernels"]
        assert rows, f"{path.name}: {cell['id']} does not say what its kernels take; measure it again"
        assert any(row["registers"] for row in rows), f"{path.name}: {cell['id']} knows no kernel's registers"

# What the gate said of itself: never red without a change, and red at what was injected.
gate = {path.name: json.loads(path.read_text()) for path in sorted((source / "reports/results/gate").glob("*.json"))}
for name, run in gate.items():
    assert run["schema"] == "kdabench/ab" and run["same_program"], f"{name}: wanted one program against itself"
    if name.startswith("injected"):
        assert run["injected_slowdown"] > 1 and run["exit_name"] == "regression", f"{name}: {run['exit_name']}"
        assert all(cell["verdict"] == "fail" for cell in run["cells"]), f"{name}: a slowed cell did not fail"
    else:
        assert run["injected_slowdown"] == 1, f"{name}: something was injected"
        assert all(cell["verdict"] != "fail" for cell in run["cells"]), f"{name}: a false alarm"
if gate:                              # scripts/gpu_gate.sh makes all of them or none
    assert sum(not name.startswith("injected") for name in gate) >= 10, "wanted ten runs of one program against itself"
    assert any(name.startswith("injected") for name in gate), "wanted a run with an injected slowdown"


def score(seed, model, task, length):
    """Of the trained checkpoints on a GPU, in whole percent."""
    for path in sorted((source / "reports/results").glob(f"accuracy-lm-s{seed}-*k.json")):
        for cell in json.loads(path.read_text())["cells"]:
            axes = cell["axes"]
            if (axes["model"], axes["task"], axes["context"], axes["device"]) == (model, task, length, "cuda"):
                return f"{100 * cell['accuracy']['value']:.0f}"
    return "?"


lines = (source / "README.md").read_text().split("<!-- accuracy:begin -->")[1].split("<!-- accuracy:end -->")[0]
rows = [[word.strip() for word in line.strip("|").split("|")] for line in lines.strip().splitlines()]
assert len(rows) > 3, "README has no table of scores"
for task, *values in rows[2:]:
    for head, value in zip(rows[0][1:], values):
        model, length = head.split()
        wanted = ", ".join(score(seed, model, task, 1024 * int(length[:-1])) for seed in (0, 1))
        assert value == wanted, f"README says {value} for {task} of {head}, the reports say {wanted}"

# The GPU in bf16 scores the prompts that the CPU was asked in fp32 as the CPU does.
cells = {}
for path in sorted((source / "reports/results").glob("accuracy-lm-s*.json")):
    for cell in json.loads(path.read_text())["cells"]:
        if cell["status"] == "ok" and not cell["axes"]["task"].startswith("mean"):
            cells[tuple(cell["axes"][key] for key in ("device", "config", "model", "task", "context"))] = cell
both = 0
for (device, *what), cell in cells.items():
    if device == "cpu" and ("cuda", *what) in cells:
        scores = cells["cuda", *what]["items"]["scores"][:cell["accuracy"]["n"]]
        assert abs(sum(scores) / len(scores) - cell["accuracy"]["value"]) < 1e-9, f"{what}: the CPU and the GPU differ"
        both += 1
assert both == 36, f"{both} cells were scored on both devices; reports/results/README.md says 36"

with tempfile.TemporaryDirectory() as folder:
    copy = pathlib.Path(folder) / "README.md"
    shutil.copy(source / "README.md", copy)
    report = source / "reports/results/h200-decode.json"
    done = subprocess.run([kdabench, "readme", report, "--file", copy], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert copy.read_text() == (source / "README.md").read_text(), \
        "README's table is not what the report says; run kdabench readme reports/results/h200-decode.json"
print(f"{len(reports)} reports are valid, and README shows them")
