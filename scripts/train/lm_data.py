"""The language model's sequences: half books, a third RULER-style documents, a sixth synthetic tests (on 256 ids).

A sequence is `length` ids (bytes) with a target and a weight each: what to predict after the id, and how much it
counts.
Weights are stored in tenths: 10 for a byte of a book and for an asked token of a synthetic test, 1 for what
RULER-style
documents are made of (noise and numbers, of which little can be learned), 100 for their answers.
"""

import argparse
import math
import random
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

import ruler_style

TEXT, FILLER, ANSWER = 10, 1, 100
SYNTHETIC_LENGTHS = {"palindrome": None, "mqar": 360, "stack": None}  # 256 ids hold keys for 90 pairs
BLOCK = 256  # sequences that one worker makes at a time
PHASES = [(1024, 0.6), (2048, 0.25), (4096, 0.15)]  # length, share of the steps; every step has the same tokens


def document_bytes(parts):
    ids = b"".join(text.encode("utf-8", "ignore") for text, _ in parts)
    weights = np.concatenate(
        [np.full(len(t.encode("utf-8", "ignore")), ANSWER if a else FILLER, np.uint8) for t, a in parts]
    )
    return np.frombuffer(ids, np.uint8), weights


def packed(make, length, rng):
    """Documents one after another, a NUL byte between, until length + 1 bytes are full: (ids, targets, weights)."""
    ids, weights = np.zeros(length + 1, np.uint8), np.zeros(length + 1, np.uint8)
    at = 0
    while length + 1 - at > 350:
        room = length + 1 - at
        size = room if room < 700 else int(math.exp(rng.uniform(math.log(450), math.log(room))))
        document, weight = document_bytes(make(size))
        if len(document) > room:
            if size >= 700:
                continue  # a smaller one may fit
            break
        ids[at : at + len(document)], weights[at : at + len(document)] = document, weight
        at += len(document) + 1
    return ids[:-1], ids[1:], weights[1:]


def synthetic_sequences(task, n, length, seed):
    """Rows of one or several sequences of a task, side by side."""
    import torch

    import synthetic

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed)
    each = min(length, SYNTHETIC_LENGTHS[task] or length)
    out = [np.zeros((n, length), np.uint8) for _ in range(3)]
    for at in range(0, length - each + 1, each):
        options = {"pairs": synthetic.easier(each, seed + at)} if task == "mqar" else {}
        ids, targets = synthetic.draw(task, n, each, 256, generator, **options)
        T = ids.shape[1]
        out[0][:, at : at + T] = ids.numpy()
        out[1][:, at : at + T] = targets.clamp_min(0).numpy()
        out[2][:, at : at + T] = (targets >= 0).numpy() * TEXT
    return out


def block(folder, length, seed):
    """BLOCK sequences: (ids, targets, weights), uint8 [BLOCK, length] each; the same for the same seed."""
    rng = random.Random(seed)
    text = np.memmap(Path(folder) / "corpus.bin", np.uint8, "r")
    words = (Path(folder) / "words.txt").read_text().split()
    maker = ruler_style.Maker(rng, words, text_bytes(folder))
    ids, targets, weights = (np.zeros((BLOCK, length), np.uint8) for _ in range(3))
    row = 0
    for task in SYNTHETIC_LENGTHS:
        n = BLOCK // 18
        for to, rows in zip((ids, targets, weights), synthetic_sequences(task, n, length, seed)):
            to[row : row + n] = rows
        row += n
    for row in range(row, row + BLOCK // 3):
        ids[row], targets[row], weights[row] = packed(maker.document, length, rng)
    for row in range(row + 1, BLOCK):
        at = rng.randrange(len(text) - length - 1)
        ids[row], targets[row], weights[row] = text[at : at + length], text[at + 1 : at + length + 1], TEXT
    order = np.random.default_rng(seed).permutation(BLOCK)
    return ids[order], targets[order], weights[order]


_text = {}


def text_bytes(folder):
    if folder not in _text:
        _text[folder] = (Path(folder) / "corpus.bin").read_bytes()
    return _text[folder]


def make(folder, length, sequences, seed, workers):
    """(ids, targets, weights), uint8 [sequences, length], made by `workers` processes."""
    blocks = -(-sequences // BLOCK)
    with ProcessPoolExecutor(workers) as pool:
        parts = list(
            pool.map(
                block,
                [str(folder)] * blocks,
                [length] * blocks,
                [(seed << 32) + (length << 16) + i for i in range(blocks)],
            )
        )
    return tuple(np.concatenate(p)[:sequences] for p in zip(*parts))


def held_out_tasks(folder, length, sequences, seed):
    """For each RULER-style kind: sequences of one document each, and which bytes are answers (weights == ANSWER).
    Words and books are those of training; the documents are new."""
    rng = random.Random(seed)
    maker = ruler_style.Maker(
        rng, (Path(folder) / "words.txt").read_text().split(), (Path(folder) / "held_out.bin").read_bytes()
    )
    result = {}
    for kind in ruler_style.KINDS:
        rows, size = [], length - 60
        while len(rows) < sequences and size > 0:
            document, weight = document_bytes(maker.document(size, kind))
            if len(document) > length + 1:
                size -= 10
                continue
            ids, w = np.zeros(length + 1, np.uint8), np.zeros(length + 1, np.uint8)
            ids[: len(document)], w[: len(document)] = document, weight
            rows.append((ids[:-1], ids[1:], w[1:]))
        if rows:  # else the task does not fit this length
            result[kind] = tuple(np.stack(x) for x in zip(*rows))
    return result


def phases(steps, tokens):
    """[(length, sequences a step, steps)]"""
    counts = [round(steps * share) for _, share in PHASES]
    counts[0] += steps - sum(counts)
    return [(length, tokens // length, n) for (length, _), n in zip(PHASES, counts)]


def data_path(folder, seed, length):
    return Path(folder) / f"lm_{seed}_{length}.npy"


def prepare(corpus, folder, seed, steps, tokens, workers):
    """Makes the sequences of all steps of a seed: uint8 [3, sequences, length] a phase."""
    for length, batch, n in phases(steps, tokens):
        path = data_path(folder, seed, length)
        np.save(path.with_suffix(".partial.npy"), np.stack(make(corpus, length, batch * n, seed, workers)))
        path.with_suffix(".partial.npy").rename(path)


def main():
    """In a process of its own: the workers are forked, and a process that has used torch's threads must not fork."""
    parser = argparse.ArgumentParser(description="Makes the training sequences of the language models.")
    parser.add_argument("--corpus", required=True, help="folder that corpus.py wrote")
    parser.add_argument("--out", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--tokens", type=int, default=32768, help="a step")
    parser.add_argument("--workers", type=int, default=8)
    args = parser.parse_args()
    Path(args.out).mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        prepare(args.corpus, args.out, seed, args.steps, args.tokens, args.workers)


if __name__ == "__main__":
    main()
