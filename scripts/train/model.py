"""The three architectures from one config, as harness/engine builds them: KDA or GDN in `linear_layers`, MLA
elsewhere.

Everything between the delta-rule kernels is a function of tensors that torch.compile fuses: one compilation serves
all
layers of a kind. Weights are fp32; products are taken in `compute` (bf16 in training, fp32 for the comparison with
C++).
"""

from dataclasses import asdict, dataclass, field

import torch
import torch.nn.functional as F
from torch import nn

from delta_rule import delta_rule

NORM_EPS, LATENT_EPS, TAPS = 1e-5, 1e-6, 4


@dataclass
class Config:
    architecture: str = "kimi-linear"  # kimi-linear, mla or gdn-h: which mixer the linear layers have
    vocab_size: int = 256
    hidden_size: int = 256
    layers: int = 8
    linear_layers: list = field(default_factory=lambda: [1, 2, 3, 5, 6, 7])  # 1-based, as in config.json
    heads: int = 4
    head_dim: int = 64  # KDA and GDN
    nope_dim: int = 64  # MLA
    rope_dim: int = 32
    value_dim: int = 64
    rank: int = 192
    rope_theta: float = 0.0  # 0: no positions anywhere (NoPE)
    intermediate_size: int = 256
    max_length: int = 16384
    eos_token_id: int | None = None

    def mixer(self, layer):
        """kda, gdn or mla of a 0-based layer."""
        if self.architecture == "mla" or layer + 1 not in self.linear_layers:
            return "mla"
        return {"kimi-linear": "kda", "gdn-h": "gdn"}[self.architecture]

    def hf(self):
        """config.json of a checkpoint. Every layer's feed-forward is dense: first_k_dense_replace covers all of
        them."""
        return {
            "architectures": ["KimiLinearForCausalLM"],
            "model_type": "kimi_linear",
            "dtype": "bfloat16",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "q_lora_rank": None,
            "kv_lora_rank": self.rank,
            "qk_nope_head_dim": self.nope_dim,
            "qk_rope_head_dim": self.rope_dim,
            "v_head_dim": self.value_dim,
            "mla_use_nope": self.rope_theta == 0,
            "rope_theta": self.rope_theta or 10000.0,
            "hidden_act": "silu",
            "linear_attn_config": {
                "kda_layers": self.linear_layers,
                "full_attn_layers": [i for i in range(1, self.layers + 1) if i not in self.linear_layers],
                "num_heads": self.heads,
                "head_dim": self.head_dim,
                "short_conv_kernel_size": TAPS,
            },
            "intermediate_size": self.intermediate_size,
            "first_k_dense_replace": self.layers,
            "moe_layer_freq": 1,
            "num_experts": 0,
            "num_experts_per_token": 0,
            "num_shared_experts": 0,
            "moe_intermediate_size": 0,
            "moe_renormalize": True,
            "moe_router_activation_func": "sigmoid",
            "routed_scaling_factor": 1.0,
            "use_grouped_topk": True,
            "num_expert_group": 1,
            "topk_group": 1,
            "rms_norm_eps": NORM_EPS,
            "tie_word_embeddings": False,
            "initializer_range": 0.02,
            "model_max_length": self.max_length,
            "bos_token_id": None,
            "eos_token_id": self.eos_token_id,
            "pad_token_id": None,
        }


def rms_norm(x, weight, eps=NORM_EPS):
    x = x.float()
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps) * weight


def linear(x, weight, compute):
    return F.linear(x.to(compute), weight.to(compute))


def delta_inputs(x, norm, w_in, conv, f_b, g_b, heads, head_dim, per_channel: bool, compute: torch.dtype):
    """Residual x [B, T, D] -> q, k, v [B, T, H, K] after the short convolution, raw gate [B, T, H, G], beta, out
    gate."""
    B, T, _ = x.shape
    key = heads * head_dim
    rows = linear(rms_norm(x, norm), w_in, compute)
    sizes = [3 * key, head_dim, head_dim if per_channel else heads, heads]
    qkv, g_a, f_a, beta = rows[..., : sum(sizes)].split(sizes, -1)
    padded = F.pad(qkv.float(), (0, 0, TAPS - 1, 0))
    qkv = F.silu(sum(conv[:, j] * padded[:, j : j + T] for j in range(TAPS))).to(compute)
    q, k, v = (y.reshape(B, T, heads, head_dim) for y in qkv.split(key, -1))
    gate = linear(f_a, f_b, compute).view(B, T, heads, head_dim) if per_channel else f_a.unsqueeze(-1)
    return q, k, v, gate, torch.sigmoid(beta.float()), linear(g_a, g_b, compute)


