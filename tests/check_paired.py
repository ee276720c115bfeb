#!/usr/bin/env python3
"""Two accuracy reports, item by item: a run against itself, against broken weights, against other prompts.

usage: check_paired.py SOURCE_DIR KDABENCH_BINARY
"""
import json, os, pathlib, shutil, subprocess, sys, tempfile

source, binary = pathlib.Path(sys.argv[1]).resolve(), str(pathlib.Path(sys.argv[2]).resolve())
data = pathlib.Path(os.environ.get("KDABENCH_DATA", "/nowhere"))
trained = source / "suites/checkpoints/lm-s0/kimi-linear"
if not ((data / "mmlu").exists() and (data / "ruler").exists() and trained.exists()):
    print("skipped: no data")
    sys.exit(77)
folder = pathlib.Path(tempfile.mkdtemp(prefix="check_paired_"))
failures = []
RULER = ["ruler", "--lengths", "1K", "--tasks", "niah_single_1", "--samples", "8"]
MMLU = ["mmlu", "--subjects", "anatomy,virology", "--limit", "4"]


def check(holds, what):
    if not holds:
        failures.append(what)
        print("FAILED", what)


def run(name, checkpoint, *words):
    path = folder / f"{name}.json"
    done = subprocess.run([binary, "run", *map(str, words), "--checkpoint", str(checkpoint), "--data", str(data),
                           "--out", str(path), "--progress", "none"], capture_output=True, text=True, timeout=300)
    check(done.returncode == 0, f"{name}: {done.returncode} {done.stderr}")
    check(subprocess.run([binary, "validate", path], capture_output=True).returncode == 0, f"{name} is valid")
    return path


def cell(path):
    return json.loads(path.read_text())["cells"][0]


def edited(path, name, edit):
    report = json.loads(path.read_text())
    for one in report["cells"]:
        edit(one)
    to = folder / name
    to.write_text(json.dumps(report))
    return to


def on_a_gpu(one):
    """A GPU's scores may differ from run to run: there the gate asks McNemar instead of for equality."""
    one["axes"]["device"] = "cuda"
    one["id"] = one["id"].replace("device=cpu", "device=cuda")


def gate(base, candidate, wanted, *says):
    done = subprocess.run([binary, "gate", base, candidate, "--format", "json"], capture_output=True, text=True,
                          timeout=60)
    check(done.returncode == wanted, f"{candidate.name}: wanted {wanted}, got {done.returncode}: {done.stdout}")
    for part in says:
        check(part in done.stdout, f"{base.name} {candidate.name}: wanted {part!r} in {done.stdout}")


def broken_checkpoint():
    """The same model with the last third of its weights gone."""
    to = folder / "lm-s0/kimi-linear"  # the name of the sound one, as after a bad change to the code
    shutil.copytree(trained, to, copy_function=shutil.copyfile)
    weights = to / "model.safetensors"
    size = weights.stat().st_size
    with weights.open("r+b") as file:
        file.seek(2 * size // 3 // 2 * 2)
        file.write(bytes(size - file.tell()))
    return to


broken = broken_checkpoint()
base, again, worse = (run(name, checkpoint, *RULER) for name, checkpoint in
                      (("base", trained), ("again", trained), ("worse", broken)))
scores = [one["score"] for one in map(json.loads, pathlib.Path(f"{base}.items.jsonl").read_text().splitlines())]
check(cell(base)["items"]["scores"] == scores and scores == [1.0] * 8, f"every item's score, in order: {scores}")
check(cell(base)["accuracy"]["value"] == 1.0, "all right is 1")
check(sum(cell(worse)["items"]["scores"]) <= 2, "broken weights find no needles")
gate(base, again, 0)
gate(base, worse, 5, "this is a change: of 8 items", "McNemar")
gpu_base, gpu_again, gpu_worse = (edited(path, f"gpu_{path.name}", on_a_gpu) for path in (base, again, worse))
gate(gpu_base, gpu_again, 0)
gate(gpu_base, gpu_worse, 5, "were lost and 0 won; McNemar p 0.0")
few = edited(gpu_base, "few.json", lambda one: one.get("items", {"scores": [0]})["scores"].__setitem__(0, 0.0))
gate(gpu_base, few, 0, "1 were lost")
other = edited(gpu_base, "other.json", lambda one: one["accuracy"]["score"].update(prompts_sha256="0" * 64))
gate(gpu_base, other, 6, "not the same test")

mmlu = run("mmlu", trained, *MMLU)
held = run("held", trained, *MMLU, "--reference", mmlu)
broke = run("broke", broken, *MMLU)
check(len(cell(mmlu)["items"]["choices"]) == 4 * 8 and cell(mmlu)["items"]["kl"] == [], "four choices an item")
check(cell(held)["items"]["kl"] == [0.0] * 8, f"no divergence from itself: {cell(held)['items']['kl']}")
gate(mmlu, held, 0, "from base")
gate(edited(mmlu, "gpu_mmlu.json", on_a_gpu), edited(broke, "gpu_broke.json", on_a_gpu), 5, "kl from base")
done = subprocess.run([binary, "run", *MMLU, "--checkpoint", trained, "--data", data, "--reference", base],
                      capture_output=True, text=True)
check(done.returncode == 2 and "no log-probabilities of mmlu" in done.stderr, f"a reference without MMLU: {done.stderr}")
shutil.rmtree(folder, ignore_errors=True)
print(f"{len(failures)} failures")
sys.exit(1 if failures else 0)
