"""Steps of ResNet18 at 224 on one GPU, from uint8 images that lie there; alone or beside others."""

import time
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from benchmarks.ceilings import synchronize
from tl_core.backbones import load_backbone
from tl_core.heads import Heads, TwoHeadedNet
from tl_core.losses import two_task_loss
from tl_core.precision import best_precision

Kind = Literal["train", "features"]
GPU = torch.device("cuda")
SIDE = 224
_WAIT_S = 300
_LEARNING_RATE = 1e-4


class Steps:
    """One network and one batch on the device."""

    def __init__(self, kind: Kind, batch: int, compiled: bool, device: torch.device = GPU) -> None:
        torch.backends.cudnn.benchmark = True
        self._device, self.batch = device, batch
        torch.manual_seed(0)
        backbone = load_backbone("resnet18", "none", SIDE)
        precision = best_precision(self._device)
        net = TwoHeadedNet(backbone.network, Heads(backbone.n_features, 2), precision)
        self.net = net.to(self._device).to(memory_format=torch.channels_last)
        self._run: Callable[..., Any] = torch.compile(self.net) if compiled else self.net
        self._optimizer = torch.optim.Adam(net.parameters(), _LEARNING_RATE, fused=True)
        shape = (batch, 3, SIDE, SIDE)
        self._raw = torch.randint(256, shape, dtype=torch.uint8, device=self._device)
        self._labels = torch.randint(2, (batch,), device=self._device)
        self._brightness = self.images().mean(dim=(1, 2, 3)) + 0.5
        self.step = self._train if kind == "train" else self._features
        self.net.train(kind == "train")

    def images(self) -> Tensor:
        """Normalised, as `tl_core.batches.pixel_reader` gives them."""
        scaled = (self._raw - 127.5).mul_(1 / 255)
        return scaled.contiguous(memory_format=torch.channels_last)

    def loss(self, plain: bool = False) -> Tensor:
        """Of the network as it is; `plain` is float32, not compiled."""
        self.net.precision = "fp32" if plain else best_precision(self._device)
        outputs = (self.net if plain else self._run)(self.images())
        return two_task_loss(outputs, self._labels, self._brightness, 0.3)

    def images_per_s(self, least_s: float) -> float:
        """Of steps queued one behind the other, as in training."""
        for _ in range(5):
            self.step()
        synchronize(self._device)
        start, n = time.perf_counter(), 0
        while time.perf_counter() - start < least_s:
            for _ in range(10):
                self.step()
            synchronize(self._device)
            n += 10
        return n * self.batch / (time.perf_counter() - start)

    def _train(self) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        self.loss().backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()

    @torch.inference_mode()
    def _features(self) -> None:
        self._run(self.images())


def share_gpu(batch: int, least_s: float, wait: Callable[[float], Any], found: Any) -> None:
    """Train beside other processes, all at the same time; tell the images/s."""
    steps = Steps("train", batch, compiled=False)
    steps.images_per_s(0.5)
    wait(_WAIT_S)
    found.put(steps.images_per_s(least_s))
