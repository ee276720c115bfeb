#!/usr/bin/env python3
"""Registers and stack frame of every CUDA kernel in a binary; fails on a frame that is not a known exception.

usage: check_registers.py SOURCE_DIR BINARY

A kernel's stack frame holds its spilled registers, and arrays that are indexed by what only the run knows: a kernel
of ours has neither. The numbers are read from the machine code within the binary itself (the cubin's ELF sections),
so they are those of what was built, need no GPU and no tool of the CUDA toolkit. Exits 77 (skipped) for a binary
without CUDA code.
"""
import collections
import pathlib
import re
import shutil
import struct
import subprocess
import sys

# Kernel: the bytes of frame it may have.
KNOWN_FRAMES = {}

ELF_CUDA = 190                        # e_machine of a cubin
SVAL = 4                              # attribute formats of .nv.info: 1 none, 2 a byte, 3 a half word, 4 a sized block
FRAME_SIZE, REGISTERS = 0x11, 0x2F    # attributes: (symbol, number)

Kernel = collections.namedtuple("Kernel", "name registers frame shared")


def text_at(table, start):
    return table[start:table.index(b"\0", start)].decode()


def cubins(data):
    """Every CUDA ELF file within the bytes of a binary."""
    at = data.find(b"\x7fELF\x02\x01")
    while at >= 0:
        if struct.unpack_from("<H", data, at + 18)[0] == ELF_CUDA:
            yield data[at:]
        at = data.find(b"\x7fELF\x02\x01", at + 1)


def sections(elf):
    """name: (offset, size) of an ELF64 file."""
    table, = struct.unpack_from("<Q", elf, 40)
    size, count, names = struct.unpack_from("<HHH", elf, 58)
    headers = [struct.unpack_from("<IIQQQQ", elf, table + i * size) for i in range(count)]
    strings = elf[headers[names][4]:headers[names][4] + headers[names][5]]
    return {text_at(strings, h[0]): (h[4], 0 if h[1] == 8 else h[5], h[5]) for h in headers}  # type 8 takes no file space


def attributes(info):
    """(attribute, payload) of a .nv.info section."""
    at = 0
    while at + 4 <= len(info):
        form, attribute, size = struct.unpack_from("<BBH", info, at)
        at += 4
        if form == SVAL:
            yield attribute, info[at:at + size]
            at += size


def kernels_of(elf):
    found = sections(elf)
    part = lambda name: elf[found[name][0]:found[name][0] + found[name][1]]
    symbols, strings = part(".symtab"), part(".strtab")
    registers, frames = {}, {}
    for attribute, payload in attributes(part(".nv.info")):
        if attribute in (FRAME_SIZE, REGISTERS):
            symbol, number = struct.unpack("<II", payload)
            name = text_at(strings, struct.unpack_from("<I", symbols, symbol * 24)[0])
            (registers if attribute == REGISTERS else frames)[name] = number
    return [Kernel(name, count, frames.get(name, 0), found.get(".nv.shared." + name, (0, 0, 0))[2])
            for name, count in registers.items() if ".text." + name in found]


def readable(names):
    """Demangled, without namespaces and parameters: kda_decode_kernel<128, false, 1, 0>."""
    if not shutil.which("c++filt"):
        return {name: name for name in names}
    lines = subprocess.run(["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True).stdout
    def shorten(line):
        line = re.sub(r"\(anonymous namespace\)::|kdabench::(\w+::)*|^void |\((?:\w+::)*\w+\)(?=\d)", "", line)
        return re.sub(r"\(.*\)$", "", line)
    return {name: shorten(line) for name, line in zip(names, lines.splitlines())}


def main():
    source, binary = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    kernels = {kernel.name: kernel for elf in cubins(binary.read_bytes()) for kernel in kernels_of(elf)}
    if not kernels:
        print("skipped: no CUDA build")
        return 77
    names = readable(list(kernels))
    faults = []
    width = max(map(len, names.values()))
    print(f"{'kernel':{width}}  registers  frame bytes  shared bytes")
    for kernel in sorted(kernels.values(), key=lambda k: names[k.name]):
        name = names[kernel.name]
        print(f"{name:{width}}  {kernel.registers:9}  {kernel.frame:11}  {kernel.shared:12}")
        allowed = KNOWN_FRAMES.get(name, 0)
        if kernel.frame > allowed:
            faults.append(f"{name} has a stack frame of {kernel.frame} bytes, {allowed} are allowed: registers are "
                          "spilled; lower its live values or its blocks per multiprocessor (see ptxas' lines of the build)")
    frames = {names[kernel.name]: kernel.frame for kernel in kernels.values()}
    for name, allowed in KNOWN_FRAMES.items():
        if frames.get(name, 0) < allowed:
            print(f"note: {name} has {frames.get(name, 0)} bytes; KNOWN_FRAMES may be lowered from {allowed}")
    # Every kernel of the sources must have been seen: a compressed or stripped binary would otherwise pass.
    for file in sorted(source.glob("kernels/**/*.cu")):
        for kernel in re.findall(r"__global__[^;{]*?\b(\w+_kernel)\s*\(", file.read_text()):
            if not any(kernel in name for name in kernels):
                faults.append(f"{kernel} of {file.relative_to(source)} is not in {binary.name}; is its device code "
                              "compressed (nvcc -no-compress), or is the kernel unused?")
    print("\n".join(faults) or f"{len(kernels)} kernels, no spills")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
