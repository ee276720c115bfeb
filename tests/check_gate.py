#!/usr/bin/env python3
"""`kdabench gate` from outside: exit codes, formats that other programs read, a real run against itself.

usage: check_gate.py SOURCE_DIR KDABENCH_BINARY
"""
import json, pathlib, subprocess, sys, tempfile
import xml.etree.ElementTree as xml

source, binary = pathlib.Path(sys.argv[1]).resolve(), str(pathlib.Path(sys.argv[2]).resolve())
folder = pathlib.Path(tempfile.mkdtemp(prefix="check_gate_"))
base = source / "tests/data/synthetic.json"
failures = []


def check(holds, what):
    if not holds:
        failures.append(what)
        print("FAILED", what)


def kdabench(*words):
    done = subprocess.run([binary, *map(str, words)], capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


def edited(name, edit):
    report = json.loads(base.read_text())
    edit(report)
    path = folder / name
    path.write_text(json.dumps(report))
    return path


def gate(candidate, wanted, *words, start=base):
    code, out, err = kdabench("gate", start, candidate, *words)
    check(code == wanted, f"gate {candidate} {words}: wanted exit code {wanted}, got {code}: {out}{err}")
    return out


def check_codes():
    out = gate(base, 0)
    check(out.endswith("pass (exit code 0)\n"), f"last line: {out[-80:]!r}")
    more = edited("more.json", lambda r: r["cells"][0]["memory"].update(parameters=1))
    out = gate(more, 1)
    check("memory.parameters" in out and out.endswith("regression (exit code 1)\n"), out)
    missing = edited("missing.json", lambda r: r["cells"].pop())
    check("missing" in gate(missing, 1), "a missing cell is named")
    gate(base, 6, start=missing)
    gate(base, 6, start=folder / "none.json")
    corrupt = folder / "corrupt.json"
    corrupt.write_text(base.read_text()[:5000])
    for out in (gate(corrupt, 2), gate(base, 2, start=corrupt), gate(folder / "none.json", 2)):
        check(out.endswith("usage, IO or schema error (exit code 2)\n"), out[-80:])
    gate(base, 0, "--rules", source / "reports/gate_rules.json")
    gate(base, 2, "--rules", corrupt)
    check(kdabench("gate", base)[0] == 2 and kdabench("gate", base, base, "--format", "xml")[0] == 2, "usage")
    code, out, _ = kdabench("gate", "--print-rules")
    shipped = json.loads((source / "reports/gate_rules.json").read_text())
    shipped.pop("about")
    check(code == 0 and json.loads(out) == shipped, "the rules that are printed are those that are shipped")
    return more, missing, corrupt


def check_formats(more, missing, corrupt):
    for candidate, wanted in ((base, 0), (more, 1), (missing, 1), (corrupt, 2)):
        result = json.loads(gate(candidate, wanted, "--format", "json"))
        check(result["exit_code"] == wanted and result["schema"] == "kdabench/gate", f"json of {candidate.name}")
        suite = xml.fromstring(gate(candidate, wanted, "--format", "junit")).find("testsuite")
        failed = sum(1 for case in suite.iter("testcase") if case.find("failure") is not None)
        check(int(suite.get("failures")) == failed, f"junit of {candidate.name} counts its failures")
        check((failed > 0) == (wanted > 0), f"junit of {candidate.name}: {failed} failures")
        check(int(suite.get("tests")) == len(suite.findall("testcase")), "junit counts its tests")
        lines = gate(candidate, wanted, "--format", "github").splitlines()
        check(any(line.startswith("::error ") for line in lines) == (wanted > 0), f"github of {candidate.name}")
        check(f"(exit code {wanted})" in gate(candidate, wanted, "--format", "md").splitlines()[-1], "md says the code")


def check_real():
    """What a CPU run says must be equal from run to run, whatever the machine is busy with."""
    plan = ["run", "decode", "memory", "--models", "kimi-linear", "--context", "32", "--steps", "3", "--progress",
            "none"]
    never = folder / "never.json"
    rules = json.loads((source / "reports/gate_rules.json").read_text())
    rules["time"]["judge"] = "never"
    never.write_text(json.dumps(rules))
    one, two, slowed = (folder / f"{name}.json" for name in ("one", "two", "slowed"))
    for path, wanted, words in ((one, 0, []), (two, 0, ["--ceilings", one]),
                                (slowed, 4, ["--ceilings", one, "--inject-slowdown", "1.2"])):
        code, out, err = kdabench(*plan, "--out", path, *words)
        check(code == wanted, f"{words}: {code} {err}")
    gate(two, 0, "--rules", never, start=one)
    check("slowed on purpose" in gate(slowed, 4, "--rules", never, start=one), "a slowed run is no measurement")
    check(kdabench("compare", one, slowed)[0] == 4, "compare refuses it, too")


if __name__ == "__main__":
    check_formats(*check_codes())
    check_real()
    print(f"{len(failures)} failures")
    sys.exit(bool(failures))
