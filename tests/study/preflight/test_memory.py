"""Memory bounds how many networks learn at once, and who was killed for want of it is told so."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from study.preflight import memory
from study.preflight.memory import MemoryKills, _kept_bytes, free_memory, network_bytes
from study.preflight.prepare import Prepared
from tests.support.studies.asking import ask, faults_of
from tests.support.studies.builders import make_settings
from tests.support.study_fixtures import Patch
from tl_core.cgroups import Cgroups
from tl_core.models.backbones import Backbone

NET = {"mode": ["scratch"], "backbone": "mlp", "image_size": "32", "gpus": "0"}


def in_group(folder: Path, **files: str) -> Cgroups:
    (folder / "own").write_text("0::/\n")
    for name, content in files.items():
        (folder / name.replace("_", ".", 1)).write_text(content + "\n")
    return Cgroups(folder, folder / "own")


def test_free_memory_is_that_of_the_machine_or_of_the_group(tmp_path: Path) -> None:
    about = tmp_path / "meminfo"
    about.write_text("MemTotal: 9 kB\nMemAvailable:   4 kB\n")
    nothing = Cgroups(tmp_path / "none", tmp_path / "none")
    assert free_memory(nothing, about) == 4096
    group = in_group(tmp_path, memory_max="5000", memory_current="2000")
    assert free_memory(group, about) == 3000
    assert free_memory(nothing, tmp_path / "none") is None


def test_memory_of_the_processes_that_this_one_has_started(tmp_path: Path) -> None:
    for thread, children in (("1", "7 8 "), ("2", ""), ("3", "9 ")):
        (tmp_path / "1/task" / thread).mkdir(parents=True)
        (tmp_path / "1/task" / thread / "children").write_text(children)
    for child, about in (("7", "VmRSS: 9 kB\nRssAnon:\t  3 kB\n"), ("9", "RssAnon: 2 kB\n")):
        (tmp_path / child).mkdir()
        (tmp_path / child / "status").write_text(about)
    assert memory.taken(tmp_path / "1") == 5 * 1024, "process 8 has ended"
    assert memory.taken(tmp_path / "none") == 0
    hold = "held = bytearray(10**8); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=-1, stdout=-1) as process:
        assert process.stdout
        process.stdout.readline()
        (tmp_path / "1/task/1/children").write_text(f"{process.pid} ")
        (tmp_path / "1/task/3/children").write_text("")
        (tmp_path / f"{process.pid}").symlink_to(f"/proc/{process.pid}")
        assert 10**8 < memory.taken(tmp_path / "1") < 2 * 10**8
        process.communicate(b"\n")


def test_what_a_step_keeps_is_counted() -> None:
    network = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 1)).to("meta")
    # The inputs, 2 x 8, and what the ReLU makes, 2 x 4, which the next layer keeps as well.
    assert _kept_bytes(network, torch.empty(2, 8, device="meta")) == 4 * (2 * 8 + 2 * 4)


def test_the_state_of_a_network_and_its_checkpoint_count() -> None:
    layer = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 7))  # 28 numbers.
    backbone = Backbone("small", layer, 7, (0.5,) * 3, (0.5,) * 3, "none")
    settings = make_settings(mode=("scratch",), image_size=16)
    # Its value, its gradient, two moments; and twice a checkpoint of three.
    assert network_bytes(backbone, settings, on_gpu=True) == 3 * 650 * 10**6 + 4 * 6 * 28
    kept = network_bytes(backbone, settings) - 650 * 10**6 - 4 * (4 + 6) * 28
    assert 0 < kept < 10**6


@pytest.mark.parametrize(("free", "jobs", "places", "note"), [
    (2.0, None, 1, "networks at once: 1 of 4, by 2.0 GB of memory"),
    (3.5, None, 3, "networks at once: 3 of 4, by 3.5 GB of memory"),
    (9.0, None, 4, None),
    (9.0, "2", 2, None),
    (2.0, "3", 3, "--jobs 3 may be too many: 2.0 GB of memory"),
])  # fmt: skip
def test_memory_bounds_the_places(
    photo_folder: Path, monkeypatch: Patch, free: float, jobs: str | None, places: int,
    note: str | None,
) -> None:  # fmt: skip
    monkeypatch.setattr(memory, "free_memory", lambda: int(free * 10**9))
    monkeypatch.setattr(memory, "taken", lambda: 0)
    monkeypatch.setattr("study.cluster.resources.usable_cpus", lambda: 4)
    prepared = ask(photo_folder, **NET, **({"jobs": jobs} if jobs else {}))
    assert prepared.capacity.full == places
    assert [n for n in prepared.notes if n.startswith(note or "networks")] == [
        n for n in prepared.notes if note and n.startswith(note)
    ]
    assert any(n.startswith(note) for n in prepared.notes) if note else True


def assert_unbounded(prepared: Prepared) -> None:
    """A network for each core: memory bounds none."""
    assert prepared.capacity.full == prepared.resources.cpus_for(prepared.gpus)


def test_not_even_one_network_fits(photo_folder: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 10**8)
    monkeypatch.setattr(memory, "OWN", Cgroups(Path("none"), Path("none")))
    (fault,) = faults_of(photo_folder, **NET)
    assert fault.startswith("--backbone mlp takes about 8")
    assert "in mode scratch, 100.0 MB of memory are free; use a smaller --batch-size," in fault
    (note,) = (n for n in ask(photo_folder, jobs="1", **NET).notes if n.startswith("--jobs"))
    assert note.startswith("--jobs 1 may be too many: 100.0 MB of memory, about 8")
    # Heads alone take no memory worth the name.
    assert_unbounded(ask(photo_folder, mode=["freeze"], weights="none", backbone="mlp"))


def test_a_kill_for_want_of_memory_is_told_from_others(tmp_path: Path) -> None:
    group = in_group(tmp_path, memory_max="2000000000", memory_events="oom_kill 1")
    kills = MemoryKills(group)
    assert kills.explain("The process is killed by SIGKILL by OOM killer") is None
    (tmp_path / "memory.events").write_text("oom_kill 2\n")
    why = "worker killed: out of memory (limit 2.0 GB); use --jobs with fewer at once, or "
    assert str(kills.explain("anything")).startswith(why)
    assert kills.explain("anything") is None
    assert str(kills.explain("killed due to the node running low on memory")).startswith(why)


def test_memory_bounds_the_workers_that_make_features(monkeypatch: Patch) -> None:
    network = nn.Linear(999, 50_000, bias=True)  # 50 million numbers, 200 MB.
    monkeypatch.setattr(memory, "taken", lambda: 0)
    # Beside 0.9 GB for other processes, 0.65 + 0.3 + 0.2 GB each.
    for free, held in ((1.0, 1), (3.3, 2), (99.0, 4)):
        monkeypatch.setattr(memory, "free_memory", lambda free=free: int(free * 10**9))
        assert memory.extractors(network, 4) == held
    monkeypatch.setattr(memory, "free_memory", lambda: 3 * 10**9)
    # MLflow's process, whose memory is not free any more, is not counted again.
    for there, held in ((0.0, 1), (0.3, 2), (0.9, 2), (99.0, 2)):
        monkeypatch.setattr(memory, "taken", lambda there=there: int(there * 10**9))
        assert memory.extractors(network, 4) == held
    monkeypatch.setattr(memory, "free_memory", lambda: None)
    assert memory.extractors(network, 4) == 4


def test_a_network_that_computes_with_numbers_is_told(
    photo_folder: Path, monkeypatch: Patch
) -> None:
    def fails(*_: object, **__: object) -> int:
        raise NotImplementedError

    monkeypatch.setattr(memory, "network_bytes", fails)
    prepared = ask(photo_folder, **NET)
    assert_unbounded(prepared)
    assert any(note.startswith("memory a network: not known") for note in prepared.notes)
