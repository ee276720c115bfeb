"""Runs a list of training jobs on all GPUs of a machine, several processes a GPU, and keeps what is finished safe.

    python3 scripts/train/run_all.py --jobs scripts/train/jobs.json --corpus FOLDER --out OUT --archives ARCHIVES \\
            --work WORK --gpus 4 --seconds 500

Language models start first, each in a process of its own; synthetic runs wait in one queue, which every process
serves when it has nothing else to do. OUT gets one JSON file a run, written anew at every evaluation; ARCHIVES gets
checkpoints and logs, packed anew while they change: a run that is killed leaves its last state.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def name_of(job):
    if job["kind"] == "language_model":
        rope = "-rope" if job.get("rope_theta") else ""
        return f"lm-{job['architecture']}{rope}-s{job['seed']}"
    return f"{job['task']}-{job['length']}-{job['architecture']}-{job['rate']:g}-s{job['seed']}"


def write_json(path, value):
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value))
    os.replace(partial, path)


def worker(gpu, first, queue, options, log_path):
    """Runs `first`, then what it finds in the queue, until the deadline."""
    lent = os.environ.get("CUDA_VISIBLE_DEVICES")  # the gpu-th of those that this program may use
    os.environ["CUDA_VISIBLE_DEVICES"] = lent.split(",")[gpu] if lent else str(gpu)
    sys.stdout = sys.stderr = open(log_path, "w", buffering=1)
    import torch

    import train_lm
    import train_synthetic

    torch.backends.cuda.matmul.allow_tf32 = True
    print(f"{time.time() - options['start']:.1f} s: torch is in")

    def run(job):
        name = name_of(job)
        folder = str(Path(options["work"]) / name) if job.get("keep", True) else None
        started = time.time()

        def report(state):
            last = (state.get("curve") or state.get("log"))[-1]
            print(f"{time.time() - options['start']:.1f} s: {name} {json.dumps(last)[:400]}")
            write_json(Path(options["out"]) / f"{name}.json", state)

        call = {
            **{k: v for k, v in job.items() if k not in ("kind", "keep")},
            "deadline": options["deadline"],
            "folder": folder,
        }
        if job["kind"] == "language_model":
            train_lm.run({**call, "corpus": options["corpus"], "data": options["work"]}, torch.device("cuda"), report)
        else:
            train_synthetic.run(call, torch.device("cuda"), report)
        torch.cuda.empty_cache()
        print(f"{time.time() - options['start']:.1f} s: {name} done in {time.time() - started:.1f} s")

    while first is not None:
        try:
            run(first)
        except Exception as error:  # one run that fails must not take the others with it
            print(f"{name_of(first)} failed: {error!r}")
            import traceback

            traceback.print_exc()
        first = None
        if time.time() < options["deadline"] - options["shortest"]:
            try:
                first = queue.get(timeout=1)
            except Exception:
                return


def archive(members, to, work):
    """to is replaced in one step: whoever reads it finds the last whole archive."""
    partial = Path(work) / (to.name + ".partial")
    with tarfile.open(partial, "w:xz", preset=1) as tar:
        for member in members:
            tar.add(member, member.name)
    shutil.copy(partial, to.with_name("." + to.name))
    os.replace(to.with_name("." + to.name), to)


def pack(work, out, archives, groups, packed):
    """Archives of checkpoint folders, one a group, where something changed since the last call; and of all logs."""
    tasks = [
        (sorted(p for p in Path(out).iterdir() if p.suffix in (".json", ".log")), Path(archives) / "curves.tar.xz")
    ]
    for group, names in groups.items():
        folders = [Path(work) / n for n in names if (Path(work) / n / "config.json").exists()]
        stamp = sorted((f.name, (f / "model.safetensors").stat().st_mtime_ns) for f in folders)
        if folders and packed.get(group) != stamp:
            tasks.append((folders, Path(archives) / f"{group}.tar.xz"))
            packed[group] = stamp
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda task: archive(*task, work), tasks))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--jobs", required=True, help="JSON: language_models, synthetic, steps, tokens, groups, placement"
    )
    parser.add_argument("--corpus", required=True, help="folder that corpus.py wrote")
    parser.add_argument("--out", required=True, help="one JSON file a run, and the processes' logs")
    parser.add_argument("--archives", required=True, help="checkpoints and logs, packed again and again")
    parser.add_argument("--work", required=True, help="training sequences and checkpoints")
    parser.add_argument("--seconds", type=float, required=True, help="training stops here, whatever is left")
    parser.add_argument("--gpus", type=int, required=True)
    parser.add_argument("--data-workers", type=int, default=16)
    args = parser.parse_args()
    start = time.time()
    plan = json.loads(Path(args.jobs).read_text())
    for folder in (args.out, args.work, args.archives):
        Path(folder).mkdir(parents=True, exist_ok=True)
    seeds = sorted({job["seed"] for job in plan["language_models"]})
    data = [
        subprocess.Popen(
            [
                sys.executable,
                str(Path(__file__).with_name("lm_data.py")),
                "--corpus",
                args.corpus,
                "--out",
                args.work,
                "--seeds",
                str(seed),
                "--steps",
                str(plan["steps"]),
                "--tokens",
                str(plan["tokens"]),
                "--workers",
                str(max(1, args.data_workers // len(seeds))),
            ]
        )
        for seed in seeds
    ]
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    for job in plan["synthetic"]:
        queue.put({"kind": "synthetic", **job})
    options = {
        "start": start,
        "deadline": start + args.seconds,
        "out": args.out,
        "work": args.work,
        "corpus": args.corpus,
        "shortest": plan.get("shortest", 45),
    }
    models = [
        {"kind": "language_model", "steps": plan["steps"], "tokens": plan["tokens"], **job}
        for job in plan["language_models"]
    ]
    processes = []
    for gpu, slots in enumerate(plan["placement"][: args.gpus]):  # a slot is the index of a language model, or null
        for slot in slots:
            first = models[slot] if slot is not None else queue.get()
            log = Path(args.out) / f"worker{len(processes)}.log"
            processes.append(context.Process(target=worker, args=(gpu, first, queue, options, log)))
            processes[-1].start()
    packed, last = {}, time.time()
    while any(p.is_alive() for p in processes):
        time.sleep(1)
        if time.time() - last > 40:
            try:
                pack(args.work, args.out, args.archives, plan["groups"], packed)
            except OSError as error:  # a file was replaced while it was read: the next round has it
                print(f"packing again later: {error}", flush=True)
                packed.clear()
            last = time.time()
            print(f"{last - start:.0f} s: {sum(p.is_alive() for p in processes)} processes at work", flush=True)
    pack(args.work, args.out, args.archives, plan["groups"], packed)
    for process in data:
        process.wait()
    print(f"{time.time() - start:.0f} s: done", flush=True)


if __name__ == "__main__":
    main()
