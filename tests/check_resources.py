#!/usr/bin/env python3
"""What a GPU report says of its kernels is what the program holds: registers, local and shared bytes of each instance.

usage: check_resources.py SOURCE_DIR BINARY [REPORT...]

Measures tiny models (or takes REPORTs that BINARY made), and finds every instance in the machine code of the binary as
check_registers.py reads it. `kdabench gate` passes such a report against itself and fails it for one register or local
byte more. Exits 77 (skipped) without a GPU.
"""
import copy
import json
import pathlib
import subprocess
import sys
import tempfile

from check_registers import cubins, kernels_of, readable

binary, given = pathlib.Path(sys.argv[2]).resolve(), [pathlib.Path(path) for path in sys.argv[3:]]
RESERVED_SHARED = 1024                # bytes of a block that the system takes; the binary counts them


def kdabench(*words):
    return subprocess.run([binary, *map(str, words)], capture_output=True, text=True, timeout=300)


def measured(folder):
    path = folder / "tiny.json"
    done = kdabench("run", "decode", "prefill", "--device", "cuda", "--models", "kimi-linear,mla,gdn-h", "--config", "tiny",
                    "--context", "256", "--batch", "1,33", "--steps", "4", "--seconds", "0.01", "--progress", "none", "--out", path)
    if "--device cuda is not available" in done.stderr:
        print("skipped: no GPU (" + done.stderr.strip() + ")")
        sys.exit(77)
    assert done.returncode == 0, done.stderr
    return path


def check(path, kernels):
    done = kdabench("validate", path)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(path.read_text())
    seen = set()
    for cell in report["cells"]:
        rows = cell["resources"]["kernels"]
        assert rows, f"{cell['id']} ran no kernel"
        for row in rows:
            if row["instance"] is None:
                assert row["name"] == "cublaslt", f"{row['name']} is no library"
                continue
            of_binary = kernels[row["instance"]]
            says = (row["registers"], row["local_bytes"], row["static_shared_bytes"])
            holds = (of_binary.registers, of_binary.frame, max(0, of_binary.shared - RESERVED_SHARED))
            assert says == holds, f"{row['instance']}: the report says {says}, the binary {holds}"
            seen.add(row["instance"])
    return seen


def check_gate(path, folder):
    assert kdabench("gate", path, path).returncode == 0
    report = json.loads(path.read_text())
    for cell in range(len(report["cells"])):
        for what in ("registers", "local_bytes"):
            more = copy.deepcopy(report)
            row = next(row for row in more["cells"][cell]["resources"]["kernels"] if row["instance"])
            row[what] += 1
            (folder / "more.json").write_text(json.dumps(more))
            done = kdabench("gate", path, folder / "more.json")
            metric = f"resources.kernels[{row['instance']}].{what}"
            assert done.returncode == 1 and metric in done.stdout, f"{metric} + 1: {done.returncode} {done.stdout}"


def main():
    found = [kernel for elf in cubins(binary.read_bytes()) for kernel in kernels_of(elf)]
    if not found:
        print("skipped: no CUDA build, no GPU report")
        return 77
    names = readable([kernel.name for kernel in found])
    kernels = {names[kernel.name]: kernel for kernel in found}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        reports = given or [measured(folder)]
        seen = set().union(*(check(path, kernels) for path in reports))
        for path in reports:
            check_gate(path, folder)
    print(f"{len(seen)} instances of {len(kernels)} ran, each with the numbers of the binary: {', '.join(sorted(seen))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
