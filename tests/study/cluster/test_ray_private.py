"""What is replaced in Ray is there in this release, and is put back."""

import pytest
from ray._private.node import Node

from study.cluster.ray_private import _UNUSED, only_what_runs_tasks


def test_a_ray_starts_no_process_that_no_study_uses() -> None:
    before = {name: getattr(Node, name) for name in _UNUSED}
    with only_what_runs_tasks():
        for name in _UNUSED:
            assert getattr(Node, name)(None, include_dashboard=False) is None
    assert {name: getattr(Node, name) for name in _UNUSED} == before


def test_a_release_without_one_of_them_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Node, "start_monitor")
    with only_what_runs_tasks():
        assert not hasattr(Node, "start_monitor")
    assert not hasattr(Node, "start_monitor")
