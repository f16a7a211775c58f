"""Features by a process that has nothing yet.

`python -m benchmarks.gpu.cold IMAGES BACKBONE DEVICE`
"""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

_START = time.perf_counter()

import torch  # noqa: E402

from tl_core.data.datasets import ImageSet  # noqa: E402
from tl_core.device import best_precision  # noqa: E402
from tl_core.inputs.features import load_features  # noqa: E402
from tl_core.models.backbones import load_backbone  # noqa: E402


def main() -> None:
    """Make the features twice, and print the seconds of each part as JSON."""
    images, device = ImageSet.open(Path(sys.argv[1])), torch.device(sys.argv[3])
    imported = time.perf_counter()
    torch.manual_seed(0)
    backbone = load_backbone(sys.argv[2], "none", images.image_size)
    backbone = replace(backbone, precision=best_precision(device))
    spent = {"imports_s": imported - _START}
    for name in ("features_s", "again_s"):
        start = time.perf_counter()
        with TemporaryDirectory() as cache:
            rows = load_features(images, backbone, Path(cache), device)
            assert len(rows) == len(images.labels)
        spent[name] = time.perf_counter() - start
    print(json.dumps(spent))


if __name__ == "__main__":
    main()
