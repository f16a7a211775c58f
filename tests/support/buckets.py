"""A real S3 server on this machine, with a bucket."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import boto3
from moto.server import ThreadedMotoServer

KEYS = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_EC2_METADATA_DISABLED": "true"}
"""The server accepts any."""


@contextmanager
def s3_bucket(name: str = "studies") -> Iterator[str]:
    """Yield the bucket's URI, with the options that pyarrow needs."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        at = f"http://{host}:{port}"
        with mock.patch.dict(os.environ, KEYS):
            boto3.client("s3", endpoint_url=at, region_name="us-east-1").create_bucket(Bucket=name)
            yield f"s3://{name}/mine?scheme=http&region=us-east-1&endpoint_override={host}:{port}"
    finally:
        server.stop()
