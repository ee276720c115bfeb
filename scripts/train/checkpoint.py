"""Checkpoint folders in the Hugging Face format of Kimi-Linear-48B: config.json and model.safetensors (bf16; A_log
and
dt_bias fp32), with that model's tensor names. GDN's only name of its own is a_proj, its forget gate's projection."""

import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from model import TAPS, Config, Model


def named_slices(config: Config, layer, prefix):
    """(name, tensor) of one layer; slices of fused matrices are views, so that loading writes through them."""
    c, m = config, layer
    H, K = c.heads, c.head_dim
    mixer = prefix + "self_attn."
    yield prefix + "input_layernorm.weight", m.norm.data
    yield prefix + "post_attention_layernorm.weight", m.norm2.data
    yield prefix + "mlp.gate_proj.weight", m.gate_up.data[: c.intermediate_size]
    yield prefix + "mlp.up_proj.weight", m.gate_up.data[c.intermediate_size :]
    yield prefix + "mlp.down_proj.weight", m.down.data
    yield mixer + "o_proj.weight", m.w_out.data
    row = 0

    def take(name, rows):
        nonlocal row
        row += rows
        return mixer + name, m.w_in.data[row - rows : row]

    if m.kind == "mla":
        yield take("q_proj.weight", H * (c.nope_dim + c.rope_dim))
        yield take("kv_a_proj_with_mqa.weight", c.rank + c.rope_dim)
        yield mixer + "kv_a_layernorm.weight", m.kv_norm.data
        yield mixer + "kv_b_proj.weight", m.kv_b.data
        return
    kda = m.kind == "kda"
    for name in "qkv":
        yield take(f"{name}_proj.weight", H * K)
    yield take("g_a_proj.weight", K)
    yield take("f_a_proj.weight", K) if kda else take("a_proj.weight", H)
    yield take("b_proj.weight", H)
    for i, name in enumerate("qkv"):
        yield mixer + f"{name}_conv1d.weight", m.conv.data[i * H * K : (i + 1) * H * K].view(H * K, 1, TAPS)
    yield mixer + "A_log", m.a_log.data.view(1, 1, H, 1)
    yield mixer + "dt_bias", m.dt_bias.data
    if kda:
        yield mixer + "f_b_proj.weight", m.f_b.data
    yield mixer + "g_b_proj.weight", m.g_b.data
    yield mixer + "o_norm.weight", m.o_norm.data


def named_tensors(model: Model):
    yield "model.embed_tokens.weight", model.embedding.data
    for i, layer in enumerate(model.layers):
        yield from named_slices(model.config, layer, f"model.layers.{i}.")
    yield "model.norm.weight", model.norm.data
    yield "lm_head.weight", model.head.data


def keeps_fp32(name):
    return name.endswith(("A_log", "dt_bias"))


def save(model: Model, folder, training: dict):
    """Writes the folder under another name and renames it: a killed run leaves no half checkpoint.
    `training` goes into training.json: what the model was trained on, for how long, and what came of it."""
    folder = Path(folder)
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: t.float().cpu().contiguous() if keeps_fp32(name) else t.to(torch.bfloat16).cpu().contiguous()
        for name, t in named_tensors(model)
    }
    save_file(tensors, partial / "model.safetensors", metadata={"format": "pt"})
    (partial / "config.json").write_text(json.dumps(model.config.hf(), indent=2) + "\n")
    (partial / "training.json").write_text(json.dumps(training, indent=1) + "\n")
    if folder.exists():
        for file in partial.iterdir():
            os.replace(file, folder / file.name)
        partial.rmdir()
    else:
        partial.rename(folder)


def read_config(folder, architecture):
    j = json.loads((Path(folder) / "config.json").read_text())
    linear = j["linear_attn_config"]
    return Config(
        architecture=architecture,
        vocab_size=j["vocab_size"],
        hidden_size=j["hidden_size"],
        layers=j["num_hidden_layers"],
        linear_layers=linear["kda_layers"],
        heads=j["num_attention_heads"],
        head_dim=linear["head_dim"],
        nope_dim=j["qk_nope_head_dim"],
        rope_dim=j["qk_rope_head_dim"],
        value_dim=j["v_head_dim"],
        rank=j["kv_lora_rank"],
        intermediate_size=j["intermediate_size"],
        max_length=j["model_max_length"],
        eos_token_id=j["eos_token_id"],
        rope_theta=0.0 if j.get("mla_use_nope", True) else float(j["rope_theta"]),
    )


def load(folder, architecture, **options):
    model = Model(read_config(folder, architecture), **options)
    stored = load_file(Path(folder) / "model.safetensors")
    for name, tensor in named_tensors(model):
        tensor.copy_(stored.pop(name))
    if stored:
        raise ValueError(f"{folder}: tensors {sorted(stored)[:3]} belong to no part of {architecture}.")
    return model.eval()
