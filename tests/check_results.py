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

with tempfile.TemporaryDirectory() as folder:
    copy = pathlib.Path(folder) / "README.md"
    shutil.copy(source / "README.md", copy)
    report = source / "reports/results/h200-decode.json"
    done = subprocess.run([kdabench, "readme", report, "--file", copy], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert copy.read_text() == (source / "README.md").read_text(), \
        "README's table is not what the report says; run kdabench readme reports/results/h200-decode.json"
print(f"{len(reports)} reports are valid, and README shows them")
