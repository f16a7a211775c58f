"""cluster.yaml and cluster-local.yaml: `ray up` does what they say, to machines made of paper."""

import json
import resource
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws
from ray.autoscaler._private import commands
from ray.autoscaler._private.command_runner import SSHCommandRunner
from ray.autoscaler._private.providers import _clear_provider_cache, _get_node_provider
from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.instance_manager.ray_installer import RayInstaller
from ray.core.generated.instance_manager_pb2 import Instance  # type: ignore[attr-defined]

from tests.support.paper_machines import PaperMachines

ROOT = Path(__file__).parents[2]
HEAD, WORKER = "127.0.0.2", "127.0.0.3"
"""Addresses of one's own machines: numbers, so that nothing is looked up."""
WORKERS = {"ray-node-type": "worker"}
"""The tag by which Ray tells them from the head."""
PIP = "pip install -q -c constraints.txt -e .[cluster] [in tl-study, "
RAY = "ray start --head --port=6379 --dashboard-host=127.0.0.1"
MLFLOW = "mlflow server --host 127.0.0.1 --port 5000 --workers 1"
FILES = min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
AS_SET = f"mode token, threads all, files {FILES}]"


@pytest.fixture
def resources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PaperMachines:
    monkeypatch.chdir(ROOT)
    # Ray would make a folder for the sockets of ssh, in /tmp.
    monkeypatch.setattr(SSHCommandRunner, "_ensure_ssh_control_path", lambda _: None)
    _clear_provider_cache()  # type: ignore[no-untyped-call] # It knows the machines of other tests.
    return PaperMachines(tmp_path, monkeypatch)


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A stand-in for AWS, which has no need of the pauses that Ray makes."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))
    with mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        yield boto3.client("ec2", region_name="us-west-2")


def test_ray_up_sets_up_machines_at_hand(resources: PaperMachines, tmp_path: Path) -> None:
    _up(_own_machines(tmp_path))
    _check_head(resources, HEAD)
    _launch(_head_config(resources, HEAD), "local.cluster.node", HEAD)
    _check_worker(resources, WORKER, HEAD)


def test_a_server_of_mlflow_that_runs_is_the_only_one(
    resources: PaperMachines, tmp_path: Path
) -> None:
    runs = resources.home("new") / "mlflow-stays-up"
    runs.touch()
    path = _own_machines(tmp_path)
    _up(path)
    assert _count_mlflow(resources.calls(HEAD, 4)) == 1
    _up(path)
    assert _count_mlflow(resources.calls(HEAD, 6)) == 1

    (resources.home(HEAD) / runs.name).unlink()
    subprocess.run(["flock", resources.home(HEAD) / "mlflow/lock", "true"], check=True, timeout=20)
    _up(path)
    assert _count_mlflow(resources.calls(HEAD, 9)) == 2


@pytest.mark.integration
def test_ray_up_sets_up_machines_of_aws(resources: PaperMachines, tmp_path: Path, ec2: Any) -> None:
    group = ec2.create_security_group(GroupName="tl-study", Description="tl-study")["GroupId"]
    image = ec2.describe_images()["Images"][0]["ImageId"]
    _up(_fill(tmp_path, "cluster.yaml", ("ami-FILL-IN", image), ("sg-FILL-IN", group)))
    (head,) = _running(ec2)
    assert head["InstanceType"] == "m7i.2xlarge"
    _check_head(resources, head["PublicIpAddress"])

    config = _head_config(resources, head["PublicIpAddress"])
    provider = _launch(config, "gpu", head["PrivateIpAddress"])
    (worker,) = (one for one in _running(ec2) if one["InstanceId"] != head["InstanceId"])
    assert (worker["InstanceType"], worker["InstanceLifecycle"]) == ("g6.2xlarge", "spot")
    _check_worker(resources, worker["PrivateIpAddress"], head["PrivateIpAddress"])

    assert [_groups(one) for one in (head, worker)] == [[group], [group]]
    assert not _let_in(ec2)  # Ray has added nobody.
    provider.terminate_node(worker["InstanceId"])
    assert len(_running(ec2)) == 1


