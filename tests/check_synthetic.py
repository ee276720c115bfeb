#!/usr/bin/env python3
"""kdabench run synthetic, end to end on the CPU. usage: check_synthetic.py SOURCE_DIR KDABENCH

A trained checkpoint scores high on its task and near chance on another; the report is valid and says what was scored;
what cannot be asked is refused with a sentence before anything is loaded.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

source, kdabench = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
trained = source / "suites/checkpoints/palindrome"


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([kdabench, "run", "synthetic", *arguments], capture_output=True, text=True)


with tempfile.TemporaryDirectory() as folder:
    out = str(pathlib.Path(folder) / "report.json")
    done = run("--checkpoint", str(trained), "--models", "kimi-linear", "--tasks", "palindrome,stack", "--lengths", "255",
               "--samples", "4", "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert subprocess.run([kdabench, "validate", out], capture_output=True).returncode == 0
    cells = {cell["axes"]["task"]: cell for cell in json.loads(pathlib.Path(out).read_text())["cells"]}
    assert set(cells) == {"palindrome", "stack"}, set(cells)
    good, bad = cells["palindrome"]["accuracy"], cells["stack"]["accuracy"]
    assert good["value"] > 0.95 and not good["score"]["at_chance"] and good["n"] == 4, good
    assert bad["value"] < 0.2, bad
    rows = {row["name"]: row for row in good["score"]["rows"]}
    assert rows["token accuracy"]["n"] == 4 * 126, rows            # 255 = 2 x 127 + 1; all but the first are asked
    assert rows["sequence accuracy"]["n"] == 4 and rows["sequence accuracy"]["value"] <= good["value"] + 1e-9, rows
    assert cells["palindrome"]["memory"]["state_bytes_per_sequence"] > 0

    checkpoint = ("--checkpoint", str(trained), "--models", "kimi-linear")
    for arguments, word in (((*checkpoint, "--tasks", "palindrom"), "palindrome"),
                            ((*checkpoint, "--tasks", "mqar", "--lengths", "1K"), "keys"),
                            ((*checkpoint, "--tasks", "palindrome", "--lengths", "3"), "length"),
                            (("--config", "tiny", "--lengths", "64"), "random")):
        done = run(*arguments, "--samples", "2")
        assert done.returncode == 2, (arguments, done.returncode, done.stdout, done.stderr)
        assert word in done.stderr, (arguments, done.stderr)
print("the synthetic suite scores, reports and refuses")
