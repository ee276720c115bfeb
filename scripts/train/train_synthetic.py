"""One run of a synthetic test: 2 layers, 2 heads of 128, width 256. Returns the curve of held-out accuracy."""

import time

import torch
import torch.nn.functional as F

import checkpoint
import synthetic
from model import Config, Model
from trainer import Trainer

HELD_OUT = 128  # sequences at every evaluation
VOCABULARY = {"palindrome": 128, "mqar": 1088, "mqar-zoology": 1088, "stack": 128}


def config(task, architecture):
    """Both layers have the mixer under test; `mla` is full attention without positions."""
    return Config(
        architecture=architecture,
        vocab_size=VOCABULARY[task],
        hidden_size=256,
        layers=2,
        heads=2,
        linear_layers=[1, 2],
        head_dim=128,
        nope_dim=128,
        rope_dim=64,
        value_dim=128,
        rank=128,
        intermediate_size=256,
    )


def weights_of(targets):
    return (targets >= 0).float()


def drawn(task, n, length, vocabulary, generator, **options):
    """Sequences with unasked padding at the end up to a multiple of 64: the tasks then share shapes, and
    compilations."""
    return tuple(
        F.pad(t, (0, -t.shape[1] % 64), value=fill)
        for t, fill in zip(synthetic.draw(task, n, length, vocabulary, generator, **options), (0, -1))
    )


def evaluate(model, task, length, vocabulary, generator, sequences, batch):
    """(token accuracy, sequence accuracy) on `sequences` fresh sequences."""
    token = sequence = 0.0
    for _ in range(sequences // batch):
        ids, targets = drawn(task, batch, length, vocabulary, generator)
        _, right, _ = model.loss(ids, targets.clamp_min(0), weights_of(targets))
        t, s = synthetic.accuracy(right, targets)
        token, sequence = token + t, sequence + s
    return token * batch / sequences, sequence * batch / sequences


def run(job, device, report, compute=torch.bfloat16, compiled=True):
    """job: task, architecture, length, rate, seed, steps, batch, every, folder (or None). `report(dict)` gets every
    point
    of the curve. Stops at `job["deadline"]` (time.time) or when three evaluations in a row have 99 % of the
    sequences.
    """
    task, length = job["task"], job["length"]
    torch.manual_seed(job["seed"])
    cfg = config(task, job["architecture"])
    model = Model(cfg, compute, compiled).to(device)
    trainer = Trainer(model, job["rate"], job["steps"])
    train = torch.Generator(device).manual_seed(1000 + job["seed"])  # the same data for every architecture
    curve, solved, start, loss = [], 0, time.time(), None
    ended = "no"  # what a killed run leaves says no
    for step in range(job["steps"] + 1):
        if step % job["every"] == 0:
            held_out = torch.Generator(device).manual_seed(7)
            token, sequence = evaluate(model, task, length, cfg.vocab_size, held_out, HELD_OUT, job["batch"])
            point = {
                "step": step,
                "token_accuracy": token,
                "sequence_accuracy": sequence,
                "loss": None if loss is None else loss.item(),
                "seconds": time.time() - start,
            }
            curve.append(point)
            solved = solved + 1 if sequence >= 0.99 else 0
            if solved == 3:
                ended = "solved"
            elif step == job["steps"]:
                ended = "steps"
            elif time.time() > job.get("deadline", float("inf")):
                ended = "time"
            report({**job, "parameters": model.parameter_count(), "ended": ended, "curve": curve})
        if ended != "no":
            break
        if task == "mqar":
            pairs = synthetic.easier(length, job["seed"] << 32 | step)
            ids, targets = drawn(task, job["batch"], length, cfg.vocab_size, train, pairs=pairs)
        else:  # many at once: a stack takes a loop over its steps
            at = step % 32 * job["batch"]
            if at == 0:
                pool = drawn(task, job["batch"] * 32, length, cfg.vocab_size, train)
            ids, targets = (t[at : at + job["batch"]] for t in pool)
        loss, _ = trainer.step(ids, targets.clamp_min(0), weights_of(targets))
    result = {**job, "parameters": model.parameter_count(), "ended": ended, "curve": curve}
    if job.get("folder"):
        checkpoint.save(
            model, job["folder"], {"synthetic": {k: v for k, v in result.items() if k not in ("folder", "deadline")}}
        )
    return result