def _own_machines(folder: Path) -> Path:
    return _fill(
        folder,
        "cluster-local.yaml",
        ("head_ip: FILL-IN", f"head_ip: {HEAD}"),
        ("[FILL-IN]", f"[{WORKER}]"),
        ("ssh_user: FILL-IN", "ssh_user: me"),
        ("~/.ssh/id_ed25519", "~/.ssh/key"),
    )


def _fill(folder: Path, name: str, *pairs: tuple[str, str]) -> Path:
    """The file with what its user fills in."""
    text = (ROOT / name).read_text()
    for blank, entry in pairs:
        assert text.count(blank) == 1
        text = text.replace(blank, entry)
    path = folder / name
    path.write_text(text)
    assert "FILL-IN" not in text
    return path


def _up(path: Path) -> None:
    """`ray up -y`."""
    commands.create_or_update_cluster(
        str(path),
        override_min_workers=None,
        override_max_workers=None,
        no_restart=False,
        restart_only=False,
        yes=True,
        no_config_cache=True,
    )


def _head_config(resources: PaperMachines, address: str) -> dict[str, Any]:
    """What the head's autoscaler reads; from now on, this process is there."""
    resources.move_to(address)
    return dict(json.loads((resources.home(address) / "ray_bootstrap_config.yaml").read_text()))


def _launch(config: dict[str, Any], kind: str, head: str) -> NodeProvider:
    """What the head's autoscaler does for a worker."""
    provider: NodeProvider = _get_node_provider(config["provider"], config["cluster_name"])
    node = config["available_node_types"][kind]["node_config"]
    provider.create_node(node, WORKERS, 1)
    (worker,) = provider.non_terminated_nodes(WORKERS)
    instance = Instance(cloud_instance_id=worker, instance_type=kind)
    RayInstaller(provider, AutoscalingConfig(config)).install_ray(instance, head)
    return provider


def _check_head(resources: PaperMachines, address: str) -> None:
    install, *started = resources.calls(address, 4)
    mlflow, start, stop = sorted(started)  # MLflow starts in the background.
    assert install.startswith(PIP)
    assert stop.startswith("ray stop")
    assert start.startswith(f"{RAY} --autoscaling-config=~/ray_bootstrap_config.yaml [")
    assert start.endswith(AS_SET)
    assert mlflow.startswith(f"{MLFLOW} --backend-store-uri sqlite:///mlflow.db")
    assert "[in mlflow, " in mlflow
    _check_token(resources.home(address))


def _check_worker(resources: PaperMachines, address: str, head: str) -> None:
    # Ray sets workers of AWS up twice: laptop and head each add `setup_commands` to theirs.
    *installs, stop, start = resources.calls(address, 3)
    assert installs
    assert all(install.startswith(PIP) for install in installs)
    assert stop.startswith("ray stop")
    assert start.startswith(f"ray start --address={head}:6379 [")
    assert start.endswith(AS_SET)
    _check_token(resources.home(address))


def _check_token(home: Path) -> None:
    token = home / ".ray/auth_token"
    assert token.read_text() == "secret"
    assert stat.filemode(token.stat().st_mode) == "-rw-------"


def _count_mlflow(calls: list[str]) -> int:
    return sum(call.startswith("mlflow server") for call in calls)


def _running(ec2: Any) -> list[dict[str, Any]]:
    running = {"Name": "instance-state-name", "Values": ["running"]}
    found = ec2.describe_instances(Filters=[running])["Reservations"]
    return [instance for reservation in found for instance in reservation["Instances"]]


def _groups(instance: dict[str, Any]) -> list[str]:
    return [group["GroupId"] for group in instance["SecurityGroups"]]


def _let_in(ec2: Any) -> list[dict[str, Any]]:
    groups = ec2.describe_security_groups()["SecurityGroups"]
    return [rule for group in groups for rule in group["IpPermissions"]]
