"""What the nodes of a cluster say of themselves decides whether, and on what, a study runs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from study.cluster.join import Node, NodeFault, versions
from study.cluster.node_report import NodeReport, ReportedNode, report_node, resources_of
from study.cluster.ray_environment import LOGICAL
from tests.support.studies.builders import make_settings
from tl_core.errors import InputError

SETTINGS = make_settings(data="photos", address="10.0.0.1:6379")


def seen(
    last: int, cpus: int = 8, gpus: int = 0, torch_finds: int | None = None, **changes: Any
) -> ReportedNode:
    found = gpus if torch_finds is None else torch_finds
    about = {"machine": "x86_64", "cpus": cpus, "gpus": ["L4"] * found}
    precisions: dict[str, Any] = {"cpu": "fp32"} | ({"cuda": "bf16"} if found else {})
    look = NodeReport(versions(), about, ((1, 2),) * found, precisions, None, 10**12, None, None)
    return ReportedNode(Node(f"id{last}", f"10.0.0.{last}", cpus, gpus), replace(look, **changes))


def test_nodes_are_added_up() -> None:
    resources = resources_of(SETTINGS, [seen(1), seen(2, 8, 1), seen(3, 16, 4)])
    assert (resources.cpus, resources.gpus, resources.joined) == (32, 5, True)
    assert resources.cpus_per_gpu == 4  # Of the node where GPUs have the fewest.
    assert resources.precisions == {"cpu": "fp32", "cuda": "bf16"}
    assert [node["node"] for node in resources.nodes] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


def test_networks_compute_in_what_every_node_has() -> None:
    old = seen(2, gpus=1, precisions={"cpu": "fp32", "cuda": "fp32"})
    assert resources_of(SETTINGS, [seen(1, gpus=1), old]).precisions["cuda"] == "fp32"


def test_every_node_at_fault_is_named() -> None:
    others = tuple((name, "0" if name == "torch" else has) for name, has in versions())
    bad = [
        ReportedNode(Node("id1", "10.0.0.1", 8, 0), NodeFault("No module named 'torch'")),
        seen(2, versions=others),
        seen(3, gpus=4, torch_finds=3),
        seen(4, cache_fault="--cache /c: /c can't be written: Read-only file system"),
        seen(5, weights_fault="no weights for resnet18"),
        seen(6),
    ]
    with pytest.raises(InputError) as caught:
        resources_of(SETTINGS, bad)
    faults = [
        str(fault).removeprefix("--address 10.0.0.1:6379: node ") for fault in caught.value.faults
    ]
    torch = dict(versions())["torch"]
    assert faults == [
        "10.0.0.1: No module named 'torch'",
        f"10.0.0.2 has torch 0 where the driver has {torch}: install constraints.txt there",
        "10.0.0.3: Ray counts 4 GPUs, torch finds 3",
        "10.0.0.4: --cache /c: /c can't be written: Read-only file system",
        "10.0.0.5: no weights for resnet18",
    ]


def test_compilers_matter_where_networks_learn() -> None:
    why = (
        "--compile is not possible here: torch.compile fails (no g++); install g++, or leave it out"
    )
    head, worker = seen(1, compiler_fault=why), seen(2, gpus=1)
    assert resources_of(SETTINGS, [head, worker]).gpus == 1
    on_cores = SETTINGS.model_copy(update={"gpus": 0})
    with pytest.raises(InputError, match=r"node 10\.0\.0\.1: --compile .*no g\+\+"):
        resources_of(on_cores, [head, worker])
    with pytest.raises(InputError, match=r"node 10\.0\.0\.2: --compile .*no g\+\+"):
        resources_of(SETTINGS, [head, seen(2, gpus=1, compiler_fault=why)])


def test_a_node_tries_its_compiler_if_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object, **__: object) -> None:
        raise RuntimeError("no g++")

    monkeypatch.setattr("torch.compile", none)
    assert report_node(tmp_path, None, compiles=False).compiler_fault is None
    assert "torch.compile fails (no g++)" in str(
        report_node(tmp_path, None, compiles=True).compiler_fault
    )


def test_logical_gpus_need_not_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOGICAL, "1")
    resources = resources_of(SETTINGS, [seen(1, gpus=4, torch_finds=0)])
    assert (resources.gpus, resources.gpus_are_real) == (4, False)
    assert resources.device(4).type == "cpu"
