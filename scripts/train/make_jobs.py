"""Writes jobs.json: what run_all.py trains. The order is the order of starting.

python3 scripts/train/make_jobs.py > scripts/train/jobs.json
"""

import json
import sys

STEPS, TOKENS, BATCH = 9000, 32768, 32
ARCHITECTURES = ("kimi-linear", "mla", "gdn-h")


def synthetic(task, architecture, rate, seed, length=1024, keep=False):
    return {
        "task": task,
        "architecture": architecture,
        "length": length,
        "rate": rate,
        "seed": seed,
        "steps": 6000,
        "batch": BATCH,
        "every": 100,
        "keep": keep,
    }


def main():
    models = [{"architecture": a, "seed": seed, "rate": 2e-3, "every": 250} for seed in (0, 1) for a in ARCHITECTURES]
    queue = []
    for seed in (0, 1):
        for rate in (1e-3, 5e-4):
            for task in ("palindrome", "mqar", "stack"):
                for architecture in ("kimi-linear", "gdn-h"):
                    queue.append(synthetic(task, architecture, rate, seed, keep=rate == 1e-3 and seed == 0))
    queue[12:12] = [synthetic(task, "mla", 1e-3, 0) for task in ("palindrome", "mqar", "stack")]
    queue += [
        synthetic(task, architecture, 1e-3, 0, length)
        for length in (256, 512)
        for task in ("palindrome", "mqar")
        for architecture in ("kimi-linear", "gdn-h")
    ]
    queue += [synthetic("mqar-zoology", architecture, 1e-3, 0, 512) for architecture in ("kimi-linear", "gdn-h")]
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
            "synthetic": [f"{t}-1024-{a}-0.001-s0" for t in ("palindrome", "mqar") for a in ("kimi-linear", "gdn-h")],
        },
    }
    json.dump(plan, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
