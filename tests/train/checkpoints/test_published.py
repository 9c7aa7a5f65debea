"""Published weights: fetched from a real server on this machine, checked by hash, kept in torch.hub's cache."""

from __future__ import annotations

import contextlib
import hashlib
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dlcv.runtime.errors import CheckpointError, OutputError, UsageError
from dlcv.train.checkpoints import published
from dlcv.train.checkpoints.published import published_file
from dlcv.train.checkpoints.weights import initialise
from dlcv.train.models import create_model, registry

WIDTH = 0.05


class WeightsServer(ThreadingHTTPServer):
    """Serves `files` by path; None is a server that goes silent."""

    files: dict[str, bytes | None]
    asked: list[str]
    block_on_close = False  # the silent answer may outlast the test


class Handler(BaseHTTPRequestHandler):
    server: WeightsServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path not in self.server.files:
            self.send_error(404)
            return
        data = self.server.files[self.path]
        if data is None:
            time.sleep(1)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[WeightsServer]:
    with WeightsServer(("127.0.0.1", 0), Handler) as running:
        running.files, running.asked = {}, []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch.hub's folder for weights, not made yet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    return tmp_path / "home" / "hub" / "checkpoints"


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Gives `fcn8s` an address of published weights."""

    def set_url(url: str) -> None:
        monkeypatch.setitem(registry.MODELS, "fcn8s", replace(registry.model_entry("fcn8s"), published=url))

    return set_url


@pytest.fixture
def data() -> bytes:
    """The features of a narrow VGG16, as a file of weights."""
    torch.manual_seed(2)
    state = create_model("fcn32s", classes=7, width=WIDTH).state_dict()
    return file_of({name: torch.randn_like(t) for name, t in state.items() if name.startswith("features.")})


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(1)
    return create_model("fcn8s", classes=7, width=WIDTH)


def file_of(state: dict[str, Tensor]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def serve(server: WeightsServer, data: bytes | None, name: str) -> str:
    server.files[f"/models/{name}"] = data
    return f"http://127.0.0.1:{server.server_address[1]}/models/{name}"


def hashed(data: bytes) -> str:
    return f"vgg16-{hashlib.sha256(data).hexdigest()[:8]}.pth"


def test_fetched_once_and_taken(
    server: WeightsServer, publish: Callable[[str], None], data: bytes, model: nn.Module, cache: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    publish(serve(server, data, hashed(data)))
    before = model.state_dict()["score.weight"].clone()
    said = initialise(model, "fcn8s", "imagenet")
    expected = torch.load(io.BytesIO(data), weights_only=True)
    own = model.state_dict()
    assert all(torch.equal(own[name], tensor) for name, tensor in expected.items())
    assert torch.equal(own["score.weight"], before)
    assert f"{hashed(data)}: 26 of the model's {len(own)} tensors taken; fresh: fc6.weight" in said
    assert [path.name for path in cache.iterdir()] == [hashed(data)] and (cache / hashed(data)).read_bytes() == data

    assert initialise(model, "fcn8s", "imagenet") == said
    assert len(server.asked) == 1
    assert capfd.readouterr() == ("", "")  # progress is for terminals


def test_what_torch_hub_cached_is_found(
    server: WeightsServer, publish: Callable[[str], None], data: bytes, cache: Path
) -> None:
    url = serve(server, data, hashed(data))
    publish(url)
    with contextlib.redirect_stdout(io.StringIO()):
        torch.hub.load_state_dict_from_url(url, progress=False, weights_only=True)
    assert published_file("fcn8s") == cache / hashed(data)
    assert len(server.asked) == 1


def test_what_was_fetched_is_found_by_torch_hub(
    server: WeightsServer, publish: Callable[[str], None], data: bytes
) -> None:
    url = serve(server, data, hashed(data))
    publish(url)
    published_file("fcn8s")
    assert "features.0.weight" in torch.hub.load_state_dict_from_url(url, progress=False, weights_only=True)
    assert len(server.asked) == 1


@pytest.mark.parametrize("cached", [b"", b"something else", "half"])
def test_a_cached_file_with_a_wrong_hash_is_fetched_again(
    server: WeightsServer, publish: Callable[[str], None], data: bytes, model: nn.Module, cache: Path,
    cached: bytes | str,
) -> None:  # fmt: skip
    publish(serve(server, data, hashed(data)))
    cache.mkdir(parents=True)
    (cache / hashed(data)).write_bytes(data[: len(data) // 2] if isinstance(cached, str) else cached)
    assert "26 of" in initialise(model, "fcn8s", "imagenet")
    assert (cache / hashed(data)).read_bytes() == data and len(server.asked) == 1


def test_a_download_with_a_wrong_hash_leaves_nothing(
    server: WeightsServer, publish: Callable[[str], None], data: bytes, model: nn.Module, cache: Path
) -> None:
    publish(serve(server, data, "vgg16-0123abcd.pth"))
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with pytest.raises(CheckpointError) as told:
        initialise(model, "fcn8s", "imagenet")
    got = hashlib.sha256(data).hexdigest()[:8]
    assert f"vgg16-0123abcd.pth came with a wrong hash and was deleted: expected 0123abcd, got {got}; " in str(
        told.value
    )
    assert "\n" not in str(told.value)
    assert list(cache.iterdir()) == []
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_without_a_network_the_error_says_what_to_fetch_and_where_to_put_it(
    publish: Callable[[str], None], data: bytes, model: nn.Module, cache: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as once:
        port = once.getsockname()[1]  # closed when the block ends
    url = f"http://127.0.0.1:{port}/models/{hashed(data)}"
    publish(url)
    with pytest.raises(CheckpointError) as told:
        initialise(model, "fcn8s", "imagenet")
    text, target = str(told.value), cache / hashed(data)
    assert text.startswith(f"cannot fetch {url} (") and "refused" in text and "\n" not in text
    assert text.endswith(f"; fetch it on a machine with a network and put it at {target}")
    assert list(cache.iterdir()) == []

    target.write_bytes(data)  # what the sentence asks for
    assert "26 of" in initialise(model, "fcn8s", "imagenet")


def test_a_bad_file_put_there_by_hand_is_deleted_and_told(
    publish: Callable[[str], None], server: WeightsServer, cache: Path
) -> None:
    publish(f"http://127.0.0.1:{server.server_address[1]}/gone/vgg16-0123abcd.pth")
    cache.mkdir(parents=True)
    (cache / "vgg16-0123abcd.pth").write_bytes(b"half of it")
    with pytest.raises(
        CheckpointError, match=r"had a wrong hash and was deleted; cannot fetch .* \(Not Found\); fetch it"
    ):
        published_file("fcn8s")
    assert list(cache.iterdir()) == []


def test_a_server_that_goes_silent_is_given_up(
    server: WeightsServer, publish: Callable[[str], None], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "TIMEOUT_S", 0.2)
    publish(serve(server, None, "vgg16-0123abcd.pth"))
    with pytest.raises(CheckpointError, match=r"cannot fetch .* \(timed out\)"):
        published_file("fcn8s")
    assert socket.getdefaulttimeout() is None
    assert list(cache.iterdir()) == []


def test_a_published_pickle_that_would_run_code_is_refused(
    server: WeightsServer, publish: Callable[[str], None], model: nn.Module, tmp_path: Path
) -> None:
    marker = tmp_path / "ran"

    class RunsCode:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (marker,)

    buffer = io.BytesIO()
    torch.save({"features.0.weight": RunsCode()}, buffer)
    publish(serve(server, buffer.getvalue(), hashed(buffer.getvalue())))
    with pytest.raises(CheckpointError, match="holds more than weights, nothing was run"):
        initialise(model, "fcn8s", "imagenet")
    assert not marker.exists()


def test_published_names_are_turned_into_the_models(server: WeightsServer, publish: Callable[[str], None]) -> None:
    class Renamed(nn.Linear):
        def from_published(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
            return {name.removeprefix("classifier."): tensor for name, tensor in state.items()}

    state = {"classifier.weight": torch.ones(2, 3), "classifier.bias": torch.ones(5)}
    publish(serve(server, file_of(state), hashed(file_of(state))))
    model = Renamed(3, 2)
    assert initialise(model, "fcn8s", "imagenet").endswith(
        "1 of the model's 2 tensors taken; fresh: bias (file 5, model 2)"
    )
    assert torch.equal(model.weight, torch.ones(2, 3))


def test_a_model_without_published_weights_lists_those_with(monkeypatch: pytest.MonkeyPatch, model: nn.Module) -> None:
    entry = registry.model_entry("fcn8s")
    entries = {
        "unet": replace(entry, published=""),
        "resnet18": replace(entry, published="http://127.0.0.1/resnet18-f37072fd.pth"),
    }
    monkeypatch.setattr(registry, "MODELS", entries)
    with pytest.raises(UsageError) as told:
        initialise(model, "unet", "imagenet")
    assert str(told.value) == (
        "there are no published weights of unet; train from scratch, or pass a file with --init FILE; "
        "models with published weights: resnet18"
    )


def test_a_narrow_model_is_told_that_published_weights_need_the_full_width(
    server: WeightsServer, publish: Callable[[str], None], data: bytes
) -> None:
    publish(serve(server, data, hashed(data)))
    with pytest.raises(CheckpointError, match=r"of another shape: features\.0\.weight \(file 8 x .*; pass the --width"):
        initialise(create_model("fcn8s", classes=7, width=0.5), "fcn8s", "imagenet")


@pytest.mark.parametrize("name", [name for name in registry.list_models() if registry.model_entry(name).published])
def test_every_published_address_carries_a_hash(name: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file_name = registry.model_entry(name).published.rpartition("/")[2]
    monkeypatch.setattr(
        registry, "MODELS", {name: replace(registry.model_entry(name), published=f"http://127.0.0.1:9/{file_name}")}
    )
    with pytest.raises(CheckpointError, match=rf"put it at .*{file_name}$"):
        published_file(name)


def test_an_address_without_a_hash_is_refused(publish: Callable[[str], None]) -> None:
    publish("http://127.0.0.1/models/vgg16.pth")
    with pytest.raises(UsageError, match=r"vgg16\.pth carries no hash"):
        published_file("fcn8s")


def test_a_cache_that_cannot_be_made_is_told(
    publish: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))
    publish("http://127.0.0.1/models/vgg16-0123abcd.pth")
    with pytest.raises(OutputError, match=r"cannot use .*vgg16-0123abcd\.pth: .*; set TORCH_HOME to another folder"):
        published_file("fcn8s")
