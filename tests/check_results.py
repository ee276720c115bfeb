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

with tempfile.TemporaryDirectory() as folder:
    copy = pathlib.Path(folder) / "README.md"
    shutil.copy(source / "README.md", copy)
    report = source / "reports/results/h200-decode.json"
    done = subprocess.run([kdabench, "readme", report, "--file", copy], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert copy.read_text() == (source / "README.md").read_text(), \
        "README's table is not what the report says; run kdabench readme reports/results/h200-decode.json"
print(f"{len(reports)} reports are valid, and README shows them")
