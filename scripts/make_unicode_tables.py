#!/usr/bin/env python3
"""Writes harness/engine/unicode_tables.inc: the character classes that the pre-tokenizers ask about.

usage: make_unicode_tables.py > harness/engine/unicode_tables.inc    (python 3.11: Unicode 14.0)

General categories come from python's unicodedata, which knows no scripts: the ranges of Script=Han are here.
"""
import sys, unicodedata

HAN_VERSION = "14.0.0"                # Scripts.txt of that version, Script=Han
HAN = [(0x2E80, 0x2E99), (0x2E9B, 0x2EF3), (0x2F00, 0x2FD5), (0x3005, 0x3005), (0x3007, 0x3007), (0x3021, 0x3029),
       (0x3038, 0x303B), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFA6D), (0xFA70, 0xFAD9), (0x16FE2, 0x16FE3),
       (0x16FF0, 0x16FF1), (0x20000, 0x2A6DF), (0x2A700, 0x2B738), (0x2B740, 0x2B81D), (0x2B820, 0x2CEA1),
       (0x2CEB0, 0x2EBE0), (0x2F800, 0x2FA1D), (0x30000, 0x3134A)]
SPACE = {*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}
NEWLINE = {0x0A, 0x0D}
# The bits of CharClass in harness/engine/pretokenizer.cpp.
UPPER, LOWER, OTHER_LETTER, MARK, NUMBER, SPACE_BIT, NEWLINE_BIT, HAN_BIT = (1 << bit for bit in range(8))
BITS = {"Lu": UPPER, "Lt": UPPER, "Ll": LOWER, "Lm": OTHER_LETTER, "Lo": OTHER_LETTER, "Mn": MARK, "Mc": MARK,
        "Me": MARK, "Nd": NUMBER, "Nl": NUMBER, "No": NUMBER}


def classes():
    han = {point for first, last in HAN for point in range(first, last + 1)}
    for point in range(0x110000):
        bits = BITS.get(unicodedata.category(chr(point)), 0)
        yield (bits | (SPACE_BIT if point in SPACE else 0) | (NEWLINE_BIT if point in NEWLINE else 0)
               | (HAN_BIT if point in han else 0))


def main():
    if unicodedata.unidata_version != HAN_VERSION:
        sys.exit(f"wanted Unicode {HAN_VERSION}, as the Han ranges; this python has {unicodedata.unidata_version}")
    runs = []
    for bits in classes():
        if runs and runs[-1][1] == bits:
            runs[-1][0] += 1
        else:
            runs.append([1, bits])
    print(f"// Made by scripts/make_unicode_tables.py from Unicode {HAN_VERSION}; not edited by hand.")
    print("// Length and class of each run of equal code points, from U+0000 to U+10FFFF.")
    line = ""
    for length, bits in runs:
        word = f"{length},{bits},"
        if len(line) + len(word) > 116:
            print(line)
            line = ""
        line += word
    print(line)


main()
