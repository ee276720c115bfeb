"""Reads reports and picks the cells a figure needs. Nothing here draws."""
from __future__ import annotations

import json
import pathlib
from collections import Counter
from dataclasses import dataclass, field

MODELS = ["mla", "gdn-h", "kimi-linear"]  # in the order of the paper's tables


class NotDrawable(Exception):
    """A figure cannot be drawn from these reports; the text says what is missing, in one sentence."""


@dataclass
class Reports:
    """The cells of all reports, joined by id: of two cells with one id, the later report's counts."""

    cells: list[dict] = field(default_factory=list)
    device: str = ""
    command: str = ""
    kernels: dict[str, float] = field(default_factory=dict)  # kernel_bench's rows: name without settings -> ns
    comparisons: list[dict] = field(default_factory=list)    # documents of kdabench ab
    ceilings: dict = field(default_factory=dict)             # of the first report that has them

    def decode(self, protocol: str) -> list[dict]:
        return [c for c in self.cells if c["suite"] == "decode" and c["axes"]["protocol"] == protocol]


def kernel_rows(document: dict) -> dict[str, float]:
    """Google Benchmark's rows: "kda/prefill/T=2048/iterations:20/manual_time" -> "kda/prefill/T=2048", in ns."""
    unit = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}
    rows = {}
    for row in document["benchmarks"]:
        if row.get("run_type") != "aggregate" and not row.get("error_occurred"):
            parts = [p for p in row["name"].split("/") if ":" not in p and not p.endswith("_time")]
            rows["/".join(parts)] = row["real_time"] * unit[row["time_unit"]]
    return rows


def load(paths: list[str]) -> Reports:
    by_id: dict[str, dict] = {}
    devices, commands, found = [], [], Reports()
    for path in paths:
        try:
            report = json.loads(pathlib.Path(path).read_text())
        except OSError as error:
            raise SystemExit(f"{path}: wanted a report, found {error.strerror}; check the path")
        except ValueError as error:
            raise SystemExit(f"{path}: wanted JSON, found {error}; run kdabench validate")
        if isinstance(report, dict) and report.get("schema") == "kdabench/ab" and isinstance(report.get("cells"), list):
            found.comparisons.append(report)
            continue
        if isinstance(report, dict) and "schema" not in report and isinstance(report.get("benchmarks"), list):
            try:
                found.kernels |= kernel_rows(report)
            except (KeyError, TypeError) as error:
                raise SystemExit(f"{path}: wanted rows of Google Benchmark, found none with {error}; write it again")
            continue
        if not isinstance(report, dict) or report.get("schema") != "kdabench/report":
            raise SystemExit(f"{path}: wanted schema kdabench/report, found another; give a kdabench report")
        if str(report.get("schema_version", "")).split(".")[0] != "1":
            raise SystemExit(f"{path}: wanted schema_version 1.x, found {report.get('schema_version')}; "
                             "use the kdabench that wrote it")
        try:
            for cell in report["cells"]:
                by_id[cell["id"]] = cell
            counts = Counter(device["name"] for device in report["devices"]) or {report["machine"]["cpu"]: 1}
            devices += [name if count == 1 else f"{count} x {name}" for name, count in counts.items()]
            commands.append(report["meta"]["command"])
            found.ceilings = found.ceilings or report["ceilings"]
        except (KeyError, TypeError) as error:
            raise SystemExit(f"{path}: wanted a whole report, found no {error}; run kdabench validate")
    found.cells = list(by_id.values())
    found.device = " + ".join(dict.fromkeys(devices))
    found.command = "; ".join(dict.fromkeys(commands))
    return found


def paper() -> dict:
    return json.loads(pathlib.Path(__file__).with_name("paper_points.json").read_text())


def number(value) -> float | None:
    """Integers beyond 2^53 are strings of digits in a report."""
    return None if value is None else float(value)


def timed(cell: dict) -> bool:
    return cell["status"] == "ok" and "timing" in cell


def tpot_ms(cell: dict) -> float | None:
    return cell["timing"]["tpot_ns"] / 1e6 if timed(cell) else None


def fraction_of_floor(cell: dict) -> float | None:
    return cell["floor"]["fraction"] if timed(cell) and "floor" in cell else None


def cache_bytes_per_sequence(cell: dict) -> float | None:
    if "memory" not in cell:
        return None
    memory, context = cell["memory"], cell["axes"]["context"]
    total = number(memory["cache_bytes_per_token"]) * context + number(memory["state_bytes_per_sequence"])
    return total or None  # a cell that was skipped counted nothing


def one_setting(cells: list[dict], what: str, budgets_alike: bool = False) -> list[dict]:
    """The cells of the setting with the most cells: no line mixes configs, dtypes, devices or budgets."""
    groups: dict[tuple, list[dict]] = {}
    for cell in cells:
        axes = cell["axes"]
        budget = None if budgets_alike else axes["cache_budget_bytes"]
        groups.setdefault((axes["config"], axes["device"], axes["dtype"], budget), []).append(cell)
    if not groups:
        raise NotDrawable(f"{what}: the reports have no such cells")
    chosen = max(groups.values(), key=len)
    if len(groups) > 1:
        axes = chosen[0]["axes"]
        print(f"{what}: {len(groups)} settings in the reports; drawing {axes['config']} {axes['device']} "
              f"{axes['dtype']}, which has the most cells")
    return chosen


def by_model(cells: list[dict], value) -> dict[str, dict[int, float]]:
    """Model -> context -> value, in the paper's order; what has no value is left out."""
    found: dict[str, dict[int, float]] = {}
    for cell in sorted(cells, key=lambda c: c["axes"]["context"]):
        y = value(cell)
        if y is not None:
            found.setdefault(cell["axes"]["model"], {})[cell["axes"]["context"]] = y
    order = MODELS + sorted(set(found) - set(MODELS))
    return {model: found[model] for model in order if model in found}


def without_time(cells: list[dict]) -> list[tuple[str, int, str]]:
    return sorted((c["axes"]["model"], c["axes"]["context"], c["status"]) for c in cells if not timed(c))
