"""AdamW steps of one model. On a GPU a whole step (forward, backward, clipping, update) is one CUDA graph a shape."""

import math

import torch


def learning_rate(step, steps, peak, warmup):
    """Linear warm-up, then a cosine down to a tenth of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (0.1 + 0.45 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))))


class Trainer:
    def __init__(self, model, peak, steps, warmup=200, weight_decay=0.1, clip=1.0):
        self.model, self.peak, self.steps, self.warmup, self.clip = model, peak, steps, warmup, clip
        self.device = model.embedding.device
        self.done = 0
        matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and not name.endswith("conv")]
        others = [p for name, p in model.named_parameters() if not (p.ndim == 2 and not name.endswith("conv"))]
        cuda = self.device.type == "cuda"
        rate = torch.tensor(0.0, device=self.device) if cuda else 0.0
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=rate,
            betas=(0.9, 0.95),
            fused=cuda or None,
            capturable=cuda,
        )
        self.graphs = {}

    def _update(self, ids, targets, weights):
        loss, right, _ = self.model.loss(ids, targets, weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip, foreach=True)
        self.optimizer.step()
        return loss.detach(), right

    def _forget_gradients(self):
        self.optimizer.zero_grad(set_to_none=True)

    def _capture(self, batch):
        """Warm-up steps compile and tune; what they did to weights and moments is undone."""
        before = [p.detach().clone() for p in self.model.parameters()]
        moments = [
            {k: v.clone() for k, v in self.optimizer.state[p].items()} if p in self.optimizer.state else None
            for p in self.model.parameters()
        ]
        inputs = [t.clone() for t in batch]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._forget_gradients()
                self._update(*inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self._forget_gradients()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = self._update(*inputs)
        with torch.no_grad():
            for p, value, moment in zip(self.model.parameters(), before, moments):
                p.copy_(value)
                for k, v in self.optimizer.state[p].items():
                    v.copy_(moment[k]) if moment else v.zero_()
        return graph, inputs, outputs

    def step(self, ids, targets, weights):
        """One update; ids, targets [B, T] int64, weights [B, T] fp32. Returns (loss, right), which the next step
        overwrites."""
        rate = learning_rate(self.done, self.steps, self.peak, self.warmup)
        self.done += 1
        batch = (ids, targets, weights)
        if self.device.type != "cuda":
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            self._forget_gradients()
            return self._update(*batch)
        if ids.shape not in self.graphs:
            self.graphs[ids.shape] = self._capture(batch)
        for group in self.optimizer.param_groups:
            group["lr"].fill_(rate)
        graph, inputs, outputs = self.graphs[ids.shape]
        for to, value in zip(inputs, batch):
            to.copy_(value)
        graph.replay()
        return outputs
