#!/usr/bin/env python3
"""Accuracy suites from outside: a checkpoint scored, resumed, read from files; and everything that is refused.

usage: check_accuracy.py SOURCE_DIR KDABENCH_BINARY
"""
import hashlib, json, math, os, pathlib, shutil, subprocess, sys, tempfile

source, binary = pathlib.Path(sys.argv[1]), sys.argv[2]
data = pathlib.Path(os.environ.get("KDABENCH_DATA", "/nowhere"))
checkpoint = data / "hf_tiny/hf_tiny_a"
if not (checkpoint.exists() and (data / "mmlu").exists() and (data / "ruler").exists()):
    print("skipped: no data")
    sys.exit(77)
folder = pathlib.Path(tempfile.mkdtemp(prefix="check_accuracy_"))
failures = []
MODEL = ["--checkpoint", checkpoint, "--tokenizer", "bytes", "--progress", "plain"]
MMLU = ["run", "mmlu", *MODEL, "--subjects", "anatomy,virology", "--limit", "3"]
RULER = ["run", "ruler", *MODEL, "--lengths", "1K", "--tasks", "fwe,niah_single_1", "--samples", "2"]


def run(*words, text=True):
    done = subprocess.run([binary, *map(str, words)], capture_output=True, text=text, cwd=source, timeout=300)
    return done.returncode, done.stdout, done.stderr


def check(holds, what):
    if not holds:
        failures.append(what)
        print("FAILED", what)


def refused(*words, says):
    """Exit code 2, one sentence that says why, no score anywhere."""
    out_file = folder / "refused.json"
    code, out, err = run(*words, "--out", out_file)
    line = " ".join(map(str, words[1:]))
    check(code == 2 and says in err and err.count("\n") == 1, f"{line}: {code}, wanted {says!r} in {err!r}")
    check(out == "" and not out_file.exists(), f"{line}: printed or wrote a score")


def cells(path):
    return json.loads(pathlib.Path(path).read_text())["cells"]


def items(path):
    return [json.loads(line) for line in pathlib.Path(f"{path}.items.jsonl").read_text().splitlines()]


def check_refusals():
    bare = ["run", "mmlu", "--progress", "plain"]
    refused(*bare, says="--allow-random-weights")
    refused(*bare, "--checkpoint", folder / "none", "--tokenizer", "bytes", says="is no folder")
    refused(*bare, "--checkpoint", checkpoint, says="give --tokenizer")
    refused(*bare, "--checkpoint", f"mla={checkpoint}", "--models", "gdn-h", says="has no folder")
    refused(*bare, "--checkpoint", checkpoint, "--tokenizer", data / "tokenizers/cl100k_base.tiktoken",
            says="not this model's")
    ranks = folder / "cl100k_base.tiktoken"
    ranks.write_bytes((data / "tokenizers/cl100k_base.tiktoken").read_bytes()[:1000])
    refused(*bare, "--checkpoint", checkpoint, "--tokenizer", ranks, says="cl100k_base.tiktoken")
    refused(*MMLU[:-4], "--subjects", "anatomi", says="did you mean anatomy?")
    refused(*MMLU, "--mmlu-style", "helm", says="helm")
    refused(*RULER[:-4], "--tasks", "niah_single_9", says="niah_single_1")
    refused(*RULER[:-4], "--tasks", "cwe", says="does not fit in 1024 tokens")
    refused(*RULER, "--template", "chat", says="has no chat template")
    refused(*RULER, "--jsonl", folder, says="niah_single_1.jsonl")
    refused(*MMLU, "--data", folder / "none", says="no folder")
    broken = folder / "broken"
    shutil.copytree(data / "mmlu", broken / "mmlu", copy_function=shutil.copyfile)
    test = broken / "mmlu/test/anatomy_test.csv"
    whole = test.read_bytes()
    for damage, says in ((whole.replace(b"choice3", b"choice4", 1), "has no column choice3"),
                         (whole.replace(b"the", b"t\xffe", 1), "not UTF-8"), (whole[:2000], "anatomy_test.csv")):
        os.chmod(test, 0o644)
        test.write_bytes(damage)
        refused(*MMLU, "--data", broken, says=says)


