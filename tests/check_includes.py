#!/usr/bin/env python3
"""Fails when a file includes one from a folder it may not depend on. The table is the architecture.

usage: check_includes.py SOURCE_DIR [BINARY]    (the check, after a test of itself)
       check_includes.py --self-test
"""
import pathlib, re, sys, tempfile

MAY_INCLUDE = {                       # folder: the folders it may include from
    "kernels":        {"kernels"},
    "reports":        {"reports"},    # stands alone: builds with every other folder deleted
    "harness/engine": {"harness/engine", "kernels"},
    "baselines":      {"baselines", "harness/engine", "kernels"},
    "suites":         {"suites", "harness/engine", "kernels", "reports"},  # knows no baseline it measures
    "harness":        {"harness", "harness/engine", "baselines", "suites", "kernels", "reports"},
    "tests":          {"tests", "harness", "harness/engine", "baselines", "suites", "kernels", "reports"},
}
GENERATED = {("harness", "build_info.h"), ("harness", "claims_data.h")}
NOT_IN_CUDA = re.compile(r"(fmt|CLI|nlohmann)/")        # break or slow nvcc 13 in C++20
MACHINE_PATH = re.compile(r"(?<![\w./~$}-])/(work|root|home)/\w")
CODE, CUDA = {".h", ".cpp", ".cu", ".cuh"}, {".cu", ".cuh"}
TEXT = CODE | {".py", ".sh", ".md", ".json", ".txt", ".cmake", ".yml", ""}

def folder_of(path):
    return next((f for f in sorted(MAY_INCLUDE, key=len, reverse=True) if path.startswith(f + "/")), None)

def includes(file):
    """(line, path, whether it stands in quotes) of every include; nothing for a file that is not there."""
    lines = file.read_text(errors="replace").splitlines() if file.is_file() else []
    found = ((number, re.match(r'\s*#\s*include\s*(["<])([^">]+)[">]', line)) for number, line in enumerate(lines, 1))
    return [(number, match[2], match[1] == '"') for number, match in found if match]

def reached(root, file, seen):
    """Every path that `file` includes, through our own headers too."""
    for _, path, _ in includes(file):
        if path not in seen:
            seen.add(path)
            reached(root, root / path, seen)
    return seen

def check(root):
    faults = []
    top = [*MAY_INCLUDE, "scripts", ".ci"]
    files = {p for folder in top for p in (root / folder).rglob("*")} | set(root.glob("*"))
    for file in sorted(p for p in files if p.is_file() and p.suffix in TEXT):
        name = file.relative_to(root).as_posix()
        source = folder_of(name) if file.suffix in CODE else None
        for number, path, quoted in includes(file) if source else []:
            target = folder_of(path)
            if target not in MAY_INCLUDE[source] and (target or quoted) and (source, path) not in GENERATED:
                faults.append(f"{name}:{number}: {source} may not include {path}; paths start at the root, "
                              f"the table is in tests/check_includes.py")
        if file.suffix in CUDA:
            faults += [f"{name}: includes {path}, directly or through a header; nvcc must not read it"
                       for path in sorted(reached(root, file, set())) if NOT_IN_CUDA.match(path)]
        for number, line in enumerate(file.read_text(errors="replace").splitlines(), 1):
            if MACHINE_PATH.search(line):
                faults.append(f"{name}:{number}: names a path of one machine: {line.strip()[:80]}")
    return faults

def self_test():
    """A tree that obeys, then one broken rule at a time: each must be reported, at its file."""
    good = {"kernels/a.h": "#include <vector>", "kernels/a.cu": '#include "kernels/a.h"',
            "harness/engine/b.h": '#include "kernels/a.h"', "suites/c.cpp": '#include "harness/engine/b.h"',
            "harness/d.cpp": '#include "suites/c.h"\n#include "build_info.h"\n#include <fmt/core.h>'}
    bad = [("kernels/a.cpp", '#include "harness/engine/b.h"'), ("kernels/a.cpp", '#include <harness/engine/b.h>'),
           ("reports/e.cpp", '#include "kernels/a.h"'), ("suites/c.cpp", '#include "baselines/f.h"'),
           ("suites/c.cpp", '#include "harness/g.h"'), ("harness/engine/b.h", '#include "reports/e.h"'),
           ("baselines/f.cpp", '#include "suites/c.h"'), ("kernels/a.cpp", '#include "a.h"'),
           ("kernels/a.cu", "#include <fmt/format.h>"), ("kernels/a.h", "  # include <nlohmann/json.hpp>"),
           ("scripts/h.sh", "cd /" + "work/main"), ("README.md", "see `/" + "home/me/x`")]
    for path, text in [(None, None), *bad]:
        with tempfile.TemporaryDirectory() as folder:
            for name, body in {**good, **({path: text} if path else {})}.items():
                (pathlib.Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                (pathlib.Path(folder) / name).write_text(body + "\n")
            faults = check(pathlib.Path(folder))
            if bool(faults) != bool(path):
                sys.exit(f"check_includes.py cannot tell right from wrong: {path}: {text!r} gave {faults}")
    return len(bad)

if __name__ == "__main__":
    broken = self_test()
    if sys.argv[1:2] == ["--self-test"]:
        sys.exit(print(f"self-test: {broken} broken trees reported, the good one not"))
    faults = check(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "."))
    print("\n".join(faults) or "includes follow the table")
    sys.exit(bool(faults))
