"""Which addresses processes listen on, as Linux tells it."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

Address = IPv4Address | IPv6Address

_STATES = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}
"""Of a socket that others may send to: TCP listens, UDP is bound and not connected."""


def listening(pids: Iterable[int]) -> dict[str, Address]:
    """Return the sockets of these processes that others may send to, and their addresses."""
    there = dict(_listeners())
    return {socket: there[socket] for pid in pids for socket in _sockets(pid) if socket in there}


def _listeners() -> Iterator[tuple[str, Address]]:
    for table, state in _STATES.items():
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, found, *_, inode = line.split()[:10]
            if found == state:
                yield f"socket:[{inode}]", _address(local.partition(":")[0])


def _address(digits: str) -> Address:
    # Words of four bytes, each turned round.
    words = [bytes.fromhex(digits[i : i + 8])[::-1] for i in range(0, len(digits), 8)]
    address = ip_address(b"".join(words))
    return getattr(address, "ipv4_mapped", None) or address


def _sockets(pid: int) -> Iterator[str]:
    links = []
    with suppress(OSError):  # It has ended meanwhile.
        links = list(Path(f"/proc/{pid}/fd").iterdir())
    for link in links:
        with suppress(OSError):  # It has closed this one.
            yield str(link.readlink())
