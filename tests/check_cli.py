#!/usr/bin/env python3
"""The command line from outside: errors, the dry run, a real small run, resuming, comparing.

usage: check_cli.py SOURCE_DIR KDABENCH_BINARY
"""
import base64, json, os, pathlib, struct, subprocess, sys, tempfile, time

source, binary = pathlib.Path(sys.argv[1]), sys.argv[2]
folder = pathlib.Path(tempfile.mkdtemp(prefix="check_cli_"))
failures = []
SMALL = ["--config", "tiny", "--context", "32,64", "--steps", "3", "--warmup", "2", "--progress", "plain"]


def run(*words):
    done = subprocess.run([binary, *map(str, words)], capture_output=True, text=True, cwd=source, timeout=300)
    return done.returncode, done.stdout, done.stderr


def check(holds, what):
    if not holds:
        failures.append(what)
        print("FAILED", what)


def refused(*words, says=""):
    """Exit code 2, one sentence on stderr, nothing on stdout."""
    code, out, err = run(*words)
    line = " ".join(map(str, words))
    check(code == 2, f"{line}: wanted exit code 2, got {code}: {err}")
    one_line = err.startswith("kdabench: ") and err.count("\n") == 1 and err.endswith("\n")
    check(one_line, f"{line}: not one line: {err!r}")
    check(out == "", f"{line}: wrote to stdout: {out[:200]!r}")
    check(says in err, f"{line}: wanted {says!r} in {err!r}")


def read(path):
    return json.loads(pathlib.Path(path).read_text())


def statuses(path):
    return sorted(cell["status"] for cell in read(path)["cells"])


def check_help():
    for words in (["--help"], ["run", "--help"], ["compare", "--help"], ["--version"], ["models"], []):
        code, out, err = run(*words)
        check(code == 0 and out and not err, f"{words}: exit code {code}, {err!r}")
    check("Examples:" in run("--help")[1], "--help has examples")
    help_text = run("run", "--help")[1]
    for flag in ("--models", "--context", "--cache-budget", "--rope-theta", "--resume", "Exit codes:"):
        check(flag in help_text, f"run --help names {flag}")
    models = run("models")[1]
    check("49122681728" in models and "8064" in models, "models: parameters and bytes of the 48B preset")
    code, out, _ = run("info", "--json", "--device", "cpu")
    info = json.loads(out)
    check(code == 0 and info["ceilings"]["read_bytes_per_s"] > 0 and info["machine"]["fingerprint"], "info --json")


def check_plans():
    """Every plan in the repository is one that the program takes, from any folder."""
    for plan in sorted((source / "suites/plans").glob("*.json")):
        if "ruler" in plan.read_text() or "mmlu" in plan.read_text():
            continue  # wants data; check_accuracy.py runs it
        done = subprocess.run([pathlib.Path(binary).resolve(), "run", "--plan", plan.resolve(), "--dry-run", "--device-memory", "141GiB"],
                              capture_output=True, text=True, cwd=folder, timeout=60)
        check(done.returncode == 0 and done.stdout.startswith("config "), f"{plan.name} --dry-run: {done.stderr!r}")


