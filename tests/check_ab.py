#!/usr/bin/env python3
"""`kdabench ab` against itself: programs whose times are known, then the real one.

usage: check_ab.py SOURCE_DIR KDABENCH_BINARY
"""
import json, os, pathlib, subprocess, sys, tempfile

try:
    import jsonschema
except ModuleNotFoundError:
    jsonschema = None

source, binary = pathlib.Path(sys.argv[1]).resolve(), str(pathlib.Path(sys.argv[2]).resolve())
folder = pathlib.Path(tempfile.mkdtemp(prefix="check_ab_"))
schema = json.loads((source / "reports/kdabench-ab.schema.json").read_text())
failures, runs = [], 0
PLAN = {"suites": ["decode"], "models": ["kimi-linear", "mla"], "config": "synthetic", "device": "cuda",
        "sweeps": [{"protocol": "same-batch", "batch": 1, "context": [4096, 8192]}]}
NAMES = {0: "pass", 1: "regression", 2: "usage, IO or schema error", 3: "inconclusive", 4: "invalid measurement",
         5: "incorrect result", 6: "baseline missing or incompatible"}


def check(holds, what):
    if not holds:
        failures.append(what)
        print("FAILED", what)


def program(name, where, **settings):
    """A script that is a kdabench; `settings` are arguments of fake_kdabench.main, `edit` as source text."""
    edit = settings.pop("edit", None)
    lines = ["#!" + sys.executable + " -IS", "import sys", f"sys.path.insert(0, {str(source / 'tests')!r})",
             "sys.dont_write_bytecode = True", "import fake_kdabench"]
    if edit:
        lines += ["def edit(report, number):", *["    " + line for line in edit.splitlines()]]
    edits = ", edit=edit" if edit else ""
    lines.append(f"sys.exit(fake_kdabench.main({str(where / 'counter')!r}, **{settings!r}{edits}))")
    path = where / name
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o755)
    return path


def ab(a, b, *words, plan=PLAN, where=None):
    """Exit code, output and result of one run."""
    global runs
    runs += 1
    where = where or folder
    plan_path, out = where / "plan.json", where / "ab.json"
    plan_path.write_text(json.dumps(plan))
    done = subprocess.run([binary, "ab", "--a", a, "--b", b, "--plan", plan_path, "--out", out, "--progress", "plain",
                           *map(str, words)], capture_output=True, text=True, timeout=500)
    result = json.loads(out.read_text()) if out.exists() and done.returncode != 2 else None
    if result:
        if jsonschema:
            for error in jsonschema.Draft7Validator(schema).iter_errors(result):
                check(False, f"schema: {error.json_path}: {error.message}")
        check(result["exit_code"] == done.returncode, "the result has the exit code")
        check(result["exit_name"] == NAMES[done.returncode], "the result has its name")
        ended = not any("a process of" in problem for problem in result["problems"])
        left = [(where / f"ab.json.{what}").exists() for what in ("work", "jsonl")]
        check(left == ([False] * 2 if ended else [True] * 2), f"left over {left}, run ended by itself: {ended}")
    if done.returncode != 2 and "--dry-run" not in words:
        last = done.stdout.strip().splitlines()[-1]
        check(last == f"{NAMES[done.returncode]} (exit code {done.returncode})", f"last line {last!r}")
    return done.returncode, done.stdout + done.stderr, result


def case(name, wanted, *words, a={}, b={}, plan=PLAN):
    where = folder / name.replace(" ", "_")
    where.mkdir()
    code, text, result = ab(program("a", where, **a), program("b", where, **b), *words, plan=plan, where=where)
    check(code == wanted, f"{name}: wanted exit code {wanted}, got {code}\n{text}")
    return text, result


def verdicts(result):
    return {cell["verdict"] for cell in result["cells"]}


