"""`s3://`, with a server that speaks S3: what is read, how often it is asked, and what is said where something is not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from infer_runs import rows
from s3_server import Bucket, s3_environment

from dlcv.runtime.errors import UsageError
from dlcv.runtime.run.inference import InferSettings, Summary, infer
from dlcv.runtime.tiles.listing import find_tiles
from dlcv.runtime.tiles.urls import read_url, state_of


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_environment() as environment:
        yield environment["AWS_ENDPOINT_URL"]


@pytest.fixture
def bucket(endpoint: str, tmp_path: Path) -> Bucket:
    return Bucket(endpoint, tmp_path.name.replace("_", "-").lower())


def _infer(engine: Path, source: str, output: Path, say: Any = lambda line: None, **options: Any) -> Summary:
    settings = InferSettings.of(
        engine=engine, sources=(source,), output=output, session="onnxruntime", batch=1, **options
    )
    return infer(settings, say)


def _masks(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


def test_a_run_over_s3_writes_what_a_run_over_the_folder_writes(
    tiny_onnx: Path, bucket: Bucket, tile_folder: Path, tmp_path: Path
) -> None:
    (tile_folder / "bad.png").write_bytes(b"no image")
    url = bucket.put_folder(tile_folder, "tiles")
    here, there = (
        _infer(tiny_onnx, source, tmp_path / name, quiet=True)
        for name, source in (("here", str(tile_folder)), ("s3", url))
    )
    assert (there.done, there.failed) == (here.done, here.failed) == (6, 1)
    assert len(_masks(tmp_path / "s3")) == 6
    assert _masks(tmp_path / "s3") == _masks(tmp_path / "here")
    found, expected = rows(tmp_path / "s3"), rows(tmp_path / "here")
    assert {key: row._replace(tile=None) for key, row in found.items()} == {
        key: row._replace(tile=None) for key, row in expected.items()
    }
    assert found["bad.png"].reason.startswith("not an image: expected JPEG, PNG, ")


def test_what_vanishes_costs_itself_and_resume_sees_what_was_written_since(
    tiny_onnx: Path, bucket: Bucket, tile_folder: Path, tmp_path: Path
) -> None:
    """The second listing must not be the first one's, which s3fs would keep."""
    url = bucket.put_folder(tile_folder, "tiles")

    def say(line: str) -> None:
        if " through " in line:  # all are listed, and none is read
            bucket.remove("tiles/sub/c.png")

    first = _infer(tiny_onnx, url, tmp_path / "s3", say)
    assert (first.done, first.failed, first.first_failure) == (5, 1, "sub/c.png: there is no such file")
    bucket.put("tiles/sub/c.png", (tile_folder / "a.png").read_bytes())
    bucket.put("tiles/sub/new.png", (tile_folder / "b.png").read_bytes())
    bucket.put("tiles/b.png", (tile_folder / "sub/d.png").read_bytes() + b"\0")
    again = _infer(tiny_onnx, url, tmp_path / "s3", quiet=True, resume=True)
    assert (again.done, again.failed, again.resumed) == (7, 0, 4)
    masks = _masks(tmp_path / "s3")
    assert masks["sub/c.png.png"] == masks["a.png.png"] and masks["b.png.png"] == masks["sub/d.png.png"]


def test_a_tile_is_read_in_three_requests(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question is a request: where nothing was listed, as in a worker of a cluster, there were five a tile. The second is
    s3fs's own, which reads large objects in several pieces."""
    import s3fs

    bucket.put("a.png", b"12345")
    asked: list[str] = []
    call = s3fs.S3FileSystem._call_s3

    async def counted(self: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        asked.append(method)
        return await call(self, method, *args, **kwargs)

    monkeypatch.setattr(s3fs.S3FileSystem, "_call_s3", counted)
    url = f"s3://{bucket.name}/a.png"
    found = state_of(url)
    assert found is not None and found[0] == 5 and found[1] > 1_600_000_000 * 10**9
    assert read_url(url, 10, found[0]) == b"12345"
    assert asked == ["head_object", "head_object", "get_object"]


def test_what_cannot_be_listed(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in one line that names the URL."""
    import s3fs

    with pytest.raises(UsageError, match=r"^s3://no-such-bucket/tiles/ does not exist, or holds nothing$"):
        find_tiles(["s3://no-such-bucket/tiles/"])
    with pytest.raises(UsageError, match=rf"^s3://{bucket.name}/none/ does not exist, or holds nothing$"):
        find_tiles([f"s3://{bucket.name}/none/"])
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")  # else the cloud's own service is asked, where there is one
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    with pytest.raises(UsageError, match=r"^s3://.*/tiles/ cannot be listed: Unable to locate credentials$"):
        find_tiles([f"s3://{bucket.name}/tiles/"])
    s3fs.S3FileSystem.clear_instance_cache()
