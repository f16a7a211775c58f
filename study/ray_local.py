"""Ray on this machine, for one study: up before its first task, down when it ends."""

import functools
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import ray
from ray._private import services

from study.machine import usable_cpus


@contextmanager
def local_ray(gpus: int, cpus: int | None = None) -> Iterator[None]:
    """Start Ray on the loopback address; `study.ray_environment` has set the environment."""
    on_sigterm = signal.getsignal(signal.SIGTERM)
    # A Ctrl-C, or what `timeout` and systemd send, reaches all processes of a group, and the study
    # can't end in order without its Ray. Ray has no option for this; it does end with the study.
    apart = functools.partial(services.ConsolePopen, process_group=0)
    with mock.patch.object(services, "ConsolePopen", apart):
        ray.init(
            address="local",
            num_cpus=cpus or usable_cpus(),
            num_gpus=gpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _node_ip_address="127.0.0.1",
        )
    signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own would end the study with nothing saved.
    try:
        yield
    finally:
        ray.shutdown()
