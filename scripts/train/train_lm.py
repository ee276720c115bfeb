"""One language model of the trio. Data, order, steps and optimiser are the same for the three architectures."""

import math
import time
from pathlib import Path

import numpy as np
import torch

import checkpoint
import lm_data
from model import Config, Model
from trainer import Trainer

END = 0  # the NUL byte between documents


def to_batch(ids, targets, weights):
    return ids.long(), targets.long(), weights.float() / lm_data.TEXT


class HeldOut:
    """New documents: bits a byte of books, and for each RULER-style task the share of documents whose answers are all
    right when every byte before is given (teacher forcing: an upper bound of what greedy decoding gets right)."""

    def __init__(self, corpus, length, sequences, device):
        self.device, self.length = device, length
        self.tasks = {
            kind: [torch.from_numpy(x.copy()).to(device) for x in rows]
            for kind, rows in lm_data.held_out_tasks(corpus, length, sequences, seed=999).items()
        }
        text = np.fromfile(Path(corpus) / "held_out.bin", np.uint8, sequences * (length + 1)).reshape(
            sequences, length + 1
        )
        self.text = torch.from_numpy(text).to(device).long()

    def measure(self, model):
        ids, targets = self.text[:, :-1].contiguous(), self.text[:, 1:].contiguous()
        loss, _, _ = model.loss(ids, targets, torch.ones(ids.shape, device=self.device))
        tasks = {}
        for kind, (ids, targets, weights) in self.tasks.items():
            _, right, _ = model.loss(*to_batch(ids, targets, weights))
            answer = weights == lm_data.ANSWER
            tasks[kind] = {
                "documents": (right | ~answer).all(1).float().mean().item(),
                "bytes": ((right & answer).sum() / answer.sum()).item(),
            }
        return {"length": self.length, "bits_per_byte": loss.item() / math.log(2), "tasks": tasks}


def run(job, device, report, compute=torch.bfloat16, compiled=True):
    """job: architecture, seed, steps, tokens (a step), rate, every, corpus, data, folder, and optionally deadline
    (time.time: training stops there and says so). `report(dict)` gets the log so far."""
    torch.manual_seed(job["seed"])
    config = Config(architecture=job["architecture"], rope_theta=job.get("rope_theta", 0.0), eos_token_id=END)
    model = Model(config, compute, compiled).to(device)
    trainer = Trainer(model, job["rate"], job["steps"], warmup=200)
    log, start, ended, total = [], time.time(), "no", job["steps"]  # what a killed run leaves says no

    def record():
        return {
            "architecture": job["architecture"],
            "seed": job["seed"],
            "steps": trainer.done,
            "planned_steps": total,
            "tokens_per_step": job["tokens"],
            "tokens": trainer.done * job["tokens"],
            "rate": job["rate"],
            "rope_theta": job.get("rope_theta", 0.0),
            "phases": lm_data.phases(total, job["tokens"]),
            "parameters": model.parameter_count(),
            "ended": "steps" if trainer.done == total else ended,
            "seconds": time.time() - start,
            "log": log,
        }

    for length, batch, count in lm_data.phases(total, job["tokens"]):
        path = lm_data.data_path(job["data"], job["seed"], length)
        while not path.exists():
            time.sleep(1)
        rows = torch.from_numpy(np.load(path)).to(device)
        held_out = HeldOut(job["corpus"], length, batch, device)
        for i in range(count):
            loss, _ = trainer.step(*to_batch(*rows[:, i * batch : (i + 1) * batch]))
            if (i + 1) % job["every"] == 0 or i + 1 == count:
                log.append(
                    {
                        "step": trainer.done,
                        "loss": loss.item(),
                        "seconds": time.time() - start,
                        **held_out.measure(model),
                    }
                )
                if time.time() > job.get("deadline", float("inf")) and trainer.done < total:
                    ended = "time"
                report(record())
                if ended == "time":
                    break
                if (i + 1) % (4 * job["every"]) == 0 or i + 1 == count:
                    checkpoint.save(model, job["folder"], {"language_model": record()})
        if ended == "time":
            break
    checkpoint.save(model, job["folder"], {"language_model": record()})
    return record()