def check_errors():
    refused("run", "decode", "--contxt", "4K", says="did you mean --context?")
    refused("run", "decode", "--contxt=4K", says="did you mean --context?")
    refused("rnu", "decode", says="did you mean run?")
    refused("run", "deocde", says="did you mean decode?")
    refused("run", says="at least one suite")
    refused("run", "decode", "--config", "tinny", says="did you mean tiny?")
    refused("run", "decode", "--models", "kimi-linaer", says="did you mean kimi-linear?")
    refused("run", "decode", "--device", "gpu", says="cuda")
    for flag, bad in (("--context", "0"), ("--batch", "0"), ("--context", "4X"), ("--context", ""), ("--steps", "0"),
                      ("--steps", "many"), ("--context", "1,,2"), ("--seed", "-1"), ("--timeout", "x"),
                      ("--fill", "zeros"), ("--protocol", "same"), ("--hybrid-ratio", "3"), ("--dtype", "bf16"),
                      ("--progress", "loud"), ("--rope-theta", "abc")):
        refused("run", "decode", flag + "=" + bad)
    refused("run", "decode", "--steps", says="--steps")
    refused("run", "decode", "--protocol", "same-memory", says="--cache-budget")
    refused("run", "decode", "--config", "kimi-linear-48b-a3b", "--device", "cpu", says="none of the cells fits")
    refused("run", "decode", *SMALL, "--out", folder / "no_such_folder" / "report.json")
    refused("run", "decode", "--plan", folder / "no_plan.json")
    refused("run", "decode", "--resume", says="--out")
    if run("info", "--device", "cuda")[0] == 2:
        refused("run", "decode", "--device", "cuda", says="--device cuda is not available")

    broken = folder / "broken"
    broken.mkdir()
    config = broken / "config.json"
    for content in ("", "{", "[]", '{"model_type": "llama"}', '{"model_type": "kimi_linear"}'):
        config.write_text(content)
        refused("run", "decode", "--config", broken)
    plan = folder / "plan.json"
    for content in ('{"contxt": 1}', "{", "3", '{"sweeps": [1]}', '{"steps": {}}', '{"suites": ["x"]}'):
        plan.write_text(content)
        refused("run", "--plan", plan)

    for command in ("validate", "table", "readme"):
        refused(command, folder / "none.json")
    refused("compare", "only_one.json", says="NEW")
    half = folder / "half.json"
    half.write_text('{"schema": "kdabench/report", "schema_')
    refused("validate", half)
    refused("table", half)
    refused("compare", half, half)
    refused("logits", "--ids", "1", says="--out")
    refused("generate", "--ids", "1", says="--checkpoint")


def check_dry_run():
    before = time.monotonic()
    code, out, err = run("run", "decode", "memory", "--config", "kimi-linear-48b-a3b", "--device", "cuda", "--dry-run",
                         "--context", "4K,1M", "--protocol", "same-batch,same-memory", "--device-memory", "150GB",
                         "--out", folder / "never.json")
    check(code == 0 and not err, f"dry run: {code} {err}")
    check(time.monotonic() - before < 60, "the dry run takes seconds")
    check(not (folder / "never.json").exists(), "the dry run writes nothing")
    check("4.3 TB/s" in out, "the dry run states its bandwidth")
    rows = [line.split() for line in out.splitlines() if line.startswith("decode ")]
    row = next(r for r in rows if r[1] == "kimi-linear" and r[2] == "4K" and r[4] == "same-batch")
    check(abs(float(row[5]) - 98.25) < 0.01, f"weights of the 48B preset: {row[5]} GB")
    check(abs(float(row[-1]) - 1.47) < 0.01, f"floor of one step at 4K: {row[-1]} ms")
    check(row[-2] == "yes", "4K fits 150 GB")
    for device_memory, fits in (("150GB", 1), ("120GB", 0)):
        out = run("run", "decode", "--config", "kimi-linear-48b-a3b", "--device", "cuda", "--dry-run",
                  "--models", "mla", "--context", "1M", "--device-memory", device_memory)[1]
        check(("recorded as oom" in out) == (not fits), f"1M of MLA cache on {device_memory}")
    budget = run("run", "decode", "--config", "kimi-linear-48b-a3b", "--device", "cuda", "--dry-run", "--models",
                 "kimi-linear,mla", "--context", "1M", "--protocol", "same-memory", "--cache-budget", "56GB",
                 "--device-memory", "200GB")[1]
    batches = {line.split()[1]: line.split()[3] for line in budget.splitlines() if line.startswith("decode ")}
    # The paper's 1 against 6 sequences at 1M: 32.6 GB each of MLA, 8.5 GB each of the hybrid.
    check(batches == {"mla": "1", "kimi-linear": "6"}, f"56 GB at 1M: {batches}")


