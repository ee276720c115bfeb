"""The gated delta rule for training: KDA (a forget gate per key channel) and GDN (one per head).

    S <- diag(exp g) S;  S <- S + k (beta (v - S^T k))^T;  o = S^T q / sqrt(K)        kernels/kda/kda.h

flash-linear-attention's Triton kernels on a GPU where the package is installed; otherwise plain PyTorch, which is
also
what the kernels are checked against.
"""

import os

import torch
import torch.nn.functional as F


def tune_fewer(keep):
    """A fresh machine spends minutes compiling every variant of the package's kernels. Keeps, of each kernel, the
    `keep`
    variants nearest to 4 warps and 3 stages with the largest tiles."""
    from triton.runtime.autotuner import Autotuner

    whole = Autotuner.__init__

    def rank(c):
        return abs(c.num_warps - 4), abs(c.num_stages - 3), -sum(v for v in c.kwargs.values() if isinstance(v, int))

    def init(self, fn, arg_names, configs, *rest, **named):
        whole(self, fn, arg_names, sorted(configs, key=rank)[:keep] if configs else configs, *rest, **named)

    Autotuner.__init__ = init


try:
    if os.environ.get("KDABENCH_FLA_VARIANTS"):
        tune_fewer(int(os.environ["KDABENCH_FLA_VARIANTS"]))
    from fla.ops.kda import chunk_kda

    HAVE_FLA = torch.cuda.is_available()
except Exception as reason:  # Triton without a GPU driver raises what it likes
    HAVE_FLA, WHY_NO_FLA = False, reason


def log_decay(gate, a_log, dt_bias):
    """gate [B, T, H, G] raw, a_log [H], dt_bias [H G] -> g <= 0 [B, T, H, G], fp32."""
    heads, channels = gate.shape[-2:]
    return -a_log.float().exp()[:, None] * F.softplus(gate.float() + dt_bias.float().view(heads, channels))


def unit(x):
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)


def recurrent(q, k, v, g, beta):
    """One token after another: q, k, v [B, T, H, K], unit q and k; g [B, T, H, G]; beta [B, T, H] -> [B, T, H, K]."""
    B, T, H, K = q.shape
    state = q.new_zeros(B, H, K, v.shape[-1])
    out = []
    for t in range(T):
        state = state * g[:, t].exp()[..., None]
        error = v[:, t] - torch.einsum("bhkv,bhk->bhv", state, k[:, t])
        state = state + torch.einsum("bhk,bhv->bhkv", k[:, t], beta[:, t, :, None] * error)
        out.append(torch.einsum("bhkv,bhk->bhv", state, q[:, t]) * K**-0.5)
    return torch.stack(out, 1)


def chunked(q, k, v, g, beta, chunk=16):
    """The same sum in chunks (paper Eq. 2-9). Decays are exp of sums over i + 1 .. r, never quotients: nothing
    overflows."""
    B, T, H, K = q.shape
    pad = -T % chunk
    if pad:  # beta 0 and g 0 leave the state alone
        q, k, v, g = (F.pad(x, (0, 0, 0, 0, 0, pad)) for x in (q, k, v, g))
        beta = F.pad(beta, (0, 0, 0, pad))
    n = (T + pad) // chunk
    q, k, v, g = (x.view(B, n, chunk, H, -1).transpose(2, 3) for x in (q, k, v, g))  # [B, n, H, C, .]
    beta = beta.view(B, n, chunk, H).transpose(2, 3)
    total = g.cumsum(-2)  # g summed to row r, inclusive
    rows = torch.arange(chunk, device=q.device)
    lower = (rows[:, None] > rows)[..., None]
    with_diagonal = (rows[:, None] >= rows)[..., None]
    span = total[..., :, None, :] - total[..., None, :, :]  # [.., r, i, G]
    decay = torch.where(with_diagonal, span, -torch.inf).exp()
    attend = torch.einsum("bnhrk,bnhik,bnhrik->bnhri", q, k, decay.expand(*decay.shape[:-1], K))
    recall = torch.einsum("bnhrk,bnhik,bnhrik->bnhri", k, k, (decay * lower).expand(*decay.shape[:-1], K))
    eye = torch.eye(chunk, dtype=q.dtype, device=q.device)
    inverse = torch.linalg.solve_triangular(eye + beta[..., None] * recall, eye.expand_as(recall), upper=False)
    solve = inverse * beta[..., None, :]
    from_start, to_end = total.exp(), (total[..., -1:, :] - total).exp()
    state = q.new_zeros(B, H, K, v.shape[-1])
    out = []
    for c in range(n):
        value = solve[:, c] @ (v[:, c] - (from_start[:, c] * k[:, c]) @ state)
        out.append((from_start[:, c] * q[:, c]) @ state + attend[:, c] @ value)
        state = total[:, c, :, -1].exp()[..., None] * state + (to_end[:, c] * k[:, c]).transpose(-1, -2) @ value
    out = torch.stack(out, 1).transpose(2, 3).reshape(B, T + pad, H, -1)[:, :T]
    return out * K**-0.5


def delta_rule(q, k, v, gate, beta, a_log, dt_bias, use_fla=True):
    """q, k, v [B, T, H, K] before normalisation; gate [B, T, H, G] raw, G = K (KDA) or 1 (GDN); beta [B, T, H] in
    (0, 1).

    Returns [B, T, H, K] in v's type. Differentiable.
    """
    if use_fla and HAVE_FLA and q.is_cuda:
        if gate.shape[-1] == 1:  # GDN is KDA with one gate for all channels; the package refuses its own GDN backward
            gate = gate.expand_as(k)  # on Hopper with Triton 3.4 to 3.7.0
            dt_bias = dt_bias.repeat_interleave(k.shape[-1])
        return chunk_kda(
            q, k, v, gate, beta, A_log=a_log, dt_bias=dt_bias, use_gate_in_kernel=True, use_qk_l2norm_in_kernel=True
        )[0]
    wide = torch.promote_types(torch.float32, q.dtype)
    g = log_decay(gate, a_log, dt_bias).to(wide)
    return chunked(unit(q.to(wide)), unit(k.to(wide)), v.to(wide), g, beta.to(wide)).to(v.dtype)
