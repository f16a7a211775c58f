"""The plain training loop, done competently: Dataset, DataLoader, one pass a step.

It sees the same pixels, splits, batches and head initialisation as `tl_core.training.train`, and
computes in float32 with the channels first. In mode `freeze` the frozen network runs in every step.
"""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from tl_core.config import EpochMetrics, Report, TrialConfig
from tl_core.data.decode import to_square
from tl_core.data.sources import folder_source
from tl_core.data.splits import make_split
from tl_core.device import is_gpu
from tl_core.inputs.batches import epoch_order, eval_batches, split_batches
from tl_core.models.backbones import Backbone, load_backbone
from tl_core.models.heads import Heads, TwoHeadedNet
from tl_core.objectives.losses import Targets, two_task_loss
from tl_core.objectives.metrics import hits, measure

Sample = tuple[Tensor, int, Tensor]


class Photos(Dataset[Sample]):
    """Decodes an image at each access, as torchvision's ImageFolder does."""

    def __init__(self, root: Path, backbone: Backbone, size: int) -> None:
        self.source = folder_source(root)
        self.labels = np.asarray(self.source.labels, dtype=np.int64)
        self._size = size
        self._mean = torch.tensor(backbone.mean).view(3, 1, 1)
        self._std = torch.tensor(backbone.std).view(3, 1, 1)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> Sample:
        """Normalised image [3, S, S], label, brightness."""
        pixels = to_square(self.source.read(i, self._size), self._size, "squash")
        brightness = torch.tensor(pixels.mean(dtype=np.float64) / 255, dtype=torch.float32)
        image = (torch.tensor(pixels) / 255 - self._mean) / self._std
        return image, int(self.labels[i]), brightness


def train_naively(
    config: TrialConfig, root: Path, device: torch.device, report: Report = lambda _: None
) -> list[EpochMetrics]:
    """Train one configuration of mode `freeze` or `finetune` from the files below `root`."""
    loop, history = _Loop(config, root, device), []
    for epoch in range(1, config.epochs + 1):
        history.append(loop.epoch(epoch))
        report(history[-1])
    return history


class _Loop:
    def __init__(self, config: TrialConfig, root: Path, device: torch.device) -> None:
        rate = config.lr
        if rate is None:
            raise ValueError(f"the naive loop needs a learning rate; mode {config.mode} has none")
        if isinstance(config.aux_weight, str):
            raise ValueError(f"the naive loop takes a fixed aux_weight, not {config.aux_weight}")
        self._config, self._device, self._aux_weight = config, device, config.aux_weight
        backbone = load_backbone(config.backbone, config.weights, config.image_size)
        self._photos = Photos(root, backbone, config.image_size)
        ratio, labels = config.train_ratio, self._photos.labels
        self._split = make_split(labels, ratio, config.split_seed, config.seed)
        # The same heads as `tl_core.training.train` starts from.
        torch.manual_seed(config.seed)
        heads = Heads(backbone.n_features, len(self._photos.source.classes))
        self._net = TwoHeadedNet(backbone.network, heads).to(device)
        learns: nn.Module = heads if config.mode == "freeze" else self._net
        self._optimizer = torch.optim.Adam(learns.parameters(), lr=rate)
        torch.manual_seed(config.seed)

    def epoch(self, epoch: int) -> EpochMetrics:
        """Train once over the training images, then validate."""
        c = self._config
        start = time.perf_counter()
        batches = split_batches(epoch_order(self._split.train, c.seed, epoch), c.batch_size)
        loss, accuracy = self._train(batches)
        images_per_s = len(self._split.train) / (time.perf_counter() - start)
        scores: dict[str, Any] = {f"val_{name}": value for name, value in self._validate().items()}
        return EpochMetrics.read({
            "epoch": epoch, "train_loss": loss, "train_accuracy": accuracy,
            "images_per_s": images_per_s, **scores,
        })  # fmt: skip

    def _read(self, batches: Iterable[np.ndarray]) -> Iterator[list[Tensor]]:
        # On a CPU a loader process would take the trial's only core; on a GPU cores are idle.
        workers = 2 if is_gpu(self._device) else 0
        indices = [batch.tolist() for batch in batches]
        # Its own generator: by default the loader draws from dropout's.
        own = torch.Generator()
        loader = DataLoader(self._photos, batch_sampler=indices, num_workers=workers, generator=own)
        for batch in loader:
            yield [part.to(self._device) for part in batch]

    def _train(self, batches: Iterable[np.ndarray]) -> tuple[float, float]:
        self._net.train()
        if self._config.mode == "freeze":
            self._net.network.eval()
        loss_sum, hit_sum, n = 0.0, 0.0, 0
        for images, labels, brightness in self._read(batches):
            outputs = self._outputs(images)
            loss = two_task_loss(outputs, Targets(labels, brightness), self._aux_weight)
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            loss_sum += loss.item() * len(labels)
            hit_sum += hits(outputs[0], labels).sum().item()
            n += len(labels)
        return loss_sum / n, hit_sum / n

    def _outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._config.mode != "freeze"):
            features = self._net.network(images)
        logits, brightness = self._net.heads(features)
        return logits, brightness

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        self._net.eval()
        batches = eval_batches(self._split.val, self._config.batch_size)
        seen = [(*self._outputs(x), y, b) for x, y, b in self._read(batches)]
        logits, predicted, labels, brightness = (
            torch.cat(part).cpu() for part in zip(*seen, strict=True)
        )
        scores = measure((logits, predicted), labels, brightness, self._aux_weight)
        return {name: value.item() for name, value in scores.items()}