def check_run():
    report = folder / "report.json"
    code, out, err = run("run", "decode", "memory", *SMALL, "--out", report)
    check(code == 0, f"small run: {code} {err}")
    check("kimi-linear" in out and "context" in out, "the table is on stdout")
    check(not pathlib.Path(str(report) + ".jsonl").exists(), "the stream is gone")
    check(run("validate", report)[0] == 0, f"validate: {run('validate', report)[1]}")
    cells = read(report)["cells"]
    check(statuses(report) == ["ok"] * 12, f"statuses: {statuses(report)}")
    for cell in cells:
        memory = cell["memory"]
        check(memory["cache_bytes_allocated"] >= memory["cache_bytes_analytic"] > 0, f"{cell['id']}: bytes")
        if cell["suite"] == "memory":
            check("timing" not in cell and cell["validity"]["reasons"][0]["code"] == "largest_batch", "memory cells")
            continue
        check(cell["accuracy"]["metric"] == "prefill_vs_decode_rel_l2", "accuracy is there")
        check(0 <= cell["accuracy"]["value"] <= cell["accuracy"]["bound"], "accuracy is within its bound")
        check(cell["timing"]["stats"]["n"] == 3 and 0 < cell["floor"]["fraction"] <= 1, "timing and floor")
    meta = read(report)["meta"]
    check(meta["options"]["steps"] == "3" and meta["options"]["fill"] == "random", "meta.options")

    content = report.read_bytes()
    refused("run", "decode", *SMALL, "--out", report, says="--force")
    refused("run", "decode", *SMALL, "--steps=9", "--context=16", "--out", report)
    check(report.read_bytes() == content, "an existing report is left alone")

    check(run("compare", report, report)[0] == 0, "A/A compares as equal")
    fewer = read(report)
    del fewer["cells"][0]
    (folder / "fewer.json").write_text(json.dumps(fewer))
    check(run("compare", report, folder / "fewer.json")[0] != 0, "a missing cell is a failure")
    check(run("compare", folder / "none.json", report)[0] == 6, "a missing base is code 6")
    slower = read(report)
    for cell in slower["cells"]:
        if "timing" in cell:
            stats = cell["timing"]["stats"]
            cell["timing"]["stats"] = {k: v if k == "n" else 2 * v for k, v in stats.items()}
    (folder / "slower.json").write_text(json.dumps(slower))
    check(run("compare", report, folder / "slower.json")[0] == 1, "twice as slow is a regression")
    check(run("compare", report, folder / "slower.json", "--threshold", "1.5")[0] == 0, "--threshold is heard")
    for form in ("md", "json"):
        check(run("compare", report, report, "--format", form)[0] == 0, f"compare --format {form}")
    check(run("table", report)[1] == out, "table prints what the run printed")
    check("|" in run("table", report, "--markdown")[1], "table --markdown")

    broken = read(report)
    broken["cells"][0]["status"] = "oom"
    (folder / "rules.json").write_text(json.dumps(broken))
    code, _, err = run("validate", folder / "rules.json")
    check(code == 2 and err.count("\n") == 1, "validate refuses a speed without the status ok")

    readme = folder / "README.md"
    readme.write_text("before\n<!-- results:begin -->\nold\n<!-- results:end -->\nafter\n")
    check(run("readme", report, "--file", readme)[0] == 0, "readme")
    text = readme.read_text()
    check(text.startswith("before\n") and text.endswith("after\n") and "old" not in text, "readme rewrites one part")
    readme.write_text("no markers\n")
    refused("readme", report, "--file", readme)
    check(readme.read_text() == "no markers\n", "a file without markers is left alone")


