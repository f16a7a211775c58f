"""cluster.yaml and cluster-local.yaml, read by Ray's own launcher, on machines made of paper."""

import functools
import ipaddress
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private import commands
from ray.autoscaler._private.command_runner import SSHCommandRunner
from ray.autoscaler._private.providers import _get_node_provider
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.instance_manager.ray_installer import RayInstaller
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.autoscaler_pb2 import GangResourceRequest
from ray.core.generated.instance_manager_pb2 import Instance

from tests.paper_machines import PaperMachines

ROOT = Path(__file__).parents[1]
AWS, LOCAL = "cluster.yaml", "cluster-local.yaml"
HEAD, WORKER = "127.0.0.2", "127.0.0.3"
"""Their addresses: numbers, so that nothing is looked up; no one listens there."""
INSTALL = "tl-study $ pip install -q -c constraints.txt -e .[cluster]"
AS_SET = "mode=token threads=all files=65536"
ANYWHERE = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]

both = pytest.mark.parametrize("name", [AWS, LOCAL])


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PaperMachines:
    monkeypatch.chdir(ROOT)
    # Ray would make a folder for the sockets of ssh, in /tmp.
    monkeypatch.setattr(SSHCommandRunner, "_ensure_ssh_control_path", lambda _: None)
    return PaperMachines(tmp_path, monkeypatch)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """EC2 of a stand-in for AWS, for those who have an account."""
    import boto3
    from moto import mock_aws

    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(variable, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))
    with mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        yield boto3.client("ec2")


@both
def test_ray_accepts_the_file(name: str) -> None:
    validate_config(prepare_config(_read(name)))


@both
def test_the_file_opens_no_port_to_the_world(name: str) -> None:
    words = _words(_read(name))
    assert not any(_is_anywhere(word) for word in words)
    assert _after("--dashboard-host", words) == ["127.0.0.1"]
    assert _after("--host", words) == ["127.0.0.1"]  # MLflow's.
    assert not _after("--node-ip-address", words)


def test_both_files_start_the_same_things() -> None:
    ours, theirs = _read(LOCAL), _read(AWS)
    for key in ("file_mounts", "rsync_exclude", "worker_start_ray_commands"):
        assert ours[key] == theirs[key]
    assert set(ours["setup_commands"]) < set(theirs["setup_commands"])
    *first, start = ours["head_start_ray_commands"]
    *their_first, their_start = theirs["head_start_ray_commands"]
    assert (first, start.replace(" RAY_enable_autoscaler_v2=0", "")) == (their_first, their_start)


def test_a_trial_that_waits_brings_a_machine_with_a_gpu_up_to_four() -> None:
    assert [_brought(n_trials) for n_trials in (0, 1, 3, 9)] == [{}, {"gpu": 1}, {"gpu": 3}, {"gpu": 4}]


def test_ray_up_sets_up_machines_at_hand(machines: PaperMachines, tmp_path: Path) -> None:
    _up(_filled(tmp_path, LOCAL, _own_machines))
    _check_head(machines, HEAD)
    _install_worker(machines, "local.cluster.node", WORKER, HEAD)
    _check_worker(machines, WORKER, HEAD)


def test_a_second_ray_up_starts_no_second_mlflow(machines: PaperMachines, tmp_path: Path) -> None:
    lasting = machines.home("there") / "bin/called"
    lasting.write_text(lasting.read_text() + "[ ${0##*/} != mlflow ] || sleep 60")
    for _ in range(2):
        _up(_filled(tmp_path, LOCAL, _own_machines))
    assert len([call for call in machines.calls(HEAD) if "ray start" in call]) == 2
    assert len([call for call in machines.calls(HEAD) if "mlflow server" in call]) == 1


def test_ray_up_sets_up_machines_of_aws(machines: PaperMachines, tmp_path: Path, aws: Any) -> None:
    group = aws.create_security_group(GroupName="tl-study", Description="tl-study")["GroupId"]
    image = aws.describe_images()["Images"][0]["ImageId"]
    _up(_filled(tmp_path, AWS, functools.partial(_fill_ids, group=group, image=image)))
    (head,) = _instances(aws, "m7i.2xlarge")
    _check_head(machines, head["PublicIpAddress"])

    config = _config_of(machines, head["PublicIpAddress"])
    provider = _get_node_provider(config["provider"], config["cluster_name"])
    node = config["available_node_types"]["gpu"]["node_config"]
    provider.create_node(node, {"ray-node-type": "worker"}, 1)
    (worker,) = _instances(aws, "g6.2xlarge")
    assert worker["InstanceLifecycle"] == "spot"
    _install(machines, config, "gpu", worker["InstanceId"], head["PrivateIpAddress"])
    _check_worker(machines, worker["PrivateIpAddress"], head["PrivateIpAddress"])

    for instance in (head, worker):
        assert [group["GroupId"] for group in instance["SecurityGroups"]] == [group]
    provider.terminate_node(worker["InstanceId"])
    assert not _instances(aws, "g6.2xlarge")  # Not stopped, which would leave its disk.


def _read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / name).read_text()))


def _words(value: Any) -> list[str]:
    """All words of all values, of lists and of keys."""
    if isinstance(value, dict):
        return [word for pair in value.items() for part in pair for word in _words(part)]
    if isinstance(value, list):
        return [word for item in value for word in _words(item)]
    return re.split(r"[\s=]+", str(value))


def _after(option: str, words: list[str]) -> list[str]:
    return [value for word, value in zip(words, words[1:], strict=False) if word == option]


def _is_anywhere(word: str) -> bool:
    try:
        return ipaddress.ip_network(word).network_address.is_unspecified
    except ValueError:
        return False


def _brought(n_trials: int) -> dict[str, int]:
    """Machines that Ray's autoscaler launches, by type, when so many trials wait."""
    config = AutoscalingConfig(_read(AWS), skip_content_hash=True)
    trial = ResourceRequestUtil.make({"CPU": 1, "GPU": 1})
    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs=config.get_node_type_configs(),
        max_num_nodes=config.get_max_num_nodes(),
        resource_requests=ResourceRequestUtil.group_by_count([trial] * n_trials),
    )
    reply = ResourceDemandScheduler().schedule(request)
    return {launch.instance_type: launch.count for launch in reply.to_launch}


def _filled(folder: Path, name: str, fill: Callable[[dict[str, Any]], None]) -> Path:
    """The file with what a user fills in."""
    config = _read(name)
    fill(config)
    path = folder / name
    path.write_text(yaml.safe_dump(config))
    assert "FILL-IN" not in path.read_text()
    return path


def _fill_addresses(config: dict[str, Any]) -> None:
    config["provider"] |= {"head_ip": HEAD, "worker_ips": [WORKER]}
    config["auth"] = {"ssh_user": "me", "ssh_private_key": "~/.ssh/key"}


def _fill_ids(config: dict[str, Any], group: str, image: str) -> None:
    for kind in config["available_node_types"].values():
        kind["node_config"] |= {"ImageId": image, "SecurityGroupIds": [group]}


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


def _config_of(machines: PaperMachines, head: str) -> dict[str, Any]:
    """What the head's autoscaler reads."""
    text = (machines.home(head) / "ray_bootstrap_config.yaml").read_text()
    return dict(json.loads(text))


def _instances(aws: Any, kind: str) -> list[dict[str, Any]]:
    running = {"Name": "instance-state-name", "Values": ["running"]}
    found = aws.describe_instances(
        Filters=[running, {"Name": "instance-type", "Values": [kind]}]
    )
    return [one for reservation in found["Reservations"] for one in reservation["Instances"]]
