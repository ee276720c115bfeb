"""Writes what run_all.py trains, in the order of starting: FOLDER/jobs.json, jobs_rope.json, jobs_lengths.json, jobs_rate.json.

python3 scripts/train/make_jobs.py scripts/train
"""

import json
import sys
from pathlib import Path

STEPS, TOKENS, BATCH = 8000, 32768, 32
ARCHITECTURES = ("kimi-linear", "mla", "gdn-h")


def synthetic(task, architecture, rate, seed, length=1024, keep=False):
    return {
        "task": task,
        "architecture": architecture,
        "length": length,
        "rate": rate,
        "seed": seed,
        "steps": 5000,
        "batch": BATCH,
        "every": 100,
        "keep": keep,
    }


def main():
    models = [{"architecture": a, "seed": seed, "rate": 2e-3, "every": 250} for seed in (0, 1) for a in ARCHITECTURES]
    pair, tasks = ("kimi-linear", "gdn-h"), ("palindrome", "mqar", "stack")
    queue = [synthetic(t, a, 1e-3, 0, keep=True) for t in tasks for a in pair]
    queue += [synthetic(t, "mla", 1e-3, 0) for t in tasks]
    queue += [synthetic(t, a, 1e-3, 1) for t in tasks for a in pair]
    queue += [synthetic(t, a, 5e-4, 0) for t in tasks for a in pair]
    queue += [synthetic(t, a, 1e-3, 0, length) for length in (256, 512) for t in tasks[:2] for a in pair]
    queue += [synthetic(t, a, 5e-4, 1) for t in tasks[:2] for a in pair]
    plan = {
        "steps": STEPS,
        "tokens": TOKENS,
        "language_models": models,
        "synthetic": queue,
        "shortest": 40,
        "placement": [[0, 1], [2, 4], [3, None], [5, None]],
        "groups": {
            "lm_s0_a": ["lm-kimi-linear-s0"],
            "lm_s0_b": ["lm-mla-s0", "lm-gdn-h-s0"],
            "lm_s1_a": ["lm-kimi-linear-s1"],
            "lm_s1_b": ["lm-mla-s1", "lm-gdn-h-s1"],
            "synthetic": [f"{t}-1024-{a}-0.001-s0" for t in tasks for a in pair],
        },
    }
    # Without positions the all-MLA model stays near 3.5 bits a byte: the baseline has rotary ones, and half the rate.
    # The second seed of MQAR at the better rate.
    rope = {
        **plan,
        "language_models": [
            {"architecture": "mla", "seed": seed, "rate": 1e-3, "every": 250, "rope_theta": 1e4} for seed in (0, 1)
        ],
        "synthetic": [synthetic("mqar", a, 5e-4, 1, keep=True) for a in pair],
        "placement": [[0, 1]],
        "groups": {
            "rope": ["lm-mla-rope-s0", "lm-mla-rope-s1"],
            "mqar": [f"mqar-1024-{a}-0.0005-s1" for a in pair],
        },
    }
    # What the queues above had no time for, without language models, for one GPU: the second seed of MQAR at the better
    # rate, and the shorter lengths.
    lengths = {
        **plan,
        "language_models": [],
        "synthetic": [synthetic("mqar", a, 5e-4, 1) for a in pair]
        + [synthetic(t, a, 1e-3, 0, length) for length in (512, 256) for t in ("mqar", "palindrome") for a in pair],
        "shortest": 20,
        "placement": [[None] * 4],
        "groups": {},
    }
    # The baseline with rotary positions at the hybrids' own rate, and the length that the last queue had no time for.
    rate = {
        **rope,
        "language_models": [{**model, "rate": 2e-3} for model in rope["language_models"]],
        "synthetic": [synthetic("mqar", a, 1e-3, 0, 256) for a in pair] + [synthetic("palindrome", "gdn-h", 1e-3, 0, 256)],
        "placement": [[0, 1, None, None, None]],
        "groups": {"rope": rope["groups"]["rope"]},
    }
    plans = {"jobs.json": plan, "jobs_rope.json": rope, "jobs_lengths.json": lengths, "jobs_rate.json": rate}
    for name, value in plans.items():
        (Path(sys.argv[1]) / name).write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