def check_mmlu():
    report = folder / "mmlu.json"
    code, out, err = run(*MMLU, "--out", report)
    check(code == 0 and "chance" in out and "s at assumed rates" in err, f"mmlu: {code} {err} {out}")
    check(run("validate", report)[0] == 0, f"validate: {run('validate', report)}")
    (cell,) = cells(report)
    accuracy, score = cell["accuracy"], cell["accuracy"]["score"]
    check(accuracy["n"] == 6 and score["items_total"] == 14042 and score["at_chance"], f"6 of 14042: {accuracy}")
    check([row["name"] for row in score["rows"]] == ["other", "stem", "anatomy", "virology"], "subjects and groups")
    prompts = b"".join(b"\0".join(run("mmlu-prompts", "--data", data, "--subject", subject, text=False)[1]
                                  .split(b"\0")[:3]) + b"\0" for subject in ("anatomy", "virology"))
    check(hashlib.sha256(prompts).hexdigest() == score["prompts_sha256"], "the hash is that of mmlu-prompts")
    log = items(report)
    check(sum(item["score"] for item in log) == accuracy["value"] * 6, "the items add up to the score")
    check(all(len(item["log_likelihoods"]) == 4 for item in log), "items have log-likelihoods")
    check(all("ABCD"[max(range(4), key=lambda i: item["log_likelihoods"][i])] == item["prediction"] for item in log),
          "the likeliest answer is the prediction")
    # one at a time is the same, but for the order of sums
    code, _, err = run(*MMLU, "--rows", "1", "--out", folder / "alone.json")
    other = {(i["name"], i["index"]): i["log_likelihoods"] for i in items(folder / "alone.json")}
    worst = max(abs(a - b) for i in log for a, b in zip(i["log_likelihoods"], other[i["name"], i["index"]]))
    check(code == 0 and worst < 1e-4, f"rows together and alone: {worst}")
    code, out, _ = run(*MMLU, "--mmlu-style", "hendrycks", "--dry-run")
    check(code == 0 and "hendrycks" in out and "6 prompts" in out, f"dry run: {out}")


