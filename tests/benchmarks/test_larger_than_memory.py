"""A data set twice as large as what may be allocated trains, from the memory map."""

import sys

import pytest

from benchmarks.scaling.memory import measure


@pytest.mark.integration
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts maps on Linux only")
def test_an_epoch_over_more_images_than_memory_may_hold() -> None:
    data_mb, headroom_mb = 1_200, 600
    (tables,) = measure(data_mb, headroom_mb, side=128).values()
    row = {name: int(value) for name, value in tables[0].items() if name.endswith("_mb")}
    assert tables[0]["copy_refused"] == "True"
    assert row["epoch_read_mb"] > headroom_mb
    assert row["allocated_mb"] <= headroom_mb
    assert row["anon_peak_mb"] - row["anon_start_mb"] <= headroom_mb
