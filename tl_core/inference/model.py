"""A trained net as a tool: from pictures to class, probability and the auxiliary task's value."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tl_core.config import FROZEN
from tl_core.data.decode import decoding_threads, open_picture, to_picture, to_square
from tl_core.data.reading.kinds import describe_failure
from tl_core.data.reading.low_bytes import tiles_of_low_bytes
from tl_core.device import upload
from tl_core.errors import InputError
from tl_core.inference.model_card import CLASS, ModelInfo, is_taught
from tl_core.inputs.batches import ShrinkingBatches, eval_batch
from tl_core.inputs.readers import normalizer
from tl_core.models.folding import fold_network
from tl_core.models.heads import TwoHeadedNet, choose, probabilities

Picture = str | Path | IO[bytes] | Image.Image
"""A file by its path, an open file, or a picture that Pillow has opened. Of one of 16-bit colours
Pillow keeps 8 bits, so it is refused; once it is loaded, it can't be told from others."""


@dataclass(frozen=True)
class Prediction:
    """What a model predicts for one picture."""

    class_name: str
    """The most probable class."""
    probability: float
    """The probability of this class."""
    probabilities: tuple[float, ...]
    """The probabilities of all classes, in the order of `Model.about.classes`."""
    auxiliary: float | str | None
    """Of the auxiliary task (`Model.about.aux`): the number in its own unit, such as the mean over
    pixels and channels, 0 to 1, for brightness; or the most probable class. None if it was not
    learned."""


@dataclass(frozen=True)
class Model:
    """A trained net and its preprocessing; `tl_core.load_model` reads one from files.

    A net that learns on after it has predicted needs a new one.
    """

    net: TwoHeadedNet
    about: ModelInfo

    @property
    def device(self) -> torch.device:
        """The device of the net."""
        return next(self.net.parameters()).device

    @property
    def notes(self) -> tuple[str, ...]:
        """What users of the predictions must know: which head has not learned."""
        notes = {CLASS: "trained with aux_weight 1: no step taught its classes"}
        if (task := self.about.aux).kind != "none":
            notes[task.name] = f"{self._why_no_auxiliary()}, so it predicts none"
        return tuple(note for head, note in notes.items() if head not in self.about.learned)

    def _why_no_auxiliary(self) -> str:
        """The reason for which `tl_core.inference.winner` has left the auxiliary head out."""
        task = self.about.aux
        if not is_taught(self.about.config):
            return f"not trained to predict {task.shown} (aux_weight 0)"
        skill = "R2" if task.kind == "regression" else "skill"
        return f"no better than a constant at predicting {task.shown} ({skill} on validation <= 0)"

    def predict(self, pictures: Iterable[Picture]) -> list[Prediction]:
        """Predict every picture; each is decoded as the training images were.

        Raises `InputError` that names every picture that can't be decoded.
        """
        if isinstance(pictures, str | Path | Image.Image):
            raise InputError(["a list of pictures is expected, also of one: predict([picture])"])
        outcomes = list(self.predict_each(list(pictures)))
        faults = [fault for o in outcomes if isinstance(o, InputError) for fault in o.faults]
        if faults:
            raise InputError(faults)
        return [outcome for outcome in outcomes if isinstance(outcome, Prediction)]

    def predict_each(self, pictures: Sequence[Picture]) -> Iterator[Prediction | InputError]:
        """Yield for each picture, in order, its prediction, or the error if it can't be decoded."""
        size = eval_batch(self.device, self.about.image_size)
        for start in range(0, len(pictures), size):
            decoded = self._decode(pictures[start : start + size], start)
            good = [pixels for pixels in decoded if isinstance(pixels, np.ndarray)]
            predictions = iter(self._predict(np.stack(good)) if good else ())
            yield from (d if isinstance(d, InputError) else next(predictions) for d in decoded)

    @torch.inference_mode()
    def outputs(self, pixels: np.ndarray, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Run the net in eval mode over some rows of decoded images.

        Args:
            pixels: uint8 [N, 3, S, S]; may be memory-mapped.
            rows: int64 [B].

        Returns:
            Class logits [B, K] (K = 1 for two classes), and of the auxiliary task numbers [B] in
            its own unit or logits [B, A], on the CPU.
        """
        a, device = self.about, self.device
        normalize = normalizer(a.mean, a.std, device)
        net = self._ready.to(device).eval()
        batches = ShrinkingBatches(eval_batch(device, a.image_size), device)
        outputs = batches.run(lambda b: net(normalize(upload(pixels[b], device))), rows)
        logits, auxiliary = (torch.cat(part).cpu() for part in zip(*outputs, strict=True))
        return logits, self.within_bounds(auxiliary)

    @cached_property
    def _ready(self) -> TwoHeadedNet:
        """The net as it ran in its study; `net` stays as it is saved.

        Heads of frozen networks were trained and tested on features of the folded one. In bfloat16
        the features of the other differ enough to change probabilities by up to some hundredths.
        """
        net = self.net
        if self.about.config.get("mode") not in FROZEN:
            return net
        network = fold_network(net.network, self.about.image_size, net.precision)
        network = network.to(memory_format=torch.channels_last)
        return TwoHeadedNet(network, net.heads, net.precision)

    def within_bounds(self, auxiliary: Tensor) -> Tensor:
        """Auxiliary outputs, cut to the bounds of a number, which a linear head does not know."""
        bounds = self.about.aux.bounds
        return auxiliary.clamp(*bounds) if bounds else auxiliary

    def _predict(self, pixels: np.ndarray) -> Iterator[Prediction]:
        logits, auxiliary = self.outputs(pixels, np.arange(len(pixels)))
        parts = choose(logits).tolist(), probabilities(logits).tolist()
        for label, each, value in zip(*parts, self.auxiliary_values(auxiliary), strict=True):
            yield Prediction(self.about.classes[label], each[label], tuple(each), value)

    def auxiliary_values(self, outputs: Tensor) -> Sequence[float | str | None]:
        """What the auxiliary outputs of B images say: numbers, names of classes, or None each."""
        task = self.about.aux
        if task.name not in self.about.learned:
            return [None] * len(outputs)
        if task.kind == "classification":
            return [task.classes[label] for label in choose(outputs).tolist()]
        numbers: list[float] = outputs.tolist()
        return numbers

    def _decode(self, pictures: Sequence[Picture], first: int) -> list[np.ndarray | InputError]:
        """Decode to uint8 [3, S, S] each; unnamed pictures are numbered, from `first` on."""
        names = [
            str(p) if isinstance(p, str | Path) else f"picture {i}"
            for i, p in enumerate(pictures, start=first)
        ]
        with decoding_threads() as pool:
            return list(pool.map(self._decode_one, pictures, names))

    def _decode_one(self, picture: Picture, name: str) -> np.ndarray | InputError:
        if not (isinstance(picture, str | Path | Image.Image) or hasattr(picture, "read")):
            kinds = "a path, an open file or a picture of Pillow is expected"
            return InputError([f"{name}: {kinds}, not {type(picture).__name__}"])
        try:
            if isinstance(picture, Image.Image):
                if tiles_of_low_bytes(picture):
                    return InputError([f"{name}: pass its path: Pillow keeps 8 of its 16 bits"])
                opened = to_picture(picture)
            else:
                opened = open_picture(Path(picture) if isinstance(picture, str) else picture)
            return to_square(opened, self.about.image_size, self.about.resize, self.about.scales)
        except Exception as error:  # Decoders may raise any error on a broken file.
            return InputError([f"{name}: {describe_failure(error)}"])