def check_verdicts():
    text, result = case("no change", 0, a={"noise": 0.0027}, b={"noise": 0.0027})
    check(verdicts(result) == {"pass"} and len(result["cells"]) == 4, "no change: four cells pass")
    check(all(cell["first"]["n"] == 5 for cell in result["cells"]), "no change: five blocks are enough")
    check(len(result["processes"]) == 2 + 20, "two warm-up processes and five blocks of four")
    check("take about" in text and "B / A" in text, "an estimate first, a table last")
    check(result["sentinel"]["id"] == result["cells"][0]["id"] and abs(result["sentinel"]["drift"]) < 0.01, "sentinel")
    check(result["injected_slowdown"] == 1 and "SLOWED" not in text, "nothing was slowed")

    text, result = case("injected", 1, "--inject-slowdown", 1.05, a={"noise": 0.0027}, b={"noise": 0.0027})
    check(verdicts(result) == {"fail"}, f"injected 5 %: {verdicts(result)}")
    check(result["injected_slowdown"] == 1.05 and "SLOWED" in text, "the result says that B was slowed")
    check(all(abs(c["first"]["ratio"] - 1.05) < 0.01 and c["confirmation"]["verdict"] == "fail"
              for c in result["cells"]), "the ratio is what was injected, and confirmed")
    check(all(cell["q"] < 0.025 for cell in result["cells"]), "q of what is slower")

    _, result = case("faster", 0, a={"noise": 0.0027}, b={"noise": 0.0027, "slow": 0.9})
    check(verdicts(result) == {"improved"}, "faster is said")
    _, result = case("heavy noise", 3, a={"noise": 0.08}, b={"noise": 0.08})
    check(verdicts(result) <= {"inconclusive", "pass"}, f"heavy noise is not red: {verdicts(result)}")
    check(max(cell["first"]["n"] for cell in result["cells"]) == 20, "heavy noise: twenty blocks before giving up")
    models = {p["cells"][0]["id"] for p in result["processes"]}
    check(all(any(c["id"] == result["sentinel"]["id"] for c in p["cells"]) for p in result["processes"]),
          f"the sentinel is in every process {models}")
    case("one cell", 1, a={"noise": 0.003},
         b={"noise": 0.003, "edit": "for c in report['cells'][:1]:\n"
                                    "    t = c['timing']; s = t['stats']\n"
                                    "    for k in s: s[k] = s[k] * 1.1 if k.endswith('_ns') else s[k]\n"
                                    "    t['tpot_ns'] *= 1.1\n"
                                    "    c['samples']['step_ns'] = [1.1 * x for x in c['samples']['step_ns']]"})
    moving = {"noise": 0.001, "drift": 0.01}
    check(verdicts(case("drift", 4, a=moving, b=moving)[1]) == {"pass"},
          "a drift that cancels leaves the cells alone, and the sentinel speaks")
    case("drift allowed", 0, "--max-drift", 1, a=moving, b=moving)


def check_faults():
    few = ("--blocks", "3,6")                # enough for what does not depend on statistics
    gpu = ("for c in report['cells']:\n    c['gpu_state'] = dict(sm_clock_hz_median={clock}, sm_clock_hz_min=1e9, "
           "sm_clock_hz_max=2e9, throttle_power_ns={throttled}, throttle_thermal_ns=0.0, power_watts=300.0, "
           "temperature_celsius=40.0, other_processes={others}, reason='')")
    quiet = {"noise": 0.001}
    said = lambda name, wanted, edit, text: check(
        text in case(name, wanted, *few, a=dict(quiet), b=dict(quiet, edit=edit))[0], f"{name}: wanted {text!r}")
    said("foreign", 4, gpu.format(clock=1.9e9, throttled=0.0, others=1), "other processes were on the GPU")
    said("throttled", 4, gpu.format(clock=1.9e9, throttled=5e6, others=0), "throttled during")
    both = gpu.format(clock=1.9e9, throttled=0.0, others=0)
    lower = gpu.format(clock=1.8e9, throttled=0.0, others=0)
    text = case("clock", 4, *few, a=dict(quiet, edit=both), b=dict(quiet, edit=lower))[0]
    check("clock of B" in text and "in cycles" in text, "a clock that differs")
    case("same clock", 0, *few, a=dict(quiet, edit=both), b=dict(quiet, edit=both))
    status = ("c = report['cells'][1]\nc['status'] = {!r}\nc['status_reason'] = 'why not'\n"
              "c.pop('timing'); c.pop('throughput')")
    for name, wanted in (("incorrect", 5), ("error", 1), ("oom", 1), ("timeout", 1)):
        said("B is " + name, wanted, status.format(name), "why not")
    case("A is wrong", 6, *few, a=dict(quiet, edit=status.format("incorrect")), b=dict(quiet))
    both = dict(quiet, edit=status.format("oom"))
    case("both out of memory", 0, *few, a=both, b=both)
    said("missing", 1, "report['cells'].pop()", "B has no such cell")
    case("extra", 6, *few, a=dict(quiet, edit="report['cells'].pop()"), b=dict(quiet))
    above = (status.format("invalid") +
             "\nc['validity'] = dict(valid=False, reasons=[dict(code='above_ceiling', detail='x')])")
    said("above the ceiling", 4, above, "why not")
    later = "if number > 8:\n" + "\n".join("    " + line for line in status.format("incorrect").splitlines())
    said("wrong later", 5, later, "why not")
    case("another machine", 2, *few, a=dict(quiet), b=dict(quiet, fingerprint="other"))
    crashes = {"B crashes": (1, 4, {}, {"crash_at": 2}), "A crashes": (6, 0, {"crash_at": 1}, {}),
               "B crashes later": (1, 4, {}, {"crash_at": 10})}
    for name, (wanted, cells, a, b) in crashes.items():
        text, result = case(name, wanted, *few, a=dict(quiet, **a), b=dict(quiet, **b))
        problem = "a process of " + name[0] + " left no report, exit code"
        check(problem in result["problems"][0] and problem in text, f"{name}: {result['problems']}")
        check([cell["verdict"] for cell in result["cells"]] == ["invalid"] * cells, f"{name}: {result['cells']}")
    # A machine that is slow for four processes and fast for four: the sides stay equal, one program alone does not.
    uneven = ("k = 1.2 if number in (3, 4, 9, 10, 11, 12, 17, 18) else 1\nfor c in report['cells']:\n"
              "    c['timing']['tpot_ns'] *= k")
    text, result = case("control", 4, "--max-drift", 1, a=dict(quiet, edit=uneven), b=dict(quiet, edit=uneven))
    check("A/A control failed" in text, f"control: {text}")
    case("corrupt report", 2, *few, a=dict(quiet), b=dict(quiet, edit="report.pop('machine')"))


