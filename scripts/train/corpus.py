"""Cuts the training material out of the data folder: corpus.bin (a slice of books/books.txt.xz), held_out.bin (from
its end)
and words.txt (frequent words of the books that RULER's word lists do not have, so that no key of a test was trained
on).

    python3 scripts/train/corpus.py --data DATA --out FOLDER [--megabytes 40] [--words-from 40]
"""

import argparse
import collections
import lzma
import re
from pathlib import Path


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with books/ and ruler/words/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--megabytes", type=int, default=40, help="of text for training")
    parser.add_argument("--words", type=int, default=6000)
    parser.add_argument("--words-from", type=int, help="megabytes whose words are counted; default: --megabytes")
    args = parser.parse_args()
    books = lzma.open(args.data / "books" / "books.txt.xz").read()
    train, held_out = books[: args.megabytes * 1000000], books[-1000000:]
    counted = books[: (args.words_from or args.megabytes) * 1000000]
    taken = {
        line.strip().lower()
        for name in ("nounlist", "adjectivelist", "verblist")
        for line in open(args.data / "ruler" / "words" / f"{name}.txt")
    }
    counts = collections.Counter(re.findall(r"\b[a-z]{4,11}\b", counted.decode("utf-8", "ignore")))
    words = [w for w, _ in counts.most_common() if w not in taken][: args.words]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "corpus.bin").write_bytes(train)
    (args.out / "held_out.bin").write_bytes(held_out)
    (args.out / "words.txt").write_text("\n".join(words) + "\n")
    print(f"{len(train)} bytes for training, {len(held_out)} held out, {len(words)} words")


if __name__ == "__main__":
    main()
