"""Hosts in namespaces are apart as machines are; studies over them show that one Ray spans them."""

import sys
from pathlib import Path

from tests.support.hosts import ROOT, hosts

LISTEN = """
import socket, sys
door = socket.create_server((sys.argv[1], 7777))
print("open", flush=True)
while True:
    door.accept()[0].close()
"""
KNOCK = "import socket, sys; socket.create_connection((sys.argv[1], 7777), float(sys.argv[2]))"


def test_hosts_have_folders_of_their_own_and_meet_until_the_cable_is_out(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "mine").touch()
    with hosts(2, [folder]) as (one, two):
        assert one.start("ls", folder).communicate()[0] == "mine\n"
        # Nor has it this project's code.
        assert two.start("find", folder, ROOT / "study", "-type", "f").communicate()[0] == ""
        assert two.start("touch", folder / "theirs").wait() == 0
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
    assert [path.name for path in folder.iterdir()] == ["mine"]
