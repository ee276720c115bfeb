#!/usr/bin/env python3
"""Writes a checkpoint folder of random bf16 weights in the layout of Kimi-Linear-48B: config.json, sharded safetensors
with their index, a rank file of the right size, and Kimi's chat turns. It knows nothing; it is for trying the path that a
real checkpoint takes, at its layer shapes and with as many layers and experts as fit.

usage: make_random_checkpoint.py OUT [--shape 48b|tiny] [--layers 4] [--experts 64] [--shards 3] [--seed 1]
"""
import argparse, base64, json, pathlib, struct
import numpy as np

SHAPES = {
    "48b": dict(hidden_size=2304, heads=32, linear_head_dim=128, nope=128, rope=64, value=128, rank=512,
                intermediate_size=9216, moe_intermediate_size=1024, top_k=8, vocab_size=163840),
    "tiny": dict(hidden_size=256, heads=4, linear_head_dim=64, nope=64, rope=32, value=64, rank=64,
                 intermediate_size=512, moe_intermediate_size=128, top_k=4, vocab_size=1024)}
SPECIAL = 256                                  # ids behind the ranks, as Kimi's vocabulary has
TURNS = {"[BOS]": 0, "[EOS]": 1, "<|im_end|>": 2, "<|im_user|>": 3, "<|im_assistant|>": 4, "<|im_system|>": 10,
         "<|im_middle|>": 17}
TEMPLATE = """{%- for message in messages -%}
{%- if loop.first and message['role'] != 'system' -%}<|im_system|>system<|im_middle|>You answer briefly.<|im_end|>{%- endif -%}
{%- if message['role'] == 'user' -%}<|im_user|>user<|im_middle|>{%- endif -%}{{ message['content'] }}<|im_end|>
{%- endfor -%}
{%- if add_generation_prompt -%}<|im_assistant|>assistant<|im_middle|>{%- endif -%}
"""
TAPS = 4


def config(s, layers, experts):
    kda = [i for i in range(1, layers + 1) if i % 4 != 0 and i != layers]
    return {"architectures": ["KimiLinearForCausalLM"], "model_type": "kimi_linear", "dtype": "bfloat16",
            "vocab_size": s["vocab_size"], "hidden_size": s["hidden_size"], "num_hidden_layers": layers,
            "num_attention_heads": s["heads"], "num_key_value_heads": s["heads"], "q_lora_rank": None,
            "kv_lora_rank": s["rank"], "qk_nope_head_dim": s["nope"], "qk_rope_head_dim": s["rope"],
            "v_head_dim": s["value"], "mla_use_nope": True, "hidden_act": "silu",
            "linear_attn_config": {"kda_layers": kda, "full_attn_layers": [i for i in range(1, layers + 1) if i not in kda],
                                   "num_heads": s["heads"], "head_dim": s["linear_head_dim"],
                                   "short_conv_kernel_size": TAPS},
            "intermediate_size": s["intermediate_size"], "first_k_dense_replace": 1, "moe_layer_freq": 1,
            "num_experts": experts, "num_experts_per_token": s["top_k"], "num_shared_experts": 1,
            "moe_intermediate_size": s["moe_intermediate_size"], "moe_renormalize": True,
            "moe_router_activation_func": "sigmoid", "routed_scaling_factor": 2.446, "num_expert_group": 1,
            "topk_group": 1, "rms_norm_eps": 1e-5, "tie_word_embeddings": False, "model_max_length": 1048576,
            "eos_token_id": s["vocab_size"] - SPECIAL + TURNS["<|im_end|>"], "pad_token_id": s["vocab_size"] - 1}


