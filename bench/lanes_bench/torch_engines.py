"""PyTorch in its settings, and Pellucid's engine under the same loop."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import torch
from torch.nn import functional

from lanes_bench.engine import MOMENTUM, RATE, Engine
from lanes_bench.workloads import TINY, Workload, network, pictures


class TorchWorks:
    """The loop is the same for all: zero_grad, forward, cross-entropy, backward, step."""

    def __init__(self, engine: Engine, work: Workload) -> None:
        setting = engine.setting
        layout = torch.channels_last if setting.get("channels_last") else torch.contiguous_format
        images, labels = pictures(work)
        self.images = torch.from_numpy(images).to(memory_format=layout)
        self.labels = torch.from_numpy(labels)
        self.engine, self.work = engine, work

    def build(self) -> None:
        """Network, optimizer, and the function that gives outputs and loss. What is counted as memory begins here."""
        setting = self.engine.setting
        began = time.perf_counter()
        net = network(self.work)
        self.network_seconds = time.perf_counter() - began
        if setting.get("channels_last"):
            net = net.to(memory_format=torch.channels_last)
        if setting.get("bf16") == "module":
            net, self.images = net.bfloat16(), self.images.bfloat16()
        learned = [parameter for parameter in net.parameters() if parameter.requires_grad]
        self.parameters = sum(parameter.numel() for parameter in learned)
        fused = {"fused": True} if setting.get("fused") or self.engine.kind == "lanes" else {}
        self.optimizer = torch.optim.SGD(learned, lr=RATE, momentum=MOMENTUM, **fused)
        self.net: torch.nn.Module = net
        if self.engine.kind == "lanes":
            import pellucid

            self.net = pellucid.lower(net)
        self.forward: Any = self.net
        self.loss: Any = self._loss
        if mode := setting.get("compile"):
            mode = None if mode == "default" else mode
            self.forward = torch.compile(self.net, mode=mode)
            self.loss = torch.compile(self._loss, mode=mode)

    def _precision(self) -> contextlib.AbstractContextManager[None]:
        if self.engine.setting.get("bf16") == "autocast":
            return torch.autocast("cpu", torch.bfloat16)
        return contextlib.nullcontext()

    def _loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with self._precision():
            outputs = self.net(images)
        return functional.cross_entropy(outputs.float(), labels)

    def train(self, steps: int) -> float:
        self.net.train()
        for _ in range(steps):
            self.optimizer.zero_grad()
            loss = self.loss(self.images, self.labels)
            loss.backward()
            self.optimizer.step()
        return float(loss.item())

    def evaluate(self, steps: int) -> float:
        self.net.eval()
        with torch.no_grad(), self._precision():
            for _ in range(steps):
                outputs = self.forward(self.images)
        return float(outputs.float().sum())


def prepared(engine: Engine, work: Workload) -> TorchWorks:
    """Everything but the network: its pictures are in memory, and the framework has trained something once."""
    tiny = TorchWorks(engine, TINY)
    tiny.build()
    tiny.train(2)
    tiny.evaluate(1)
    return TorchWorks(engine, work)
