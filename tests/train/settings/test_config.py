"""Settings as TOML: what is written is read back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dlcv.runtime.errors import UsageError
from dlcv.train.cli.config_file import options_of_file
from dlcv.train.cli.train import main
from dlcv.train.settings.config import read_config, settings_text
from dlcv.train.settings.settings import TrainSettings, model_options

ODD = 'tiles "new"\\é\t\x7f😀'


@pytest.mark.parametrize(
    "settings",
    [
        TrainSettings(),
        TrainSettings(data=ODD, learning_rate=1.25e-7, ema=0.999, balanced_sampling=True, channels_last=False, crop=96),
        TrainSettings(snapshot_epochs="1,last", snapshot_tiles=("a b", 'c"d'), score_training=3, tensorboard=True),
        TrainSettings(
            model="resnet50", classes=("a b", 'c"d'), options={"stride_in_1x1": True}, warmup="2epochs", short_side=40,
            least_area=0.5,
        ),
    ],
)  # fmt: skip
def test_what_is_written_comes_back(settings: TrainSettings, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(settings_text(settings), encoding="utf-8")
    values, mistakes = options_of_file(path, main.params)
    assert mistakes == []
    values["options"] = model_options(values["options"])
    assert TrainSettings(**values) == settings


def test_every_setting_is_an_option() -> None:
    names = {param.name for param in main.params}
    assert set(TrainSettings().to_dict()) <= names


def test_defaults_of_command_and_settings_agree() -> None:
    defaults = main.make_context("dlcv-train", []).params
    for name, value in TrainSettings().to_dict().items():
        if name not in ("classes", "options", "snapshot_tiles"):
            assert defaults[name] == value, name


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(
        "epochs = -1\nlearning_rate = 0.1\nbatch = 2.5\nema = true\noptimizer = 'adam'\ndata = 3\nclasses = [1]\n"
        "balanced-sampling = 'yes'\nresume = true\nzzz = 1\nwidth = 1\nwarmup = 20\n"
    )
    values, mistakes = options_of_file(path, main.params)
    assert values == {"width": 1.0, "warmup": "20"} and isinstance(values["width"], float)
    assert [mistake.split(":")[0].split(";")[0] for mistake in mistakes] == [
        "epochs = -1", "unknown name 'learning_rate'", "batch = 2.5", "ema = True", "optimizer = 'adam'", "data = 3",
        "classes = [1]", "balanced-sampling = 'yes'", "unknown name 'resume'", "unknown name 'zzz'",
    ]  # fmt: skip
    assert "did you mean learning-rate?" in mistakes[1] and "expected a whole number" in mistakes[2]
    assert "expected a number" in mistakes[3] and "'adamw', 'sgd'" in mistakes[4] and "a text in quotes" in mistakes[5]


def test_what_is_no_toml_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.toml cannot be read: No such file"):
        read_config(tmp_path / "gone.toml")
    for content in (b"epochs: 3", b"\xff\xfe", b"a = " + b"[" * 3000):
        (tmp_path / "a.toml").write_bytes(content)
        with pytest.raises(UsageError, match=r"a\.toml is not TOML: .*; expected lines such as epochs = 20") as told:
            read_config(tmp_path / "a.toml")
        assert "\n" not in str(told.value) and str(told.value).startswith("--config ")
    with pytest.raises(UsageError, match=rf"^{re.escape(str(tmp_path))}/a\.toml is not TOML: "):
        read_config(tmp_path / "a.toml", what="")
