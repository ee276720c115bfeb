#!/usr/bin/env python3
"""The HTML report, exports and migration through the program, and broken files for every command that reads reports.

Usage: check_html.py SOURCE_DIR KDABENCH

The page is well formed, loads nothing, holds every cell with its provenance; each command answers each broken file with
exit code 2 (or its own verdict) and one sentence. No browser is needed.
"""
import html.parser
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile

source, kdabench = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
REPORT = source / "reports/results/h200-decode.json"
KERNELS = source / "reports/results/h200-kernels.json"
SYNTHETIC = source / "tests/data/synthetic.json"
VOID = {"meta", "img", "input", "br"}


def run(*words) -> subprocess.CompletedProcess:
    return subprocess.run([kdabench, *map(str, words)], capture_output=True, timeout=120, cwd=source)


class Page(html.parser.HTMLParser):
    """Checks nesting; collects ids, links, text and the rows of tables."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.ids, self.links, self.words, self.rows = [], set(), [], [], 0
        self.feed(text)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        self.rows += tag == "tr"
        for name, value in attributes:
            if name == "id":
                assert value not in self.ids, f"id {value} twice"
                self.ids.add(value)
            if name in ("src", "href", "srcset", "action", "data"):
                self.links.append(value)

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        self.words.append(data)


def check_page(folder: pathlib.Path) -> None:
    out = folder / "report.html"
    done = run("report", REPORT, KERNELS, "--html", out, "--figures", source / "reports/results")
    assert done.returncode == 0 and not done.stderr, done.stderr
    text = out.read_text()
    page = Page(text)
    for link in page.links:
        inside = link.startswith("data:image/svg+xml;base64,") or link[0] == "#" and link[1:] in page.ids
        assert inside, f"loads {link[:60]}"
    assert not re.search(r"@import|url\(|https?://(?!www\.w3\.org)", text), "the page names something outside itself"
    assert "default-src 'none'" in text
    figures = list((source / "reports/results").glob("*.svg"))
    assert len([link for link in page.links if link.startswith("data:")]) == len(figures)
    said = "".join(page.words)
    report = json.loads(REPORT.read_text())
    for cell in report["cells"]:
        assert cell["id"] in said, f"{cell['id']} is not in the page"
    cells = len(report["cells"]) + len(json.loads(KERNELS.read_text())["benchmarks"])
    assert said.count("validity") >= cells
    assert said.count("fingerprint " + report["machine"]["fingerprint"]) >= len(report["cells"])
    meta = report["meta"]
    for words in (meta["git_commit"], meta["command"], "not reproduced", "Decomposition at 1M", "SM 1"):
        assert words in said, f"{words} is not in the page"
    again = folder / "again.html"
    run("report", REPORT, KERNELS, "--html", again, "--figures", source / "reports/results")
    assert again.read_text() == text, "two runs differ"
    done = run("report", REPORT, "--html", out)
    assert done.returncode == 2 and b"--force" in done.stderr
    done = run("report", REPORT, "--html", folder / "x.html", "--figures", folder / "none")
    assert done.returncode == 2 and b"folder of figures" in done.stderr

    # Kernels with what they take, in each cell that knows it: name, launches, registers, local and shared bytes.
    assert run("report", SYNTHETIC, "--html", folder / "kernels.html").returncode == 0
    words = "".join(Page((folder / "kernels.html").read_text()).words)
    ran = sum("resources" in cell for cell in json.loads(SYNTHETIC.read_text())["cells"])
    assert words.count("few_kernel<8>2715316164096") == ran == 53, words.count("few_kernel<8>")

    # What a report says is text in the page, whatever it says.
    hostile = json.loads(SYNTHETIC.read_text())
    hostile["meta"]["command"] = '<script>alert(1)</script> "\'& </dl>'
    hostile["cells"][0]["validity"]["reasons"] = [{"code": "<img src=x>", "detail": "</table>"}]
    (folder / "hostile.json").write_text(json.dumps(hostile))
    assert run("report", folder / "hostile.json", "--html", folder / "hostile.html").returncode == 0
    text = (folder / "hostile.html").read_text()
    Page(text)
    assert "<script>alert" not in text and "<img src=x>" not in text


def check_exports(folder: pathlib.Path) -> None:
    forms = re.search(rb"google-benchmark.*latex", run("export", "--help").stdout)[0].decode().split(", ")
    assert len(forms) == 7, forms
    for form in forms:
        done = run("export", REPORT, "--format", form)
        assert done.returncode == 0 and done.stdout, f"{form}: {done.stderr}"
        to_file = run("export", REPORT, "--format", form, "--out", folder / form)
        assert to_file.returncode == 0 and (folder / form).read_bytes() == done.stdout, form
        assert run("export", REPORT, "--format", form, "--out", folder / form).returncode == 2, "it replaced a file"
    made = folder / "migrated.json"
    old = source / "tests/data/golden/report-1.0.0.json"
    assert run("migrate", old, "--out", made).returncode == 0 and run("validate", made).returncode == 0
    newer = json.loads(old.read_text())
    for version, says in (("1.999.0", b"use the kdabench that wrote it"), ("2.0.0", b"use the kdabench that wrote it"),
                          ("0.1.0", b"no kdabench ever"), ("one", b"MAJOR.MINOR.PATCH")):
        (folder / "newer.json").write_text(json.dumps({**newer, "schema_version": version}))
        done = run("migrate", folder / "newer.json", "--out", folder / "never.json")
        assert done.returncode == 2 and says in done.stderr, done.stderr
    assert not (folder / "never.json").exists()


def check_broken(folder: pathlib.Path) -> int:
    """Files no reader may accept; what may pass `validate` only is fuzzed in tests/test_reports_fuzz.cpp."""
    good = SYNTHETIC.read_text()
    rng = random.Random(1)
    documents = [b"", b"{", b"[" * 100_000, b'{"a":' * 100_000, b"\xff\xfe" + good.encode(), b"null", b"1e999",
                 good.replace('"batch": 1', '"batch": 1e400', 1).encode(),
                 good.replace("same-batch", "\x00", 1).encode(),
                 good.replace('"cells"', '"sells"').encode(),
                 good.replace("mla", "\udcff", 1).encode("utf-8", "surrogateescape")]
    documents += [good[:rng.randrange(1, len(good) - 4)].encode() for _ in range(6)]
    out = ("--out", folder / "no.json")
    commands = [("validate", "{}"), ("table", "{}"), ("compare", "{}", SYNTHETIC), ("compare", SYNTHETIC, "{}"),
                ("claims", "{}"), ("export", "{}", "--format", "csv"), ("export", "{}", "--format", "nvbench"),
                ("migrate", "{}", *out), ("report", "{}", "--html", folder / "no.html")]
    if b"\n  gate " in run("--help").stdout:
        commands += [("gate", "{}", SYNTHETIC), ("gate", SYNTHETIC, "{}")]
    file = folder / "broken.json"
    for i, document in enumerate(documents):
        file.write_bytes(document)
        for command in commands:
            done = run(*[str(file) if word == "{}" else word for word in command])
            where = f"{command[0]}, document {i}"
            said = done.stderr.decode() or done.stdout.decode()
            assert done.returncode == 2, f"{where}: exit code {done.returncode}: {said[-300:]}"
            if command[0] != "gate":
                assert said.startswith("kdabench: ") and said.count("\n") == 1, f"{where}: {said[:300]!r}"
    assert not (folder / "no.json").exists() and not (folder / "no.html").exists()
    return len(documents) * len(commands)


with tempfile.TemporaryDirectory() as name:
    check_page(pathlib.Path(name))
    check_exports(pathlib.Path(name))
    broken = check_broken(pathlib.Path(name))
print(f"the page is whole and loads nothing; 7 forms; {broken} broken files refused")
