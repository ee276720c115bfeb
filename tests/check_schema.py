#!/usr/bin/env python3
"""Holds the shipped JSON Schema to an independent validator. Usage: check_schema.py SOURCE_DIR [KDABENCH]

The schema is good draft-7, accepts the synthetic report, and refuses what breaks each of its rules; where a
kdabench binary is given, `kdabench validate` must agree on every document. Exits 77 (skipped) without
jsonschema.
"""
from __future__ import annotations

import copy
import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import jsonschema
except ModuleNotFoundError:
    print("skipped: no jsonschema")
    sys.exit(77)

SOURCE = pathlib.Path(sys.argv[1]).resolve()
BINARY = sys.argv[2] if len(sys.argv) > 2 and pathlib.Path(sys.argv[2]).exists() else None


def edits():
    """(what is broken, how), each against a fresh copy of the good report."""
    def of_cell(number, change):
        return lambda report: change(report["cells"][number])

    yield "missing machine", lambda r: r.pop("machine")
    yield "missing field", of_cell(0, lambda c: c["timing"].pop("tpot_ns"))
    yield "wrong schema", lambda r: r.update(schema="other")
    yield "another major version", lambda r: r.update(schema_version="2.0.0")
    yield "unknown status", of_cell(0, lambda c: c.update(status="good"))
    yield "speed beside an error", of_cell(0, lambda c: c.update(status="error", status_reason="x"))
    yield "no reason for a status", of_cell(8, lambda c: c.update(status_reason=""))
    yield "decode without timing", of_cell(0, lambda c: c.pop("timing"))
    yield "decode without throughput", of_cell(0, lambda c: c.pop("throughput"))
    yield "negative batch", of_cell(0, lambda c: c["axes"].update(batch=-1))
    yield "text for an integer", of_cell(0, lambda c: c["axes"].update(batch="many"))
    yield "fraction for an integer", of_cell(0, lambda c: c["axes"].update(batch=1.5))
    yield "null for a number", of_cell(0, lambda c: c["timing"].update(tpot_ns=None))
    yield "text among samples", of_cell(0, lambda c: c["samples"]["step_ns"].append("fast"))
    yield "number for text", lambda r: r["meta"]["options"].update(x=3)
    yield "unknown device", lambda r: r["devices"][0].update(kind="tpu")


def binary_accepts(report) -> bool | None:
    """What `kdabench validate` says, or None without a binary that has the command."""
    if not BINARY:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "report.json"
        path.write_text(json.dumps(report))
        return subprocess.run([BINARY, "validate", str(path)], capture_output=True).returncode == 0


def main() -> None:
    schema = json.loads((SOURCE / "reports/kdabench-report.schema.json").read_text())
    good = json.loads((SOURCE / "tests/data/synthetic.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)
    problems = [error.message for error in validator.iter_errors(good)]
    assert not problems, problems
    large = copy.deepcopy(good)
    large["cells"][0]["floor"]["flops"] = "1152921504606846976"
    assert validator.is_valid(large), "integers beyond 2^53 are strings"

    # Only a binary that accepts the good report can be asked about the bad ones.
    binary = binary_accepts(good)
    assert binary is not False, "kdabench validate refuses the synthetic report"
    count = 0
    for what, edit in edits():
        report = copy.deepcopy(good)
        edit(report)
        assert not validator.is_valid(report), f"the schema accepts: {what}"
        assert binary_accepts(report) is not True, f"kdabench validate accepts: {what}"
        count += 1
    print(f"schema: {count} broken reports refused" + (", kdabench validate agrees" if binary else ""))


if __name__ == "__main__":
    main()
