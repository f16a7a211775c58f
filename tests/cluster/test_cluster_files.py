"""cluster.yaml and cluster-local.yaml: what Ray makes of them, and whom they let in."""

import inspect
import ipaddress
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.aws import config as aws
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil

ROOT = Path(__file__).parents[2]
AWS, LOCAL = "cluster.yaml", "cluster-local.yaml"

both = pytest.mark.parametrize("name", [AWS, LOCAL])


@both
def test_ray_accepts_the_file(name: str) -> None:
    validate_config(prepare_config(_read(name)))


@both
def test_the_file_opens_no_port_to_the_world(name: str) -> None:
    words = _words(_read(name))
    assert not [word for word in words if _is_every_address(word)]
    assert "--node-ip-address" not in words
    for option in ("--dashboard-host", "--host"):
        assert words[words.index(option) + 1] == "127.0.0.1"


def test_no_machine_of_aws_gets_the_group_that_ray_makes_which_opens_ssh_to_the_world() -> None:
    for kind in _read(AWS)["available_node_types"].values():
        assert kind["node_config"]["SecurityGroupIds"] == ["sg-FILL-IN"]


def test_a_role_for_a_bucket_is_put_in_by_taking_out_a_mark() -> None:
    line = "IamInstanceProfile: {Name: YOUR-PROFILE}"
    given = yaml.safe_load((ROOT / AWS).read_text().replace(f"# {line}", line))
    validate_config(prepare_config(given))
    kinds = given["available_node_types"]
    assert kinds["gpu"]["node_config"].pop("IamInstanceProfile") == {"Name": "YOUR-PROFILE"}
    assert given == _read(AWS)


def test_the_role_that_ray_makes_for_the_head_is_told() -> None:
    comments = _comments(AWS)
    assert f"`{aws.DEFAULT_RAY_IAM_ROLE}`" in comments
    rights = re.findall(r"policy/(\w+)", inspect.getsource(aws._configure_iam_role))
    assert rights == ["AmazonEC2FullAccess", "AmazonS3FullAccess"]
    assert all(right in comments for right in rights)


@both
def test_what_is_put_into_bashrc_is_one_line_which_the_command_told_takes_out(
    name: str, tmp_path: Path
) -> None:
    [out] = re.findall(r"sed -i '.*' ~/\.bashrc(?=\n|$)", _comments(LOCAL))
    [into] = [line for line in _read(name)["setup_commands"] if "bashrc" in line]
    bashrc, before = tmp_path / ".bashrc", "alias ll='ls -l'\n"
    bashrc.write_text(before)
    for _ in range(2):
        _bash(into, tmp_path)
    assert len(bashrc.read_text().splitlines()) == 2
    _bash(out, tmp_path)
    assert bashrc.read_text() == before


def test_on_machines_at_hand_all_is_as_on_aws_but_for_the_autoscaler() -> None:
    ours, theirs = _read(LOCAL), _read(AWS)
    for key in ("file_mounts", "rsync_exclude", "worker_start_ray_commands"):
        assert ours[key] == theirs[key]
    assert [line for line in theirs["setup_commands"] if "apt-get" not in line] == (
        ours["setup_commands"]
    )
    assert [
        line.replace(" RAY_enable_autoscaler_v2=0", "") for line in ours["head_start_ray_commands"]
    ] == theirs["head_start_ray_commands"]


def test_trials_that_wait_bring_machines_with_a_gpu_up_to_four() -> None:
    assert _brought(0) == {}
    assert _brought(3) == {"gpu": 3}
    assert _brought(9) == {"gpu": 4}


def _read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / name).read_text()))


def _comments(name: str) -> str:
    lines = (ROOT / name).read_text().splitlines()
    return "\n".join(line.strip("# ") for line in lines if line.lstrip().startswith("#"))


def _bash(command: str, home: Path) -> None:
    env = {"HOME": str(home), "PATH": os.environ["PATH"]}
    subprocess.run(["bash", "-c", command], env=env, check=True, timeout=60)


def _words(value: Any) -> list[str]:
    """The words of all keys and values, in order."""
    if isinstance(value, dict):
        return [word for pair in value.items() for part in pair for word in _words(part)]
    if isinstance(value, list):
        return [word for item in value for word in _words(item)]
    return re.split(r"[\s=,]+", str(value))


def _is_every_address(word: str) -> bool:
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