def tensors(c):
    """name, shape, kind; kind is the standard deviation, "ones", or the name of a tensor that is kept in fp32."""
    D, H, linear = c["hidden_size"], c["num_attention_heads"], c["linear_attn_config"]
    K, rank = linear["head_dim"], c["kv_lora_rank"]
    nope, rope, value = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"]
    yield "model.embed_tokens.weight", [c["vocab_size"], D], 0.02
    for layer in range(c["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        yield at + "input_layernorm.weight", [D], "ones"
        yield at + "post_attention_layernorm.weight", [D], "ones"
        mixer = at + "self_attn."
        if layer + 1 in linear["kda_layers"]:
            for name in "qkv":
                yield f"{mixer}{name}_proj.weight", [H * K, D], 0.02
                yield f"{mixer}{name}_conv1d.weight", [H * K, 1, TAPS], 0.29
            for name in ("f", "g"):
                yield f"{mixer}{name}_a_proj.weight", [K, D], 0.02
                yield f"{mixer}{name}_b_proj.weight", [H * K, K], 0.02
            yield mixer + "b_proj.weight", [H, D], 0.02
            yield mixer + "A_log", [1, 1, H, 1], "A_log"
            yield mixer + "dt_bias", [H * K], "dt_bias"
            yield mixer + "o_norm.weight", [K], "ones"
            yield mixer + "o_proj.weight", [D, H * K], 0.02
        else:
            yield mixer + "q_proj.weight", [H * (nope + rope), D], 0.02
            yield mixer + "kv_a_proj_with_mqa.weight", [rank + rope, D], 0.02
            yield mixer + "kv_a_layernorm.weight", [rank], "ones"
            yield mixer + "kv_b_proj.weight", [H * (nope + value), rank], 0.02
            yield mixer + "o_proj.weight", [D, H * value], 0.02
        if layer < c["first_k_dense_replace"]:
            inner = c["intermediate_size"]
            yield at + "mlp.gate_proj.weight", [inner, D], 0.02
            yield at + "mlp.up_proj.weight", [inner, D], 0.02
            yield at + "mlp.down_proj.weight", [D, inner], 0.02
            continue
        moe, inner = at + "block_sparse_moe.", c["moe_intermediate_size"]
        yield moe + "gate.weight", [c["num_experts"], D], 0.02
        yield moe + "gate.e_score_correction_bias", [c["num_experts"]], "bias"
        for expert in range(c["num_experts"]):
            yield f"{moe}experts.{expert}.w1.weight", [inner, D], 0.02
            yield f"{moe}experts.{expert}.w3.weight", [inner, D], 0.02
            yield f"{moe}experts.{expert}.w2.weight", [D, inner], 0.02
        yield moe + "shared_experts.gate_proj.weight", [inner, D], 0.02
        yield moe + "shared_experts.up_proj.weight", [inner, D], 0.02
        yield moe + "shared_experts.down_proj.weight", [D, inner], 0.02
    yield "model.norm.weight", [D], "ones"
    yield "lm_head.weight", [c["vocab_size"], D], 0.02


class Draws:
    """Random numbers out of one pool, from another place each time: gigabytes in seconds."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.pool = self.random.standard_normal(1 << 24, dtype=np.float32)
        self.bf16 = {}

    def values(self, kind, count):
        if kind == "ones":
            return np.full(count, 0x3F80, np.uint16)
        if kind == "A_log":
            return np.log(self.random.uniform(1, 16, count)).astype(np.float32)
        if kind == "dt_bias":
            dt = np.exp(self.random.uniform(np.log(0.001), np.log(0.1), count))
            return (dt + np.log(-np.expm1(-dt))).astype(np.float32)
        if kind == "bias":
            return self.random.normal(0, 0.01, count).astype(np.float32)
        if kind not in self.bf16:
            self.bf16[kind] = ((self.pool * kind).view(np.uint32) >> 16).astype(np.uint16)
        pool, first = self.bf16[kind], int(self.random.integers(1 << 24))
        repeats = (first + count) // pool.size + 1
        return np.tile(pool, repeats)[first:first + count] if repeats > 1 else pool[first:first + count]


def write_shard(path, entries, draws):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape, kind in entries:
        fp32 = isinstance(kind, str) and kind != "ones"
        size = int(np.prod(shape)) * (4 if fp32 else 2)
        header[name] = {"dtype": "F32" if fp32 else "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, shape, kind in entries:
            file.write(draws.values(kind, int(np.prod(shape))).tobytes())
    return offset


def write_tokenizer(out, vocab_size):
    """All single bytes, then pairs, then triples: every text has ids, and merges happen."""
    ranks = vocab_size - SPECIAL
    with open(out / "tiktoken.model", "w") as file:
        for rank in range(ranks):
            pair, triple = rank - 256, rank - 256 - 65536
            token = bytes([rank]) if pair < 0 else bytes(divmod(pair, 256)) if triple < 0 else \
                bytes([triple >> 16, triple >> 8 & 255, triple & 255])
            file.write(f"{base64.b64encode(token).decode()} {rank}\n")
    added = {str(ranks + at): {"content": name, "special": True} for name, at in TURNS.items()}
    (out / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": added}, indent=1) + "\n")
    (out / "chat_template.jinja").write_text(TEMPLATE)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--shape", choices=SHAPES, default="48b")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--experts", type=int, default=64)
    parser.add_argument("--shards", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    c = config(SHAPES[options.shape], options.layers, options.experts)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "config.json").write_text(json.dumps(c, indent=1) + "\n")
    if options.shape == "48b":
        write_tokenizer(options.out, c["vocab_size"])  # a Kimi rank file has one size; others use --tokenizer bytes
    entries, draws, index, total = list(tensors(c)), Draws(options.seed), {}, 0
    size = -(-sum(int(np.prod(shape)) for _, shape, _ in entries) // options.shards)
    shards, held = [[]], 0
    for entry in entries:
        if held >= size and len(shards) < options.shards:
            shards.append([])
            held = 0
        shards[-1].append(entry)
        held += int(np.prod(entry[1]))
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        total += write_shard(options.out / name, shard, draws)
        index.update({entry[0]: name for entry in shard})
    (options.out / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": total}, "weight_map": index}) + "\n")
    print(f"{options.out}: {len(entries)} tensors, {total / 1e9:.2f} GB in {len(shards)} shards")


if __name__ == "__main__":
    main()
