"""Hosts in namespaces are apart as machines are, and one Ray spans them."""

import json
import sys
from pathlib import Path

import pytest

from tests.support.hosts import hosts, needs_hosts

WHERE = """
import json, ray, os, sys
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On
ray.init(sys.argv[1], log_to_driver=False)
def look(folder):
    try:
        import study.cluster.capacity
        code = True
    except ImportError:
        code = False
    return ray.util.get_node_ip_address(), sorted(os.listdir(folder)), code
ask = ray.remote(num_cpus=0)(look)
nodes = [n["NodeID"] for n in ray.nodes() if n["Alive"]]
asked = [ask.options(scheduling_strategy=On(n, soft=False)).remote(sys.argv[2]) for n in nodes]
print(json.dumps(ray.get(asked)))
"""


LISTEN = """
import socket, sys
door = socket.create_server((sys.argv[1], 7777))
print("open", flush=True)
while True:
    door.accept()[0].close()
"""
KNOCK = "import socket, sys; socket.create_connection((sys.argv[1], 7777), float(sys.argv[2]))"


def test_hosts_reach_each_other_until_the_cable_is_out() -> None:
    with hosts(2) as (one, two):
        door = two.start(sys.executable, "-c", LISTEN, two.address)
        assert door.stdout
        assert door.stdout.readline() == "open\n"

        def reached(patience_s: float) -> bool:
            knock = one.start(sys.executable, "-c", KNOCK, two.address, patience_s)
            return knock.wait() == 0

        assert reached(5)
        two.cut()
        assert not reached(0.5)
        two.mend()
        assert reached(5)
    assert door.poll() is not None


def test_a_private_folder_is_each_host_s_own(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "mine").touch()
    with hosts(2, [folder]) as (one, two):
        assert one.start("ls", folder).communicate()[0] == "mine\n"
        assert two.start("ls", folder).communicate()[0] == ""
        assert two.start("touch", folder / "theirs").wait() == 0
    assert [path.name for path in folder.iterdir()] == ["mine"]


@pytest.mark.cluster
def test_a_ray_spans_hosts_of_which_one_has_the_code(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "mine").touch()
    with hosts(3, [folder]) as (head, *others):
        head.ray()
        for other in others:
            other.ray(head)
        driver = head.start(sys.executable, "-c", WHERE, f"{head.address}:6379", folder)
        printed, told = driver.communicate()
    assert driver.returncode == 0, told
    found = {address: (names, code) for address, names, code in json.loads(printed)}
    assert found[head.address] == (["mine"], True)
    assert [found[other.address] for other in others] == [([], False), ([], False)]


def test_the_machine_is_asked_first() -> None:
    needs_hosts()
