"""Writes tests/data/synthetic_tasks.json: samples of synthetic.py, by which the C++ suite's rules are checked.

python3 scripts/train/write_golden.py tests/data/synthetic_tasks.json
"""

import json
import sys

import torch

import synthetic

SHAPES = {"palindrome": (41, 20), "mqar": (48, 40), "mqar-zoology": (48, 64), "stack": (300, 80)}


def main():
    tasks = {}
    for task, (length, vocabulary) in SHAPES.items():
        ids, targets = synthetic.draw(task, 4, length, vocabulary, torch.Generator().manual_seed(3))
        _, many = synthetic.draw(task, 512, length, vocabulary, torch.Generator().manual_seed(4))
        asked = (many >= 0).sum(1).double()
        tasks[task] = {
            "length": length,
            "vocabulary": vocabulary,
            "ids": ids.tolist(),
            "targets": targets.tolist(),
            "asked_mean": asked.mean().item(),
            "asked_error": (asked.std() / 512**0.5).item(),
            "first_asked_mean": (many >= 0).double().argmax(1).double().mean().item(),
            "first_asked_error": ((many >= 0).double().argmax(1).double().std() / 512**0.5).item(),
        }
    with open(sys.argv[1], "w") as file:
        file.write(
            json.dumps({"comment": "written by scripts/train/write_golden.py", "tasks": tasks}, separators=(",", ":"))
        )
        file.write("\n")


if __name__ == "__main__":
    main()
