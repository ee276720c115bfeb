"""The training code against itself and against the program. usage: check_train.py ROOT KDABENCH   (needs PyTorch)

What a model computes in PyTorch is what the C++ engine computes from the checkpoint that was written of it; the chunked
delta rule is the recurrent one; a training step changes what it should and nothing else."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

root, program = Path(sys.argv[1]), sys.argv[2]
sys.path.insert(0, str(root / "scripts" / "train"))
try:
    import torch
    from safetensors.torch import load_file
except ImportError as missing:
    print(f"skipped: no {missing.name}")
    sys.exit(77)

import checkpoint
import delta_rule
import synthetic
import train_synthetic
from model import Config, Model
from trainer import Trainer

torch.set_num_threads(1)
failures = []


def check(what, passed, detail=""):
    print(f"{'ok  ' if passed else 'FAIL'} {what} {detail}")
    if not passed:
        failures.append(what)


# Chunked against recurrent in double, with gates up to 20 a token, lengths that fill no chunk, and gradients.
for gate_channels in (8, 1):
    torch.manual_seed(gate_channels)
    B, T, H, K = 2, 37, 3, 8
    q, k = (delta_rule.unit(torch.randn(B, T, H, K, dtype=torch.float64)) for _ in range(2))
    v = torch.randn(B, T, H, K, dtype=torch.float64)
    g = -20 * torch.rand(B, T, H, gate_channels, dtype=torch.float64) ** 4
    beta = torch.rand(B, T, H, dtype=torch.float64)
    inputs = [x.requires_grad_() for x in (q, k, v, g, beta)]
    results = []
    for function in (delta_rule.recurrent, delta_rule.chunked):
        out = function(*inputs)
        results.append([out, *torch.autograd.grad((out * torch.arange(K)).sum(), inputs)])
    worst = max((a - b).abs().max().item() for a, b in zip(*results))
    check(f"chunked is recurrent, G = {gate_channels}", worst < 1e-11, f"worst {worst:.1e}")

# PyTorch and C++ on the same bf16 weights: large ones, so that every part moves the logits. Both compute in fp32.
with tempfile.TemporaryDirectory() as folder:
    for architecture, theta in (("kimi-linear", 0.0), ("mla", 0.0), ("mla", 10000.0), ("gdn-h", 0.0)):
        torch.manual_seed(1)
        config = Config(architecture=architecture, layers=4, linear_layers=[1, 2, 3], hidden_size=128, heads=2, rank=64,
                        rope_theta=theta)
        model = Model(config)
        with torch.no_grad():
            for name, p in model.named_parameters():
                if p.ndim == 2 and "conv" not in name:
                    p.mul_(3)
                if "norm" in name:
                    p.add_(0.3 * torch.randn_like(p))
        at = Path(folder) / architecture
        checkpoint.save(model, at, {})
        model = checkpoint.load(at, architecture)
        ids = torch.randint(0, 256, (1, 75))
        with torch.no_grad():
            want = model.logits(ids)[0]
        (at / "ids").write_text(",".join(map(str, ids[0].tolist())))
        command = [program, "logits", "--checkpoint", str(at), "--model", architecture, "--ids-file", str(at / "ids")]
        subprocess.run([*command, "--out", str(at / "out.safetensors")], check=True, stdout=subprocess.DEVNULL)
        error = (load_file(at / "out.safetensors")["logits"] - want).abs().max().item()
        check(f"C++ logits of {architecture}, rotary base {theta:g}", error < 1e-3, f"worst {error:.1e}, largest logit {want.abs().max():.1f}")
        # the check can fail: another gate bias is another model
        if architecture != "mla":
            with torch.no_grad():
                model.layers[0].dt_bias.add_(0.5)
                changed = (model.logits(ids)[0] - want).abs().max().item()
            check(f"logits of {architecture} notice a changed gate", changed > 1e-2, f"{changed:.1e}")

# The hybrid's folder is one that transformers reads as its own KimiLinearForCausalLM.
try:
    import transformers

    folder = root / "suites/checkpoints/lm-s0/kimi-linear"
    expected = load_file(folder / "expected.safetensors")
    transformers.logging.set_verbosity_error()
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        error = (model(expected["ids_0"][None]).logits[0] - expected["logits_0"]).abs().max().item()
    check("transformers computes the same from the trained hybrid", error < 1e-3, f"worst {error:.1e}")
except ImportError as missing:
    print(f"transformers is not compared: no {missing.name}")
except ValueError as reason:  # a transformers without kimi_linear
    print(f"transformers is not compared: {str(reason)[:100]}")

# A few steps on short palindromes lower the loss, and the last asked token is the first of the sequence.
ids, targets = synthetic.draw("palindrome", 8, 9, 16, torch.Generator().manual_seed(0))
check("a palindrome's last target is its first token", bool((targets[:, -2] == ids[:, 0]).all()))
torch.manual_seed(0)
model = Model(Config(layers=2, linear_layers=[1], vocab_size=16, hidden_size=64, heads=1, head_dim=16, rank=16))
trainer = Trainer(model, 1e-2, 12, warmup=2)
losses = [trainer.step(ids, targets.clamp_min(0), train_synthetic.weights_of(targets))[0].item() for _ in range(12)]
check("training lowers the loss", losses[-1] < 0.7 * losses[0], f"{losses[0]:.2f} to {losses[-1]:.2f}")

job = {"task": "palindrome", "architecture": "gdn-h", "length": 32, "rate": 1e-3, "seed": 0, "steps": 2, "batch": 32,
       "every": 1}
for deadline, wanted in ((float("inf"), ["no", "no", "steps"]), (0, ["time"])):
    said = []
    train_synthetic.run({**job, "deadline": deadline}, torch.device("cpu"), lambda state: said.append(state["ended"]),
                        torch.float32, False)
    check("a run says that it ended when it has", said == wanted, f"{said}")

with tempfile.TemporaryDirectory() as folder:  # gathered once, and again with a run that is new and one that replaces
    out, first, later = (Path(folder) / name for name in ("out", "first", "later"))
    runs = [{"architecture": "mla", "seed": 0, "rate": rate, "log": []} for rate in (1e-3, 2e-3)]
    runs += [{**job, "rate": rate, "curve": [1]} for rate in (1e-3, 2e-3)]
    for where, names in ((out, []), (first, [0, 2]), (later, [1, 2, 3])):
        where.mkdir()
        for i in names:
            (where / f"{i}.json").write_text(json.dumps({**runs[i], "ended": where.name}))
    gather = [sys.executable, str(root / "scripts/train/collect.py"), "--out", str(out)]
    subprocess.run([*gather, str(first)], check=True, stdout=subprocess.DEVNULL)
    files = [str(out / "synthetic-curves.json"), str(out / "training-logs.json")]
    subprocess.run([*gather, *files, str(later)], check=True, stdout=subprocess.DEVNULL)
    found = [(run["rate"], run["ended"]) for file in files for run in json.loads(Path(file).read_text())["runs"]]
    wanted = [(1e-3, "later"), (2e-3, "later"), (1e-3, "first"), (2e-3, "later")]
    check("gathered runs are added to and replaced", found == wanted, f"{found}")

sys.exit(1 if failures else 0)
