"""A program that answers `run --plan P --out R` as kdabench does, with times that a test chooses.

A test writes a small script that calls main() with what it wants; the noise is seeded by a counter in a file, so that
each process draws its own and a test's outcome is always the same.
"""
import copy
import json
import math
import pathlib
import random
import sys

SYNTHETIC = pathlib.Path(__file__).parent / "data/synthetic.json"


def next_number(counter):
    path = pathlib.Path(counter)
    number = int(path.read_text()) + 1 if path.exists() else 1
    path.write_text(str(number))
    return number


def stats_of(median):
    """Five samples around a median, as tests/data/make_synthetic_report.py has them."""
    unit = median * 1e-4
    samples = [median + unit * offset for offset in (0, 2, -1, 1, -2)]
    return samples, {"n": 5, "min_ns": median - 2 * unit, "q1_ns": median - unit, "median_ns": median,
                     "q3_ns": median + unit, "p95_ns": median + 1.8 * unit, "p99_ns": median + 1.96 * unit,
                     "max_ns": median + 2 * unit, "mean_ns": median, "stddev_ns": 1.5811 * unit, "mad_ns": unit}


def cell_of(template, model, config, context, batch, median):
    cell = copy.deepcopy(template)
    cell["axes"].update(model=model, config=config, device="cuda", context=context, batch=batch)
    cell["id"] = (f"decode/model={model};config={config};device=cuda;dtype=bf16;context={context};batch={batch};"
                  "protocol=same-batch")
    samples, stats = stats_of(median)
    cell["timing"].update(stats=stats, tpot_ns=median / batch)
    cell["throughput"] = {"tokens_per_s": batch * 1e9 / median, "bytes_per_s": None}
    cell["samples"] = {"step_ns": samples, "sm_clock_hz": [1.98e9] * 5}
    cell["floor"].update(time_ns=median / 2, fraction=0.5)
    cell.pop("breakdown", None)
    return cell


def as_list(value):
    return value if isinstance(value, list) else [part for part in str(value).split(",")]


def main(counter, noise=0.0, slow=1.0, drift=0.0, edit=None, fingerprint="synthetic", crash_at=None):
    words = sys.argv[1:]
    if "--help" in words:
        print("fake --ceilings")
        return 0
    number = next_number(counter)
    if crash_at == number:
        print("fake: no memory left", file=sys.stderr)
        return 9
    option = lambda name: words[words.index(name) + 1] if name in words else None
    slow *= float(option("--inject-slowdown") or 1)
    plan = json.loads(pathlib.Path(option("--plan")).read_text())
    report = json.loads(SYNTHETIC.read_text())
    template, report["cells"] = report["cells"][0], []
    report["machine"]["fingerprint"] = fingerprint
    draw = random.Random(number)
    for model in as_list(plan["models"]):
        for sweep in plan.get("sweeps", [plan]):
            for context in as_list(sweep["context"]):
                for batch in as_list(sweep.get("batch", 1)):
                    median = 1e6 * (1 + int(context) / 4096) * math.exp(drift * number + draw.gauss(0, noise)) * slow
                    cell = cell_of(template, model, plan["config"], int(context), int(batch), median)
                    if option("--inject-slowdown"):
                        cell["status"] = "invalid"
                        cell["status_reason"] = "slowed on purpose"
                        cell["validity"] = {"valid": False,
                                            "reasons": [{"code": "injected_slowdown", "detail": "on purpose"}]}
                        del cell["timing"], cell["throughput"]
                    report["cells"].append(cell)
    if edit:
        edit(report, number)
    text = report if isinstance(report, str) else json.dumps(report)
    pathlib.Path(option("--out")).write_text(text)
    return 0
