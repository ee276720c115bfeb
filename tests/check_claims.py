#!/usr/bin/env python3
"""The claims file against the program: every command it names is one the program takes, and README quotes the verdicts of
the committed reports.

Usage: check_claims.py SOURCE_DIR KDABENCH
"""
import json
import pathlib
import re
import shlex
import subprocess
import sys

source, kdabench = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
REPORT = "reports/results/h200-decode.json"
REPORTS = sorted(str(path.relative_to(source)) for path in (source / "reports/results").glob("h200-*.json"))


def run(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([kdabench, *words], capture_output=True, text=True, cwd=source, timeout=120)


def refused(says: str, *words: str) -> None:
    done = run(*words)
    line = " ".join(words)
    assert done.returncode == 2, f"{line}: wanted exit code 2, got {done.returncode}"
    assert done.stderr.startswith("kdabench: ") and done.stderr.count("\n") == 1, f"{line}: {done.stderr!r}"
    assert says in done.stderr and not done.stdout, f"{line}: wanted {says!r} in {done.stderr!r}"


claims = json.loads((source / "suites/claims.json").read_text())["claims"]
commands = {claim["run"] for claim in claims if "run" in claim}
for command in sorted(commands):
    words = shlex.split(command)
    assert words[0] == "kdabench" and words[-2] == "--out", command
    # The dry run needs no GPU, but wants to know how much memory one has.
    done = run(*words[1:-2], "--dry-run", "--device-memory", "141GiB")
    assert done.returncode == 0, f"{command}: {done.stderr}"

for form, first in (("text", "The paper's claims"), ("md", "| claim |"), ("latex", "% needs"), ("json", "{")):
    done = run("claims", *REPORTS, "--format", form)
    assert done.returncode == 0 and done.stdout.startswith(first) and not done.stderr, f"{form}: {done.stderr}"
judged = json.loads(done.stdout)
assert [claim["id"] for claim in judged["claims"]] == [claim["id"] for claim in claims]
verdicts = {claim["id"]: claim["verdict"] for claim in judged["claims"]}
assert verdicts["decode-amortised-1m"] != "not testable here", "the committed report answers the 6.3x"
assert all(claim["reason"] for claim in judged["claims"] if claim["verdict"] == "not testable here")

# What README quotes is what the program says: | claim id | ... | verdict |.
readme = (source / "README.md").read_text()
table = run("claims", *REPORTS).stdout
quoted = re.search(r"<!-- claims:begin -->\n```\n(.*?)```\n<!-- claims:end -->", readme, re.DOTALL)
assert quoted and quoted[1], "README has no table between <!-- claims:begin --> and <!-- claims:end -->"
for line in quoted[1].splitlines():
    assert line in table.splitlines(), f"README quotes {line!r}; kdabench claims reports/results/h200-*.json says otherwise"

assert "27" in run("claims", REPORT, "--explain", "cache-75").stdout
assert "Decomposition at 1M" in run("claims", REPORT, "--explain", "6.3x").stdout
refused("wanted a claim's id", "claims", REPORT, "--explain", "9x")
refused("--explain writes text", "claims", REPORT, "--explain", "6.3x", "--format", "md")
refused("text, md", "claims", REPORT, "--format", "pdf")
refused("no such file", "claims", "none.json")
refused("no such file", "claims", REPORT, "--claims", "none.json")
refused("wanted an object with a list", "claims", REPORT, "--claims", "CMakePresets.json")
refused("REPORT", "claims")
print(f"{len(claims)} claims, {len(commands)} commands the program takes")
