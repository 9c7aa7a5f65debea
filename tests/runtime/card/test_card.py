"""The model card's JSON: round trips, refusals in words, and never another error than CardError."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcv.runtime.card.card import INTERPOLATIONS, SCHEMA, ModelCard, SizeRange, card_from_dict, card_from_json
from dlcv.runtime.errors import CardError, UsageError

CARD = ModelCard(
    model="fcn8s", task="segmentation", classes=("land", "wäter\n"), palette=((0, 1, 2), (253, 254, 255)), uncounted=(1,),
    input_size_hw=(512, 256), mean_rgb=(123.675, 116.28, 103.53), std_rgb=(58.395, 57.12, 57.375), width=0.25, fit="pad",
    precision="fp16", head="mask", checkpoint_sha256="ab", onnx_sha256="cd", max_batch=8, versions={"torch": "2.13"},
)  # fmt: skip

channel_value = st.integers(0, 255)
positive = st.floats(1e-3, 1e3)


scalar = st.one_of(st.booleans(), st.integers(-9, 9), positive, st.text(max_size=5))


@st.composite
def cards(draw: st.DrawFn) -> ModelCard:
    count = draw(st.integers(1, 9))
    task = draw(st.sampled_from(["segmentation", "classification"]))
    size_hw = draw(st.tuples(st.integers(1, 65536), st.integers(1, 65536)))
    colours = st.lists(st.tuples(channel_value, channel_value, channel_value), min_size=count, max_size=count)
    own: dict[str, Any] = {
        "fit": "centre-crop",
        "short_side": draw(st.integers(max(size_hw), 65536)),
        "interpolation": draw(st.sampled_from(INTERPOLATIONS)),
        "palette": (),
        "head": draw(st.sampled_from(["none", "probs", "logits"])),
    }
    if task == "segmentation":
        own = {"palette": tuple(draw(colours)), "head": draw(st.sampled_from(["none", "mask", "probs", "logits"]))}
    return ModelCard(
        model=draw(st.text(max_size=9)),
        task=task,
        classes=tuple(draw(st.lists(st.text(max_size=9), min_size=count, max_size=count))),
        uncounted=tuple(draw(st.lists(st.integers(0, count - 1), max_size=3))),
        input_size_hw=size_hw,
        mean_rgb=draw(st.tuples(positive, positive, positive)),
        std_rgb=draw(st.tuples(positive, positive, positive)),
        width=draw(positive),
        options=draw(st.dictionaries(st.text(max_size=5), scalar, max_size=3)),
        members=draw(st.integers(1, 9)),
        max_batch=draw(st.integers(0, 64)),
        versions=draw(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3)),
        **own,
    )


@given(cards())
def test_json_gives_the_card_back(card: ModelCard) -> None:
    text = card.to_json()
    assert card_from_json(text, "x") == card
    assert card_from_json(text.encode("ascii"), "x") == card, "it stands in a plan as ASCII"
    assert "\n" not in text


def test_the_json_is_the_same_for_the_same_card() -> None:
    assert CARD.to_json() == card_from_json(CARD.to_json(), "x").to_json()
    assert json.loads(CARD.to_json())["schema"] == SCHEMA
    assert next(iter(CARD.to_dict())) == "schema"
    assert CARD.changed(head="probs").head == "probs"


def test_what_a_card_may_leave_out_has_defaults() -> None:
    needed = ("schema", "model", "task", "classes", "palette", "input_size_hw", "mean_rgb", "std_rgb")
    card = card_from_dict({name: value for name, value in CARD.to_dict().items() if name in needed}, "x")
    assert (card.width, card.fit, card.precision, card.head, card.max_batch) == (1.0, "windows", "fp32", "none", 0)


@pytest.mark.parametrize("name", ["model", "task", "classes", "palette", "input_size_hw", "mean_rgb", "std_rgb"])
def test_what_a_card_must_have(name: str) -> None:
    values = CARD.to_dict()
    del values[name]
    with pytest.raises(
        CardError, match=f"^a.onnx: its model card cannot be used \\(.*'{name}'\\); export the model again$"
    ):
        card_from_dict(values, "a.onnx")


def test_unknown_fields_of_the_same_schema_are_passed_over() -> None:
    assert card_from_dict({**CARD.to_dict(), "note": [1]}, "x") == CARD


def test_a_newer_schema_is_refused_in_words() -> None:
    with pytest.raises(
        CardError,
        match=rf"^a\.onnx: its model card has schema {SCHEMA + 1}, and this dlcv reads up to {SCHEMA}; upgrade",
    ):
        card_from_dict({**CARD.to_dict(), "schema": SCHEMA + 1}, "a.onnx")


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, b"\xff", "nul"])
def test_what_is_no_json(text: str | bytes) -> None:
    with pytest.raises(CardError, match=r"^a\.onnx: the model card is not valid JSON \(.*\); export the model again$"):
        card_from_json(text, "a.onnx")


@pytest.mark.parametrize("values", [None, [], 3, {}, {"schema": "1"}, {"schema": None}, {"schema": 1.5}])
def test_what_is_no_card(values: Any) -> None:
    with pytest.raises(CardError, match=r"^x: expected a dlcv model card, a JSON object with a number 'schema'"):
        card_from_dict(values, "x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "detection"}, "task 'detection', expected one of segmentation, classification"),
        ({"head": "depth"}, "head 'depth', expected one of none, mask, probs, logits"),
        ({"precision": "fp8"}, "precision 'fp8', expected one of fp32, fp16, bf16, int8"),
        ({"classes": []}, "0 classes, expected 1 to 256"),
        ({"classes": ["x"] * 257}, "257 classes, expected 1 to 256"),
        ({"classes": ["x"], "uncounted": []}, "2 colours for 1 classes"),
        ({"palette": [[0, 1, 2], [3, 4, 256]]}, "a colour that is not three numbers from 0 to 255"),
        ({"palette": [[0, 1], [3, 4]]}, "a colour that is not three numbers from 0 to 255"),
        ({"uncounted": [2]}, r"an uncounted class outside 0\.\.1"),
        ({"input_size_hw": [0, 5]}, "expected height and width from 1 to 65536"),
        ({"input_size_hw": [5]}, "expected height and width from 1 to 65536"),
        ({"mean_rgb": [1, 2]}, "mean and std that are not three numbers each"),
        ({"std_rgb": [1, 0, 1]}, "std above 0"),
        ({"std_rgb": [1, float("nan"), 1]}, "std above 0"),
        ({"mean_rgb": [1, float("nan"), 1]}, "finite"),
        ({"std_rgb": [1, float("inf"), 1]}, "finite"),
        ({"width": float("inf")}, "width inf"),
        ({"width": 0}, "width 0"),
        ({"max_batch": -1}, "max_batch -1"),
        ({"fit": "stretch"}, "fit 'stretch', expected one of windows, pad, resize"),
    ],
)
def test_values_out_of_range(change: dict[str, Any], message: str) -> None:
    with pytest.raises(CardError, match=message):
        card_from_dict({**CARD.to_dict(), **change}, "x")


def test_all_problems_are_told_together() -> None:
    with pytest.raises(CardError, match=r"task 'x'.*; head 'y'.*; precision 'z'"):
        CARD.changed(task="x", head="y", precision="z")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(list(CARD.to_dict())), json_values, max_size=4))
def test_any_values_give_a_card_or_a_card_error(changes: dict[str, Any]) -> None:
    with contextlib.suppress(CardError):
        card_from_dict({**CARD.to_dict(), **changes}, "x")


@given(st.text(max_size=80) | st.binary(max_size=80))
def test_any_text_gives_a_card_or_a_card_error(text: str | bytes) -> None:
    with pytest.raises(CardError):
        card_from_json(text, "x")


def test_the_fits_are_those_of_fitting() -> None:
    from dlcv.runtime.card import card
    from dlcv.runtime.fitting import fitting

    assert card.FITS["segmentation"] == fitting.FITS, "the card is standard library only, so the list stands there"


CLASSIFIER: dict[str, Any] = {
    "task": "classification", "fit": "centre-crop", "short_side": 256, "input_size_hw": (224, 200), "palette": (), "head": "probs",
}  # fmt: skip


def test_a_classifier_has_its_transform_and_no_palette() -> None:
    card = CARD.changed(**CLASSIFIER)
    assert card_from_json(card.to_json(), "x") == card
    assert len(card.changed(classes=tuple(map(str, range(1000))), uncounted=()).classes) == 1000


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fit": "windows"}, "fit 'windows', expected one of centre-crop"),
        ({"short_side": 223}, "short side 223, expected the input's longer side 224 or more"),
        ({"head": "mask"}, "head mask, expected probs or logits for classification"),
        ({"interpolation": "lanczos"}, "interpolation 'lanczos', expected one of area, linear, cubic"),
        ({"members": 0}, "0 members, expected 1 or more"),
        ({"classes": ("a",) * 10_001, "uncounted": ()}, "10001 classes, expected 1 to 10000"),
    ],
)
def test_a_classifier_that_cannot_be_run_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(CardError, match=said):
        CARD.changed(**CLASSIFIER | changes)


def test_a_card_of_the_first_schema_is_read() -> None:
    values = {k: v for k, v in CARD.to_dict().items() if k not in ("short_side", "interpolation", "options", "members")}
    assert card_from_dict(values | {"schema": 1}, "x") == CARD


@pytest.mark.parametrize("options", [[1], {"a": [1]}, {"a": {"b": 1}}, {"a": None}, "text"])
def test_options_are_plain_values(options: Any) -> None:
    with pytest.raises(CardError, match=r"^x: its model card cannot be used \(.*options"):
        card_from_dict({**CARD.to_dict(), "options": options}, "x")


RANGE = SizeRange((32, 32), (128, 160), 32)


def _ranged(**changed: Any) -> ModelCard:
    return CARD.changed(**{"task": "segmentation", "input_size_hw": (64, 64), "size_range": RANGE} | changed)


def test_sizes_that_vary_survive_json_and_are_absent_where_they_do_not() -> None:
    card = _ranged()
    assert card_from_json(card.to_json(), "x") == card
    assert json.loads(card.to_json())["size_range"] == {"min_hw": [32, 32], "max_hw": [128, 160], "multiple_of": 32}
    assert "size_range" not in CARD.to_dict(), "a card without is what older readers know"
    assert str(RANGE) == "32 x 32 to 128 x 160 in multiples of 32"


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"min_hw": [32, 32], "max_hw": [128], "multiple_of": 32}, "cannot be used"),
        ({"min_hw": [32, 32], "multiple_of": 32}, "cannot be used"),
        ({"min_hw": [96, 96], "max_hw": [128, 128], "multiple_of": 32}, r"with input size \(64, 64\) among them"),
        ({"min_hw": [32, 32], "max_hw": [128, 100], "multiple_of": 32}, "expected them in order"),
        ({"min_hw": [0, 32], "max_hw": [128, 128], "multiple_of": 32}, "from 1 to 65536"),
    ],
)
def test_sizes_that_cannot_be_are_told(value: Any, sentence: str) -> None:
    values = _ranged().to_dict() | {"size_range": value}
    with pytest.raises(CardError, match=sentence):
        card_from_json(json.dumps(values), "x")


def test_a_card_at_another_size() -> None:
    card = _ranged()
    assert card.at_size(None, "x") is card
    assert card.at_size((64, 64), "x") is card
    assert card.at_size((128, 160), "x").input_size_hw == (128, 160)
    with pytest.raises(UsageError, match=r"^--window 128 161: x takes 32 x 32 to 128 x 160 in multiples of 32; choose"):
        card.at_size((128, 161), "x")
    with pytest.raises(UsageError, match=r"alone; leave it out, or export with --dynamic-size$"):
        card.changed(size_range=None).at_size((128, 128), "x")
