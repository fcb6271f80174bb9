"""The steps of an epoch as one CUDA graph."""

from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor, nn
from torch.optim import SGD

from study.tasks.task import Task
from study.training.batches import TensorBatches

WARM_UP = 3
"""Steps before a capture, in which libraries set themselves up as they may not while capturing."""


def is_plain(optimizer: SGD) -> bool:
    """True if it is in one group and uses nothing of SGD that :class:`CapturedSteps` does not."""
    group, *others = optimizer.param_groups
    unusual = any(group[name] for name in ("dampening", "maximize", "differentiable"))
    # The rate and the momentum on the device have one type, which must be that of the weights.
    return not (others or unusual) and all(w.dtype is torch.float32 for w in group["params"])


class CapturedSteps:
    """Steps of torch's SGD on tensors in memory; captured before the first of them.

    What is captured: the batch is gathered from the split, goes forward and backward, and the
    weights are updated by the rule of torch.optim.SGD, on that optimizer's own momentum buffers.
    Rate and momentum are taken from its parameter group at each step, where schedules write them;
    the weight decay stays as it was at the first.
    """

    def __init__(self, task: Task, model: nn.Module, optimizer: SGD, train: TensorBatches) -> None:
        self._task, self._model, self._optimizer, self._train = task, model, optimizer, train
        device = train.device
        # Of the batch to come; the warm-up takes the first samples.
        self._indices = torch.arange(train.size, device=device)
        self._rate = torch.zeros((), dtype=torch.float32, device=device)
        self._momentum = torch.zeros_like(self._rate)
        self._loss = torch.zeros_like(self._rate)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._prepared = False

    def __iter__(self) -> Iterator[Tensor]:
        if not self._prepared:
            self._prepare()
            self._prepared = True
        for indices in self._train.indices():
            group = self._optimizer.param_groups[0]
            self._indices.copy_(indices)
            self._rate.fill_(group["lr"])
            self._momentum.fill_(group["momentum"])
            if self._graph:
                self._graph.replay()
            else:
                self._step()
            yield self._loss.clone()  # the next replay writes to the same place

    def _prepare(self) -> None:
        """Warm up and capture; weights, buffers and random states are left as they were found."""
        self._optimizer.zero_grad()
        self._optimizer.step()  # without gradients it does nothing; schedules want it called once
        momenta = []
        for weight in self._optimizer.param_groups[0]["params"]:
            state = self._optimizer.state[weight]
            if state.get("momentum_buffer") is None:
                # The first step makes it the gradient, as torch's first step does.
                state["momentum_buffer"] = torch.zeros_like(weight)
            momenta.append(state["momentum_buffer"])
        touched = [*self._model.parameters(), *self._model.buffers(), *momenta]
        before = [tensor.detach().clone() for tensor in touched]
        on_gpu = self._indices.device.type == "cuda"
        with torch.random.fork_rng([self._indices.device] if on_gpu else [], device_type="cuda"):
            if on_gpu:
                self._capture()
            else:
                self._step()
        with torch.no_grad():
            for tensor, value in zip(touched, before, strict=True):
                tensor.copy_(value)

    def _capture(self) -> None:
        # As in torch's notes on CUDA graphs: warm up beside the default stream, then capture.
        stream = _side_stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self._step()
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=stream):
            self._step()

    def _step(self) -> None:
        inputs, targets = self._train.at(self._indices)
        loss = self._task.loss(self._model(inputs), targets)
        self._optimizer.zero_grad()  # to None, so that the capture's gradients are its own
        torch.autograd.backward(loss)
        self._update()
        self._loss = loss.detach()

    @torch.no_grad()
    def _update(self) -> None:
        """Do as torch.optim.SGD, which takes the momentum as a number and so would fix it."""
        group = self._optimizer.param_groups[0]
        pairs = [(weight, weight.grad) for weight in group["params"] if weight.grad is not None]
        weights, gradients = [weight for weight, _ in pairs], [gradient for _, gradient in pairs]
        momenta = [self._optimizer.state[weight]["momentum_buffer"] for weight in weights]
        if group["weight_decay"]:
            gradients = [*torch._foreach_add(gradients, weights, alpha=group["weight_decay"])]
        torch._foreach_mul_(momenta, self._momentum)
        torch._foreach_add_(momenta, gradients)
        if group["nesterov"]:
            ahead = [*torch._foreach_mul(momenta, self._momentum)]
            torch._foreach_add_(ahead, gradients)
        else:
            ahead = momenta
        torch._foreach_sub_(weights, torch._foreach_mul(ahead, self._rate))


@cache
def _side_stream() -> torch.cuda.Stream:
    """One for all captures of a process, since libraries keep a workspace for each stream."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]