def feed_forward(x, norm, gate_up, down, compute: torch.dtype):
    gate, up = linear(rms_norm(x, norm), gate_up, compute).chunk(2, -1)
    return x + linear(F.silu(gate.float()) * up.float(), down, compute).float()


def delta_outputs(x, read, out_gate, o_norm, w_out, norm, gate_up, down, compute: torch.dtype):
    """Head norm, output gate and projection, then the feed-forward: the residual after the block."""
    B, T, heads, head_dim = read.shape
    read = rms_norm(read, o_norm) * torch.sigmoid(out_gate.float()).view(B, T, heads, head_dim)
    x = x + linear(read.reshape(B, T, -1), w_out, compute).float()
    return feed_forward(x, norm, gate_up, down, compute)


def rotated(x, theta: float):
    """Interleaved pairs (2 i, 2 i + 1) of x [B, T, .., P] turned by position * theta^(-2 i / P)."""
    T, P = x.shape[1], x.shape[-1]
    rates = theta ** (-torch.arange(0, P, 2, device=x.device, dtype=torch.float32) / P)
    angles = torch.arange(T, device=x.device, dtype=torch.float32)[:, None] * rates
    angles = angles.view(1, T, *[1] * (x.ndim - 3), P // 2)
    even, odd = x.float().unflatten(-1, (P // 2, 2)).unbind(-1)
    turned = (even * angles.cos() - odd * angles.sin(), even * angles.sin() + odd * angles.cos())
    return torch.stack(turned, -1).flatten(-2).to(x.dtype)


def mla_block(x, norm, w_in, kv_norm, kv_b, w_out, norm2, gate_up, down, heads, dims, compute: torch.dtype):
    """A whole block with multi-head latent attention; dims = (nope, rope, value, rank, theta), theta 0 is NoPE."""
    B, T, _ = x.shape
    nope, rope, value, rank, theta = dims
    rows = linear(rms_norm(x, norm), w_in, compute)
    q, latent, k_pe = rows[..., : heads * (nope + rope) + rank + rope].split([heads * (nope + rope), rank, rope], -1)
    q = q.view(B, T, heads, nope + rope)
    if theta > 0:
        q = torch.cat([q[..., :nope], rotated(q[..., nope:], theta)], -1)
        k_pe = rotated(k_pe, theta)
    q = q.transpose(1, 2)
    k_v = linear(rms_norm(latent, kv_norm, LATENT_EPS), kv_b, compute).view(B, T, heads, nope + value)
    k = torch.cat([k_v[..., :nope], k_pe[:, :, None].expand(B, T, heads, rope)], -1).transpose(1, 2)
    v = F.pad(k_v[..., nope:], (0, nope + rope - value)).transpose(1, 2)  # flash attention wants equal widths
    read = F.scaled_dot_product_attention(q, k, v, is_causal=True)[..., :value]
    x = x + linear(read.transpose(1, 2).reshape(B, T, -1), w_out, compute).float()
    return feed_forward(x, norm2, gate_up, down, compute)


def head_logits(x, norm, head, compute: torch.dtype):
    return linear(rms_norm(x, norm), head, compute).float()


def weighted_loss(x, norm, head, targets, weights, compute: torch.dtype):
    """Mean cross entropy over positions, each counted with its weight; and which positions are right [B, T]."""
    logits = head_logits(x, norm, head, compute)
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(weights)
    return (loss * weights).sum() / weights.sum().clamp_min(1), logits.argmax(-1) == targets, loss


def padded_rows(rows):
    return (rows + 63) // 64 * 64  # products run fastest on multiples of 64


def normal(*shape, std=0.02):
    return nn.Parameter(torch.randn(*shape) * std)


class Layer(nn.Module):
    def __init__(self, c: Config, index):
        super().__init__()
        D, H, K, I = c.hidden_size, c.heads, c.head_dim, c.intermediate_size
        self.kind = c.mixer(index)
        last = 0.02 / (2 * c.layers) ** 0.5  # what is added to the residual stream starts small
        if self.kind == "mla":
            self.w_in = normal(padded_rows(H * (c.nope_dim + c.rope_dim) + c.rank + c.rope_dim), D)
            self.kv_norm = nn.Parameter(torch.ones(c.rank))
            self.kv_b = normal(H * (c.nope_dim + c.value_dim), c.rank)
            self.w_out = normal(D, H * c.value_dim, std=last)
        else:
            per_channel = self.kind == "kda"
            self.w_in = normal(padded_rows(3 * H * K + K + (K if per_channel else H) + H), D)
            self.conv = nn.Parameter((torch.rand(3 * H * K, TAPS) * 2 - 1) * TAPS**-0.5)
            self.f_b = normal(H * K, K) if per_channel else None
            self.g_b = normal(H * K, K)
            # decides whether KDA learns (reference: the paper's public layer code)
            self.a_log = nn.Parameter(torch.log(1 + 15 * torch.rand(H)))
            dt = torch.exp(
                torch.rand(H * K if per_channel else H) * (torch.tensor(100.0)).log() + torch.tensor(1e-3).log()
            )
            self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))
            self.o_norm = nn.Parameter(torch.ones(K))
            self.w_out = normal(D, H * K, std=last)
        self.norm, self.norm2 = nn.Parameter(torch.ones(D)), nn.Parameter(torch.ones(D))
        self.gate_up, self.down = normal(2 * I, D), normal(D, I, std=last)


class Model(nn.Module):
    def __init__(self, config: Config, compute=torch.float32, compiled=False, use_fla=True):
        super().__init__()
        c = self.config = config
        self.compute, self.use_fla = compute, use_fla
        self.embedding = normal(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList(Layer(c, i) for i in range(c.layers))
        self.norm = nn.Parameter(torch.ones(c.hidden_size))
        self.head = normal(c.vocab_size, c.hidden_size)
        wrap = (lambda f: torch.compile(f, fullgraph=True, dynamic=False)) if compiled else (lambda f: f)
        self.delta_inputs, self.delta_outputs = wrap(delta_inputs), wrap(delta_outputs)
        self.mla_block, self.weighted_loss = wrap(mla_block), wrap(weighted_loss)

    def hidden(self, ids):
        """ids [B, T] -> the residual stream behind the last block [B, T, D], fp32."""
        c, compute = self.config, self.compute
        x = F.embedding(ids, self.embedding)
        for m in self.layers:
            tail = (m.norm2, m.gate_up, m.down)
            if m.kind == "mla":
                dims = (c.nope_dim, c.rope_dim, c.value_dim, c.rank, c.rope_theta)
                x = self.mla_block(x, m.norm, m.w_in, m.kv_norm, m.kv_b, m.w_out, *tail, c.heads, dims, compute)
                continue
            q, k, v, gate, beta, out_gate = self.delta_inputs(
                x, m.norm, m.w_in, m.conv, m.f_b, m.g_b, c.heads, c.head_dim, m.kind == "kda", compute
            )
            read = delta_rule(q, k, v, gate, beta, m.a_log, m.dt_bias, self.use_fla)
            x = self.delta_outputs(x, read, out_gate, m.o_norm, m.w_out, *tail, compute)
        return x

    def logits(self, ids):
        return head_logits(self.hidden(ids), self.norm, self.head, self.compute)

    def loss(self, ids, targets, weights):
        """(weighted mean loss, right [B, T], loss of each position [B, T])"""
        return self.weighted_loss(self.hidden(ids), self.norm, self.head, targets, weights, self.compute)

    def parameter_count(self):
        return sum(p.numel() for p in self.parameters())