def check_ruler():
    report = folder / "ruler.json"
    code, out, err = run(*RULER, "--out", report)
    check(code == 0, f"ruler: {code} {err}")
    check(run("validate", report)[0] == 0, f"validate: {run('validate', report)}")
    found = cells(report)
    check([cell["axes"]["task"] for cell in found] == ["niah_single_1", "fwe", "mean of niah_single_1+fwe"], "tasks")
    values = [cell["accuracy"]["value"] for cell in found]
    check(math.isclose(values[2], (values[0] + values[1]) / 2), f"the mean is unweighted: {values}")
    for cell, task in zip(found, ("niah_single_1", "fwe")):
        check(cell["accuracy"]["score"]["generated_tokens"] <= 2 * {"niah_single_1": 128, "fwe": 50}[task], "token budget")
        mine = [item["score"] for item in items(report) if item["name"] == task]
        check(math.isclose(cell["accuracy"]["value"], sum(mine) / 2), "the items' mean is the score")

    # what a killed run leaves: three items and half of the fourth
    lines = pathlib.Path(f"{report}.items.jsonl").read_bytes().splitlines(keepends=True)
    left = folder / "left.json"
    pathlib.Path(f"{left}.items.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:40])
    code, _, err = run(*RULER, "--out", left)
    check(code == 2 and "--resume" in err, f"what is left is not overwritten: {err}")
    code, _, err = run(*RULER, "--out", left, "--resume")
    check(code == 0 and "kept 3 scored items" in err, f"resume: {code} {err}")
    check(pathlib.Path(f"{left}.items.jsonl").read_bytes() == b"".join(lines), "one item was scored, none twice")
    again = cells(left)
    check([c["accuracy"]["value"] for c in again] == values, "the same scores")
    check(again[0]["accuracy"]["score"]["read_tokens"] == 0 < again[1]["accuracy"]["score"]["read_tokens"],
          "kept items are not read again")
    code, _, err = run(*RULER, "--samples", "3", "--out", left, "--resume")
    check(code == 2, "--samples twice is an error")
    code, _, err = run(*RULER[:-1], "3", "--out", left, "--resume")
    check(code == 0 and [c["accuracy"]["n"] for c in cells(left)] == [3, 3, 6], f"more samples, the first ones kept: {err}")
    check(len(items(left)) == 6, "and nothing scored twice")

    # the same prompts from files
    code, _, err = run("ruler-generate", "--task", "fwe,niah_single_1", "--length", "1024", "--samples", "2", "--tokenizer",
                       "bytes", "--data", data, "--out", folder / "prompts")
    check(code == 0, f"ruler-generate: {err}")
    code, _, err = run(*RULER, "--jsonl", folder / "prompts", "--out", folder / "files.json")
    hashes = lambda path: [c["accuracy"]["score"]["prompts_sha256"] for c in cells(path)[:2]]
    check(code == 0 and hashes(folder / "files.json") == hashes(report), f"prompts from files are the same: {err}")


def check_made_up_tests():
    """BBH, GPQA and MMLU-Redux at their true sizes, with questions made up here; MMLU-Pro needs twelve thousand and is
    left out."""
    made = folder / "made"
    (made / "bbh").mkdir(parents=True)
    (made / "cot-prompts").mkdir()
    task = "boolean_expressions"
    (made / "bbh" / f"{task}.json").write_text(json.dumps(
        {"canary": "", "examples": [{"input": f"not {i} is", "target": "True"} for i in range(250)]}))
    (made / "cot-prompts" / f"{task}.txt").write_text(
        "canary\n-----\nEvaluate." + "\n\nQ: not 0 is\nA: Let's think step by step.\nSo the answer is True." * 3)
    report = folder / "bbh.json"
    code, out, err = run("run", "bbh", *MODEL, "--data", made, "--subjects", task, "--limit", "3", "--out", report)
    check(code == 0 and "without a readable answer" in out, f"bbh: {code} {err}")
    if code == 0:
        (cell,) = cells(report)
        check(cell["accuracy"]["n"] == 3 and cell["accuracy"]["score"]["items_total"] == 6511, "bbh: 3 of 6511")
        check(all(not any(stop in item["prediction"] for stop in ("Q", "\n\n")) for item in items(report)),
              "what follows a stop is not part of an answer")
        lines = items(report)
        report.unlink()
        code, _, err = run("run", "bbh", *MODEL, "--data", made, "--subjects", task, "--limit", "3", "--out", report,
                           "--resume")
        check(code == 0 and items(report) == lines, f"bbh resumed scores nothing twice: {err}")
        check(cells(report)[0]["accuracy"]["score"]["read_tokens"] == 0, "bbh resumed reads nothing")
    refused("run", "bbh", *MODEL, "--data", made, "--subjects", "boolean_expression", says="boolean_expressions")
    refused("run", "mmlu-pro", *MODEL, "--data", made, says="validation.jsonl")
    refused("run", "gpqa", *MODEL, says="--gpqa")
    csv = made / "gpqa_diamond.csv"
    csv.write_text("Question,Correct Answer,Incorrect Answer 1,Incorrect Answer 2,Incorrect Answer 3\n" +
                   "".join(f"What is {i}?,{i},{i + 1},{i + 2},{i + 3}\n" for i in range(198)))
    code, out, err = run("run", "gpqa", *MODEL, "--gpqa", csv, "--limit", "4", "--out", folder / "gpqa.json")
    check(code == 0 and "a part of gpqa_diamond" in out and "What is" not in out, f"gpqa: {code} {err} {out}")
    kept = pathlib.Path(f"{folder / 'gpqa.json'}.items.jsonl").read_text() + (folder / "gpqa.json").read_text()
    check("What is" not in kept, "no question of GPQA is written down")
    report = folder / "gpqa-cot.json"
    command = ("run", "gpqa-cot", *MODEL, "--gpqa", csv, "--limit", "2", "--out", report)
    code, out, err = run(*command)
    check(code == 0 and "without a readable answer" in out and "What is" not in out, f"gpqa-cot: {code} {err} {out}")
    if code == 0:
        lines = items(report)
        check(all(len(item["prediction"]) <= 3 for item in lines), "only the letter that was read is written down")
        report.unlink()
        code, _, err = run(*command, "--resume")
        check(code == 0 and items(report) == lines, f"gpqa-cot resumed scores nothing twice: {err}")

    (made / "mmlu_redux").mkdir()
    (made / "mmlu").symlink_to(data / "mmlu")
    for dev in (data / "mmlu/dev").glob("*_dev.csv"):
        rows = [{"question": f"What is {i}?", "choices": [f"{i + j}" for j in range(4)], "answer": 0,
                 "error_type": "wrong_groundtruth" if i == 1 else "ok", "correct_answer": "B" if i == 1 else None}
                for i in range(100)]
        name = dev.name.removesuffix("_dev.csv")
        (made / f"mmlu_redux/{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    subjects = ("--subjects", "virology,anatomy", "--limit", "3")
    for suite, says in (("mmlu-redux", "5-shot"), ("mmlu-redux-generative", "without a readable answer")):
        command = ("run", suite, *MODEL, "--data", made, *subjects)
        code, out, err = run(*command, "--dry-run")
        check(code == 0 and "6 prompts" in out, f"{suite}, dry run: {code} {err} {out}")
        report = folder / f"{suite}.json"
        code, out, err = run(*command, "--out", report)
        check(code == 0 and says in out and "a part of MMLU-Redux 2.0, rows annotated ok" in out, f"{suite}: {code} {err} {out}")
        if code:
            continue
        (cell,) = cells(report)
        check(cell["accuracy"]["n"] == 6 and cell["accuracy"]["score"]["items_total"] == 57 * 99, f"{suite}: 6 of 5643")
        rows = {row["name"]: row["n"] for row in cell["accuracy"]["score"]["rows"]}
        check(rows["anatomy"] == rows["virology"] == 3, f"{suite}: rows of subjects: {rows}")
        lines = items(report)
        check(all(item["gold"] == ["A"] for item in lines), f"{suite}: the answers are those of the rows scored")
        report.unlink()
        code, _, err = run(*command, "--out", report, "--resume")
        check(code == 0 and items(report) == lines, f"{suite} resumed scores nothing twice: {err}")
        code, out, err = run(*command, "--redux-rows", "corrected", "--out", folder / f"{suite}-corrected.json")
        check(code == 0 and [item["gold"] for item in items(folder / f"{suite}-corrected.json")][1] == ["B"],
              f"{suite}: the corrected row is scored by its new answer: {code} {err}")
    refused("run", "mmlu-redux", *MODEL, "--data", data, says="mmlu_redux")


def check_random_weights():
    code, out, err = run("run", "ruler", "--config", "tiny", "--models", "kimi-linear,mla", "--tokenizer", "bytes",
                         "--lengths", "1K", "--tasks", "fwe", "--samples", "1", "--allow-random-weights")
    check(code == 0 and "random weights" in out, f"random weights are named: {code} {err}")
    code, out, err = run("run", "decode", "memory", "--checkpoint", checkpoint, "--context", "32", "--steps", "2",
                         "--warmup", "1")
    check(code == 0 and "hf_tiny_a" in out, f"speed suites take a checkpoint: {code} {err}")


def check_smoke_plan():
    plan = source / "suites/plans/accuracy_smoke.json"
    trained = source / json.loads(plan.read_text())["checkpoint"]
    if not trained.exists():
        print(f"{trained} is not there: the smoke plan is not run")
        return
    report = folder / "smoke.json"
    code, out, err = run("run", "--plan", plan, "--out", report)
    check(code == 0, f"smoke plan: {code} {err}")
    needle = [c["accuracy"]["value"] for c in cells(report)
              if c["axes"]["task"] == "niah_single_1" and c["axes"]["model"] == "kimi-linear"]
    check(needle == [1.0], f"the trained hybrid finds a single needle at 1K: {needle}")


for part in (check_refusals, check_mmlu, check_ruler, check_made_up_tests, check_random_weights, check_smoke_plan):
    part()
shutil.rmtree(folder, ignore_errors=True)
print(f"{len(failures)} failures")
sys.exit(1 if failures else 0)
