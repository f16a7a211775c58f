"""A measurement whose workers never start; a test runs it as a program. Prints why, as JSON."""

import json
import os
import time
from pathlib import Path

import pytest

from study.cluster.ray_environment import set_ray_environment

set_ray_environment()

from study.cluster.local_ray import local_ray  # noqa: E402
from study.cluster.resources import this_machine  # noqa: E402
from study.diagnosis import measure  # noqa: E402
from study.diagnosis.probe_worker import Probe, ProbeWorker  # noqa: E402
from tests.conftest import SIDE, TINY  # noqa: E402
from tests.support.studies.builders import make_settings  # noqa: E402


class Stuck(ProbeWorker):
    """Has made its files, which it tells of, and is not up yet."""

    def __init__(self, probe: Probe) -> None:
        super().__init__(probe)
        (Path(os.environ["TMPDIR"]) / f"made-{self._folder.parent.name}").touch()
        time.sleep(1000)


def main() -> None:
    """Measure with such workers."""
    settings = make_settings(data="photos", backbone=TINY, image_size=SIDE, mode=("freeze",))
    with local_ray(0), pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "ProbeWorker", Stuck)
        found = measure.measure(settings, this_machine(), 0, lambda _: None)
    print(json.dumps([found.reasons, found.left]))


if __name__ == "__main__":
    main()
