"""Gathers the JSON files of training runs into two: curves of the synthetic tests, logs of the language models.

python3 scripts/train/collect.py RUNS... --out reports/results [--made-by TEXT]

RUNS is a folder of runs, or a file that this program wrote before; of the same run the last one named is kept.
"""

import argparse
import json
from pathlib import Path


def rounded(value):
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    return [rounded(v) for v in value] if isinstance(value, list) else value


def read(path):
    """The runs of a folder, one a file, or of a gathered file."""
    if path.is_dir():
        return [json.loads(file.read_text()) for file in sorted(path.glob("*.json"))]
    return json.loads(path.read_text())["runs"]


def identity(run):
    """Logs count the steps done: one that was cut off stays beside the whole one."""
    names = ("task", "architecture", "length", "rate", "seed", "steps")
    return *(run.get(name) for name in names), run.get("rope_theta", 0.0)


def write(path, what, made_by, runs):
    if not runs:
        raise SystemExit(f"no runs of {what}; wanted the JSON files that run_all.py leaves in --out.")
    runs.sort(key=lambda run: json.dumps(identity(run)))
    lines = ",\n".join("  " + json.dumps(rounded(run)) for run in runs)
    head = {"schema": "kdabench/curves", "schema_version": "1.0.0", "what": what, "made_by": made_by}
    path.write_text(json.dumps(head)[:-1] + ', "runs": [\n' + lines + "\n]}\n")
    print(f"{path}: {len(runs)} runs")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folder with one JSON file a run, or a gathered file")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--made-by", default="scripts/train/run_all.py --jobs scripts/train/jobs.json")
    args = parser.parse_args()
    runs = list({identity(run): run for path in args.runs for run in read(path)}.values())
    for run in runs:
        for private in ("deadline", "folder", "keep"):
            run.pop(private, None)
    synthetic = "held-out accuracy of the synthetic tests during training; 128 sequences at each point"
    write(args.out / "synthetic-curves.json", synthetic, args.made_by, [r for r in runs if "curve" in r])
    models = "training of the small language models; tasks: RULER-style documents, teacher forced"
    write(args.out / "training-logs.json", models, args.made_by, [r for r in runs if "log" in r])


if __name__ == "__main__":
    main()