def check_resume():
    report = folder / "resumed.json"
    stream = pathlib.Path(str(report) + ".jsonl")
    line = ["run", "decode", *SMALL, "--models", "kimi-linear,mla", "--out", report]
    check(run(*line)[0] == 0, "run to be resumed")
    cells = read(report)["cells"]
    report.unlink()
    # What a killed run leaves: two whole lines and a part of the third.
    third = json.dumps(cells[2])
    stream.write_text("".join(json.dumps(cell) + "\n" for cell in cells[:2]) + third[: len(third) // 2])
    left = stream.read_bytes()
    refused(*line, says="--resume")
    check(stream.read_bytes() == left, "an unfinished run is left alone")
    refused(*line, "--resume", "--steps=4", says="--steps")
    code, _, err = run(*line, "--resume")
    check(code == 0 and "kept 2 of 4" in err, f"resume: {code} {err}")
    after = read(report)["cells"]
    check([cell["id"] for cell in after] == [cell["id"] for cell in cells], "resume has every cell, in order")
    check(after[0] == cells[0] and after[1] == cells[1], "finished cells are kept as they are")
    check(after[2]["samples"] != cells[2]["samples"], "the half cell is measured again")
    check(not stream.exists(), "the stream is gone after resuming")
    code, _, err = run(*line, "--resume")
    check(code == 0 and "kept 4 of 4" in err, f"resuming a whole report keeps it: {code} {err}")
    check(run(*line, "--force")[0] == 0, "--force replaces")


def check_memory_protocols():
    report = folder / "budget.json"
    # tiny in fp32: 768 bytes a token and 448512 bytes of state a sequence for the hybrids, 3072 a token for mla.
    code, _, err = run("run", "decode", *SMALL, "--protocol", "same-memory", "--cache-budget", "2MiB", "--out", report)
    check(code == 0, f"same-memory: {code} {err}")
    for cell in read(report)["cells"]:
        model, context, batch = (cell["axes"][axis] for axis in ("model", "context", "batch"))
        capacity = context + 5                       # the check reads five tokens, more than the three steps
        each = capacity * 3072 if model == "mla" else capacity * 768 + 448512
        check(batch == (2 << 20) // each, f"{model} at {context}: {batch} sequences of {each} bytes in 2 MiB")
    check(run("validate", report)[0] == 0, "validate a same-memory report")

    code, _, err = run("run", "decode", *SMALL, "--protocol", "same-memory", "--cache-budget", "300KiB", "--out",
                       report, "--force")
    found = {cell["axes"]["model"]: cell["status"] for cell in read(report)["cells"]}
    check(code == 0 and found == {"mla": "ok", "kimi-linear": "oom", "gdn-h": "oom"}, f"oom cells: {code} {found}")
    check(run("validate", report)[0] == 0, "validate a report with oom cells")
    for cell in read(report)["cells"]:
        check(cell["status"] == "ok" or "budget is" in cell["status_reason"], "oom says what there is")

    code, _, err = run("run", "memory", *SMALL, "--context", "32,1G", "--out", report, "--force")
    check(code == 2, "--context twice is an error")
    words = [word for word in SMALL if word not in ("--context", "32,64")]
    code, _, err = run("run", "memory", *words, "--context", "32,1G", "--out", report, "--force")
    check(code == 0 and statuses(report) == ["ok"] * 3 + ["oom"] * 3, f"same-batch oom: {code} {statuses(report)}")

    code, _, err = run("run", "decode", *SMALL, "--timeout", "0.000001", "--out", report, "--force", "--models", "mla")
    check(code == 3 and set(statuses(report)) == {"timeout"}, f"timeout: {code} {statuses(report)}")
    code, _, err = run("run", "decode", *SMALL, "--fill", "prefill", "--batch", "2", "--hybrid-ratio", "3:1,1:1",
                       "--models", "kimi-linear", "--rope-theta", "10000", "--out", report, "--force")
    names = {cell["axes"]["model"] for cell in read(report)["cells"]}
    check(code == 0 and names == {"kimi-linear", "kimi-linear@1:1"}, f"prefill and ratios: {code} {names} {err}")
    check(all(cell["axes"]["config"] == "tiny+rope" for cell in read(report)["cells"]), "options name the config")


def check_prefill():
    """Prompts are checked, read again while there is time, and resumed; a cell says how."""
    report = folder / "prefill.json"
    line = ["run", "prefill", "--config", "tiny", "--models", "mla,kimi-linear", "--context", "1,33,64", "--steps", "4",
            "--chunk", "24", "--seconds", "60", "--progress", "plain", "--out", report]
    code, out, err = run(*line)
    check(code == 0 and "tokens/s" in out and "prefill: about" in err, f"prefill: {code} {err}")
    check(run("validate", report)[0] == 0, f"validate: {run('validate', report)[1]}")
    check(statuses(report) == ["ok"] * 6, f"prefill statuses: {statuses(report)}")
    for cell in read(report)["cells"]:
        context = cell["axes"]["context"]
        check(cell["axes"]["fill"] == "empty" and cell["axes"]["steps"] == 4, f"prefill axes: {cell['axes']}")
        check(cell["prefill"] == {"pass_tokens": min(24, context), "passes": -(-context // 24), "seconds_asked": 60.0},
              f"prefill: {cell['prefill']}")
        check(cell["timing"]["stats"]["n"] == 4 and 0 < cell["floor"]["fraction"] <= 1, "timing and floor of a prompt")
        rate = context * 1e9 / cell["timing"]["stats"]["median_ns"]
        check(abs(cell["throughput"]["tokens_per_s"] / rate - 1) < 1e-6, "tokens of the prompt a second")
        check(0 <= cell["accuracy"]["value"] <= cell["accuracy"]["bound"], "a prompt is checked")
        check(cell["kernels"]["attention"] == "mla_cpu", f"kernels: {cell['kernels']}")
        parts = {part["name"]: part["time_ns"] for part in cell["breakdown"]["parts"]}
        check({"projections", "attention", "experts"} <= set(parts), f"parts of a prompt: {parts}")
        check(("recurrence" in parts) == (cell["axes"]["model"] != "mla"), f"parts of a prompt: {parts}")
        check(0 < sum(parts.values()) <= cell["breakdown"]["step_ns"], "the parts are no more than the prompt")
    code, _, err = run(*line, "--resume")
    check(code == 0 and "kept 6 of 6 cells" in err, f"prefill resumes: {code} {err}")
    code, out, _ = run(*line[:-2], "--dry-run")
    check(code == 0 and "time" in out and "prefill: about" in out, f"prefill --dry-run: {out}")
    for form in ("google-benchmark", "llama-bench", "nvbench", "csv"):
        code, out, err = run("export", report, "--format", form)
        check(code == 0 and out, f"export {form}: {err}")
        if form == "llama-bench":
            check({row["n_prompt"] for row in json.loads(out)} == {1, 33, 64}, f"llama-bench: {out}")
        if form == "google-benchmark":
            row = next(r for r in json.loads(out)["benchmarks"] if "context=64;" in r["name"])
            check(abs(row["items_per_second"] * row["real_time"] / 64e9 - 1) < 1e-6, f"google-benchmark: {row}")
    once = [word if word != "60" else "0" for word in line]
    code, _, _ = run(*once, "--force", "--context=64")
    check(code == 2, "--context twice is an error")
    once[once.index("1,33,64")] = "64"
    code, _, err = run(*once, "--force", "--batch", "3")
    cells = read(report)["cells"]
    codes = [reason["code"] for cell in cells for reason in cell["validity"]["reasons"]]
    check(code == 0 and codes == ["one_repetition"] * 2, f"one repetition says so: {code} {codes} {err}")
    check(all(cell["prefill"]["pass_tokens"] == 8 for cell in cells), "a pass is shared by the batch")
    code, _, _ = run(*once, "--force", "--timeout", "0.000001")
    check(code == 3 and set(statuses(report)) == {"timeout"}, f"prefill timeout: {code} {statuses(report)}")
    code, _, _ = run(*once, "--force", "--inject-slowdown", "1.5")
    check(code == 4 and set(statuses(report)) == {"invalid"}, f"prefill slowed: {code} {statuses(report)}")
    refused("run", "prefill", "--chunk", "0", says="--chunk")
    refused("run", "prefill", "--seconds", "x", says="--seconds")


def tensors(path):
    """Every tensor of a safetensors file: name -> (shape, values)."""
    blob = pathlib.Path(path).read_bytes()
    size = struct.unpack("<Q", blob[:8])[0]
    found = {}
    for name, entry in json.loads(blob[8:8 + size]).items():
        if name == "__metadata__":
            continue
        code = {"F32": "f", "I64": "q", "I32": "i"}[entry["dtype"]]
        first, last = entry["data_offsets"]
        raw = blob[8 + size + first:8 + size + last]
        found[name] = entry["shape"], struct.unpack(f"<{len(raw) // struct.calcsize(code)}{code}", raw)
    return found


def check_checkpoint():
    data = os.environ.get("KDABENCH_DATA", "")
    folders = sorted(path.parent for path in pathlib.Path(data).rglob("expected.safetensors")) if data else []
    if not folders:
        print("KDABENCH_DATA names no checkpoint: logits and generate are checked for errors alone")
    for checkpoint in folders:
        expected = tensors(checkpoint / "expected.safetensors")
        for number in [name[4:] for name in expected if name.startswith("ids_")]:
            ids = ",".join(map(str, expected["ids_" + number][1]))
            greedy = list(expected["greedy_" + number][1])
            code, out, err = run("generate", "--checkpoint", checkpoint, "--ids", ids, "--max-new", len(greedy))
            check(code == 0 and list(map(int, out.split(","))) == greedy, f"generate: {code} {err} {out}")
        shape, want = expected["logits_" + number]
        out_file = folder / "logits.safetensors"
        ids_file = folder / "ids.txt"
        ids_file.write_text(ids.replace(",", "\n"))
        code, _, err = run("logits", "--checkpoint", checkpoint, "--ids-file", ids_file, "--out", out_file)
        check(code == 0, f"logits: {code} {err}")
        got_shape, got = tensors(out_file)["logits"]
        check(got_shape[-2:] == shape[-2:], f"logits: shape {got_shape}, wanted {shape}")
        error = (sum((a - b) ** 2 for a, b in zip(got, want)) / sum(b * b for b in want)) ** 0.5
        check(len(got) == len(want) and error < 1e-4, f"logits: rel_l2 {error}")
        refused("generate", "--checkpoint", checkpoint, "--ids", "1,99999999", says="vocabulary")
        refused("generate", "--checkpoint", checkpoint, "--ids", "1,x", says="token ids")
        refused("logits", "--checkpoint", checkpoint, "--ids", "1", "--out", folder / "no" / "x.safetensors")


def check_tokenize():
    """Ids on one line, pieces as JSON; bytes that are no UTF-8 pass; no tokenizer is one sentence."""
    def tokenize(text, *words):
        done = subprocess.run([binary, "tokenize", "--tokenizer", *map(str, words)], input=text, capture_output=True)
        return done.returncode, done.stdout.decode()

    check(tokenize(b"a\xff\n", "bytes") == (0, "97 255 10\n"), "tokenize: bytes")
    check(tokenize(b"", "bytes") == (0, "\n"), "tokenize: nothing")
    ranks = folder / "tiny.tiktoken"
    ranks.write_text("".join(f"{base64.b64encode(bytes([i])).decode()} {i}\n" for i in range(256)))
    code, out = tokenize(b"it's \xff\n", ranks, "--pieces")
    check((code, [json.loads(line) for line in out.splitlines()]) == (0, ["it", "'s", " \ufffd\n"]),
          f"tokenize --pieces: {out!r}")
    ranks.write_text(ranks.read_text()[:-7])
    refused("tokenize", "--tokenizer", ranks, says="tiny.tiktoken")
    refused("tokenize", "--tokenizer", folder / "none", says="wanted")
    refused("tokenize", "--tokenizer", source / "harness", says="wanted tiktoken.model")
    refused("tokenize", says="--tokenizer")


def check_ruler():
    """A file a task, the same every time; what cannot be asked is one sentence, and nothing hangs."""
    words = folder / "texts" / "words"
    words.mkdir(parents=True)
    for name in ("noun", "adjective", "verb"):
        (words / f"{name}list.txt").write_text("".join(f"{name}{i}\n" for i in range(20)))
    line = ["ruler-generate", "--tokenizer", "bytes", "--data", folder / "texts", "--samples", "2"]
    outputs = []
    for out in (folder / "ruler_a", folder / "ruler_b"):
        code, _, err = run(*line, "--task", "fwe,niah_single_1", "--length", "4K", "--out", out)
        check(code == 0 and "[2/2] niah_single_1: 2 samples" in err, f"ruler-generate: {code} {err}")
        outputs.append([(out / f"{task}.jsonl").read_text() for task in ("fwe", "niah_single_1")])
    check(outputs[0] == outputs[1], "ruler-generate: two runs differ")
    samples = [json.loads(sample) for sample in outputs[0][1].splitlines()]
    check(len(samples) == 2 and all(s["outputs"][0] in s["input"] and s["length"] <= 4096 for s in samples),
          f"ruler-generate: {samples}")
    out = ["--out", folder / "ruler_c", "--progress", "none"]
    refused(*line, *out, "--task", "niah", says="the tasks are niah_single_1")
    refused(*line, *out, "--task", "fwe", "--length", "300", says="fwe does not fit in 300 tokens")
    refused(*line, *out, "--task", "qa_1", says="qa_1 needs squad.json")
    refused(*line, *out, "--task", "cwe", says="cwe needs 4096 different words")
    refused(*line, "--out", folder / "ruler_a", "--task", "fwe", says="--force")
    refused(*line, "--task", "fwe", says="--out")


for part in (check_help, check_plans, check_errors, check_dry_run, check_run, check_resume, check_memory_protocols, check_prefill,
             check_checkpoint, check_tokenize, check_ruler):
    start = time.monotonic()
    part()
    print(f"{part.__name__}: {time.monotonic() - start:.1f} s")
print(f"{len(failures)} failures")
sys.exit(1 if failures else 0)
