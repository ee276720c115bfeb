"""Writes what PyTorch says beside a checkpoint, so that the C++ engine can be held to it where there is no PyTorch.

    python3 scripts/train/write_expected.py FOLDER ARCHITECTURE [--text "..." | --task palindrome]

expected.safetensors holds ids_0, logits_0 [tokens, vocabulary] and greedy_0 (24 tokens), computed in fp32 by the
plain
PyTorch path from the stored bf16 weights.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file

import checkpoint
import synthetic

TEXT = (
    "A special magic number is hidden within the following text.\nOne of the special magic numbers for old-river is: "
    "4815162.\nWhat is the"
)
GREEDY = 24


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("architecture", choices=["kimi-linear", "mla", "gdn-h"])
    parser.add_argument("--text", default=TEXT, help="prompt of a model whose tokens are bytes")
    parser.add_argument("--task", choices=synthetic.TASKS, help="prompt: a sequence of this synthetic test instead")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = checkpoint.load(args.folder, args.architecture, use_fla=False)
    ids = list(args.text.encode())
    if args.task:
        generator = torch.Generator().manual_seed(11)
        ids = synthetic.draw(args.task, 1, 96, model.config.vocab_size, generator)[0][0].tolist()
    tokens = list(ids)
    with torch.no_grad():
        logits = model.logits(torch.tensor([ids]))[0]
        row = logits[-1]
        for _ in range(GREEDY):
            tokens.append(int(row.argmax()))
            row = model.logits(torch.tensor([tokens]))[0, -1]
    save_file(
        {"ids_0": torch.tensor(ids), "logits_0": logits.contiguous(), "greedy_0": torch.tensor(tokens[len(ids) :])},
        args.folder / "expected.safetensors",
    )
    print(f"{args.folder}: {len(ids)} tokens, then {bytes(t % 256 for t in tokens[len(ids):])!r}")


if __name__ == "__main__":
    main()
