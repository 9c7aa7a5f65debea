"""A server that speaks S3, in a thread of this process: moto's, whose objects are in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


class Bucket:
    """A bucket of a server at `endpoint`.

    Args:
        endpoint: `http://127.0.0.1:PORT`.
        name: of the bucket, which is made.
    """

    def __init__(self, endpoint: str, name: str) -> None:
        import boto3

        self.name = name
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        )
        self._client.create_bucket(Bucket=name)

    def put(self, key: str, data: bytes) -> None:
        """Writes an object."""
        self._client.put_object(Bucket=self.name, Key=key, Body=data)

    def put_folder(self, folder: Path, prefix: str) -> str:
        """All files below `folder`; gives their URL."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())
        return f"s3://{self.name}/{prefix}/"

    def remove(self, key: str) -> None:
        """Takes an object away."""
        self._client.delete_object(Bucket=self.name, Key=key)


@contextmanager
def s3_environment() -> Iterator[dict[str, str]]:
    """A server, and what the environment must hold for it; inside, this process's does."""
    s3fs = pytest.importorskip("s3fs", reason="the s3 extra is not installed")
    server_of_moto = pytest.importorskip("moto.server", reason="moto is not installed")
    server = server_of_moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    wanted = {**KEYS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    s3fs.S3FileSystem.clear_instance_cache()  # else one that another test has asked for a server that is gone answers
    try:
        yield wanted
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        server.stop()
