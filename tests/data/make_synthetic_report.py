#!/usr/bin/env python3
"""Writes synthetic.json, a report of the shape a decode run has. Every number comes from the formulas here.

Usage: python3 tests/data/make_synthetic_report.py [OUT.json]
"""
import json
import pathlib
import sys

CONTEXTS = [4096 << i for i in range(9)]
MLA_LAYERS = {"mla": 27, "gdn-h": 7, "kimi-linear": 7}
STATE_BYTES = {"mla": 0, "gdn-h": 50_000_000, "kimi-linear": 50_000_000}
BYTES_PER_TOKEN_LAYER = 1152
WEIGHT_BYTES = 6_000_000_000
READ_BYTES_PER_S = 4.0e12
BUDGET = 48 << 30
# Of each kernel: the part that it serves, its instance, registers, local bytes, static and dynamic shared bytes.
KERNELS = {"gemv": ("projections", "gemv_kernel<Bf16>", 62, 0, 1024, 131072),
           "mla_split": ("attention", "mla_split_kernel", 104, 0, 1024, 186368),
           "kda_decode": ("recurrence", "kda_decode_kernel<128, false, 1, 0>", 116, 0, 2592, 0),
           "moe_few": ("experts", "few_kernel<8>", 153, 16, 16640, 147456)}
FRACTION = {"mla": 0.66, "gdn-h": 0.63, "kimi-linear": 0.62}


def kernels_of(model: str) -> tuple[dict, dict]:
    names = [name for name in KERNELS if name != "kda_decode" or model != "mla"]
    parts = dict.fromkeys(("projections", "attention", "recurrence", "experts", "dense", "head", "norms"))
    parts.update({KERNELS[name][0]: name for name in names})
    fields = ("instance", "registers", "local_bytes", "static_shared_bytes", "dynamic_shared_bytes")
    rows = [{"name": name, "launches": 27, **dict(zip(fields, KERNELS[name][1:]))} for name in names]
    return parts, {"kernels": rows, "reason": ""}


