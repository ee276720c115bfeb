#!/usr/bin/env python3
"""Writes suites/text_tables.inc: what Python's str methods know of each code point, as this python knows it.

usage: make_text_tables.py > suites/text_tables.inc    (python 3.11: Unicode 14.0)

U+0130 (two letters) and U+03A3 (two forms) are left to suites/text.cpp; the case classes are for the latter's rule.
"""
import sys, unicodedata

VERSION = "14.0.0"
# The bits of PointClass in suites/text.cpp. Case_Ignorable goes before Cased; a word's parts are str.isalnum() and _.
CASED, IGNORED, WORD, PUNCTUATION = 1, 2, 4, 8
POINTS = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]


def mapping_ranges():
    """(first, count, stride, delta): `count` code points from `first` on, `stride` apart, become themselves + delta."""
    deltas = {p: ord(chr(p).lower()) - p for p in POINTS if len(chr(p).lower()) == 1 and p != 0x3A3}
    left = {p: d for p, d in deltas.items() if d}
    while left:
        first = min(left)
        delta = left[first]

        def count(stride):
            n = 1
            while left.get(first + stride * n) == delta:
                n += 1
            return n

        stride = max((1, 2), key=count)
        n = count(stride)
        yield first, n, stride, delta
        for i in range(n):
            del left[first + stride * i]


def case_class(point):
    """As lower() shows it: a sigma is final after a cased letter, and what is ignored is looked through."""
    def final(before):
        return (before + chr(point) + "\u03a3").lower().endswith("\u03c2")
    return CASED if final(" ") else IGNORED if final("a") else 0


def runs():
    found = []
    for point in range(0x110000):
        kind = 0
        if not 0xD800 <= point < 0xE000:
            kind = (case_class(point) | (WORD if chr(point).isalnum() or chr(point) == "_" else 0)
                    | (PUNCTUATION if unicodedata.category(chr(point))[0] == "P" else 0))
        if found and found[-1][1] == kind:
            found[-1][0] += 1
        else:
            found.append([1, kind])
    return found


def table(name, rows, width=118):
    print(f"constexpr int32_t {name}[][{len(rows[0])}] = {{")
    line = "   "
    for row in rows:
        word = " {" + ",".join(map(str, row)) + "},"
        if len(line + word) > width:
            print(line)
            line = "   "
        line += word
    print(line + "\n};")


def main():
    if unicodedata.unidata_version != VERSION:
        sys.exit(f"wanted Unicode {VERSION}; this python has {unicodedata.unidata_version}")
    print(f"// Made by scripts/make_text_tables.py from Unicode {VERSION}; not edited by hand.")
    print("// First code point, count, stride, what is added.")
    table("kLowercase", list(mapping_ranges()))
    print("// Length and class of each run from U+0000 to U+10FFFF.")
    table("kClassRuns", runs())


main()