def check_resume():
    where = folder / "resume"
    where.mkdir()
    quiet = dict(noise=0.001)
    a, b = program("a", where, **quiet), program("b", where, **quiet, crash_at=15)
    code, text, _ = ab(a, b, where=where)
    check(code == 1 and "no memory left" in text, f"a crash: {text}")
    lines = (where / "ab.json.jsonl").read_text()
    check(ab(a, b, where=where)[0] == 2, "an unfinished run is not overwritten")
    (where / "ab.json.jsonl").write_text(lines[:-40])                       # and the machine died while writing
    code, text, result = ab(a, b, "--resume", where=where)
    check(code == 0 and len(result["processes"]) == 22, f"resumed: {code} {text}")
    check(int((where / "counter").read_text()) < 15 + 15, "whole blocks were kept")
    check(ab(a, b, where=where)[0] == 2, "a result is not overwritten")
    check(ab(a, b, "--force", "--blocks", "3,6", where=where)[0] == 0, "--force replaces")
    (where / "ab.json.jsonl").write_text(lines)
    check(ab(a, b, "--resume", "--seed", 2, where=where)[0] == 2, "--resume of another run")


def check_usage():
    where = folder / "usage"
    where.mkdir()
    a = program("a", where, noise=0.001)
    check(ab(where / "none", a, where=where)[0] == 2, "no such program")
    for words in (("--margin", "0"), ("--blocks", "1,2"), ("--error-rate", "0.6"), ("--inject-slowdown", "0.5"),
                  ("--resume", "--force")):
        check(ab(a, a, *words, where=where)[0] == 2, f"refused: {words}")
    check(ab(a, a, plan={"out": "x"}, where=where)[0] == 2, "a plan may not say where to write")
    check(ab(a, a, plan=[1], where=where)[0] == 2, "a plan is an object")
    code, text, result = ab(a, a, "--dry-run", where=where)
    check(code == 0 and result is None and text.count(": timed") == 4 and "take about" in text, f"dry run: {text}")
    check(sorted(p.name for p in where.iterdir()) == ["a", "counter", "plan.json"], "a dry run leaves nothing")


def check_real():
    """The real program against itself, slowed to half its speed: however busy the machine, it must not pass."""
    plan = json.loads((source / "suites/plans/gate_cpu.json").read_text())
    plan.update(models=["kimi-linear"], steps=8, sweeps=[{"protocol": "same-batch", "batch": 1, "context": [64]}])
    code, text, result = ab(binary, binary, "--inject-slowdown", 2, "--max-drift", 100, "--blocks", "3,6", plan=plan)
    check(code in (1, 3, 4) and result["cells"][0]["verdict"] != "pass", f"slowed twice: {text}")
    check(result["same_program"] and result["injected_slowdown"] == 2, "the result says what was compared")
    ratio = result["cells"][0]["first"]["ratio"]
    check(1.4 < ratio < 2.9, f"the ratio is about what was injected: {ratio}")
    if code != 1:
        print("note: the machine was too busy for a verdict:", text.splitlines()[-1])


if __name__ == "__main__":
    check_verdicts()
    check_faults()
    check_resume()
    check_usage()
    check_real()
    print(f"{runs} A/B runs, {len(failures)} failures")
    sys.exit(bool(failures))