def cell(model: str, context: int, protocol: str) -> dict:
    per_token = MLA_LAYERS[model] * BYTES_PER_TOKEN_LAYER
    sequence = context * per_token + STATE_BYTES[model]
    same_memory = protocol == "same-memory"
    batch = max(1, BUDGET // sequence) if same_memory else 1
    axes = {"model": model, "config": "synthetic", "device": "cuda", "dtype": "bf16", "context": context,
            "batch": batch, "protocol": protocol, "cache_budget_bytes": BUDGET if same_memory else None,
            "fill": "random", "steps": 5, "task": None}
    name = f"decode/model={model};config=synthetic;device=cuda;dtype=bf16;context={context}"
    name += "" if same_memory else f";batch={batch}"
    name += f";protocol={protocol}" + (f";cache_budget={BUDGET}" if same_memory else "")

    cache, state = batch * context * per_token, 2 * batch * STATE_BYTES[model]
    floor_ns = (WEIGHT_BYTES + cache + state) / READ_BYTES_PER_S * 1e9
    fraction = FRACTION[model] * (0.7 + 0.03 * CONTEXTS.index(context))
    median, unit = round(floor_ns / fraction), 1000
    step_ns = [median + unit * offset for offset in (0, 2, -1, 1, -2)]
    stats = {"n": 5, "min_ns": median - 2 * unit, "q1_ns": median - unit, "median_ns": median,
             "q3_ns": median + unit, "p95_ns": median + 1.8 * unit, "p99_ns": median + 1.96 * unit,
             "max_ns": median + 2 * unit, "mean_ns": median, "stddev_ns": 1.5811 * unit, "mad_ns": unit}
    made = {
        "id": name, "suite": "decode", "axes": axes, "status": "ok", "status_reason": "",
        "validity": {"valid": True, "reasons": []},
        "timing": {"clock": "cuda_event", "graph": True, "stats": stats, "tpot_ns": median / batch,
                   "wall_median_ns": None, "build_graph_ns": None},
        "throughput": {"tokens_per_s": batch * 1e9 / median, "bytes_per_s": None},
        "memory": {"parameters": 3_000_000_000, "weight_bytes": WEIGHT_BYTES,
                   "cache_bytes_per_token": per_token, "state_bytes_per_sequence": STATE_BYTES[model],
                   "cache_bytes_analytic": batch * sequence, "cache_bytes_allocated": batch * sequence,
                   "cache_bytes_driver": None, "workspace_bytes": None, "peak_device_bytes": None,
                   "reason": "synthetic"},
        "floor": {"bytes": WEIGHT_BYTES + cache + state, "flops": 0, "time_ns": floor_ns,
                  "fraction": floor_ns / median, "weight_bytes": WEIGHT_BYTES, "expert_bytes": 0,
                  "cache_bytes": cache, "state_bytes": state, "head_bytes": 0, "distinct_experts": None,
                  "distinct_experts_source": ""},
        "samples": {"step_ns": step_ns, "sm_clock_hz": []},
    }
    made["kernels"], made["resources"] = kernels_of(model)
    if not same_memory:
        parts = {"projections": 0.2 * WEIGHT_BYTES, "attention": cache, "recurrence": state,
                 "experts": 0.8 * WEIGHT_BYTES}
        times = {part: round(0.9 * moved / READ_BYTES_PER_S * 1e9 / fraction) for part, moved in parts.items()}
        made["breakdown"] = {
            "method": "synthetic", "step_ns": median, "remainder_ns": median - sum(times.values()),
            "parts": [{"name": part, "time_ns": times[part], "bytes": round(moved),
                       "floor_ns": moved / READ_BYTES_PER_S * 1e9} for part, moved in parts.items() if moved]}
    return made


def out_of_memory(model: str, context: int, protocol: str) -> dict:
    made = cell(model, context, protocol)
    for speed in ("timing", "throughput", "floor", "samples", "breakdown", "kernels", "resources"):
        made.pop(speed, None)
    made["status"], made["status_reason"] = "oom", "wanted 49 GiB of cache, found 48 GiB free"
    return made


def report() -> dict:
    cells = [cell(model, context, protocol) for protocol in ("same-batch", "same-memory")
             for model in MLA_LAYERS for context in CONTEXTS]
    cells[8] = out_of_memory("mla", CONTEXTS[8], "same-batch")
    command = "kdabench decode --config synthetic --out synthetic.json"
    return {
        "schema": "kdabench/report", "schema_version": "1.0.0",
        "meta": {"argv": command.split(), "command": command, "tool_version": "0.0.0",
                 "git_commit": "synthetic", "git_dirty": False, "compiler": "none", "build_type": "none",
                 "cuda_version": "none", "cuda_architectures": "none", "started_utc": "2000-01-01T00:00:00Z",
                 "finished_utc": "2000-01-01T00:00:01Z", "seed": 1, "options": {"config": "synthetic"}},
        "machine": {"fingerprint": "synthetic", "os": "none", "cpu": "Synthetic CPU", "cores": 1,
                    "memory_bytes": 1},
        "devices": [{"kind": "cuda", "name": "Synthetic GPU", "driver": "0", "memory_bytes": None,
                     "l2_bytes": None, "multiprocessors": None, "compute_capability": None,
                     "power_limit_milliwatts": None, "uuid_hash": None, "ecc": None, "reason": "synthetic"}],
        "ceilings": {"copy_bytes_per_s": None, "read_bytes_per_s": READ_BYTES_PER_S, "gemm_flops_per_s": None,
                     "method": "chosen"},
        "cells": cells,
    }


if __name__ == "__main__":
    beside = pathlib.Path(__file__).with_name("synthetic.json")
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else beside
    made = report()
    head = json.dumps({key: value for key, value in made.items() if key != "cells"}, indent=1)[:-2]
    lines = ",\n".join("  " + json.dumps(one) for one in made["cells"])
    out.write_text(f'{head},\n "cells": [\n{lines}\n ]\n}}\n')
