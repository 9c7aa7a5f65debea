"""A plan's proof covers the network, or nothing is known: what tells the layers of a plan may leave most of them out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dlcv.export.builders.plan_proof import PlanProof
from dlcv.runtime.errors import VerdictError
from dlcv.runtime.sessions.executed import Executed, Operator

LAYERS = tuple(Operator(f"conv{index}", "convolution", "int8", 100) for index in range(20))
NETWORK = Executed("network", LAYERS)
BY = "kernels in the build log"


def proof(*told: Operator, min_share: float = 0.9, network: Executed = NETWORK) -> PlanProof:
    return PlanProof("int8", network, Executed(BY, told), "", min_share)


def test_one_small_layer_of_twenty_proves_nothing() -> None:
    found = proof(
        replace(LAYERS[0], multiply_adds=1), network=Executed("n", (replace(LAYERS[0], multiply_adds=1), *LAYERS[1:]))
    )
    assert found.problems() == [], "the network's types bind it"
    assert found.sentence() == (
        "what was compiled is not known: kernels in the build log: 0.1% of the multiply-adds are told (1 of 20 layers), expected at least 90.0%"
    )
    assert found.to_dict()["compiled"] is None
    assert found.to_dict()["told"] == pytest.approx(1 / 1901)


def test_what_covers_the_share_is_known_and_tells_how_much() -> None:
    assert proof(*LAYERS).sentence() == f"{BY}: 100.0% in int8 (20 of 20 layers are told)"
    most = proof(*LAYERS[:18])
    assert most.sentence() == f"{BY}: 100.0% in int8 (18 of 20 layers are told, 90.0% of the multiply-adds)"
    assert most.to_dict()["compiled"]["multiply_adds"] == {"int8": 1800}
    assert proof(*LAYERS[:17]).to_dict()["compiled"] is None


def test_a_low_share_still_asks_for_half_of_the_network_and_a_whole_one_for_no_more_than_most() -> None:
    assert (
        proof(*LAYERS[:9], min_share=0.0)
        .sentence()
        .endswith("45.0% of the multiply-adds are told (9 of 20 layers), expected at least 50.0%")
    )
    assert proof(*LAYERS[:10], min_share=0.0).is_known
    assert proof(*LAYERS[:19], min_share=1.0).is_known
    assert not proof(*LAYERS[:18], min_share=1.0).is_known


def test_little_that_is_told_refutes_what_it_leaves_no_room_for() -> None:
    wrong = [replace(layer, precision="fp32") for layer in LAYERS]
    assert proof(*wrong[:2]).problems() == [], "two of twenty may be in float32"
    with pytest.raises(VerdictError) as caught:
        proof(*wrong[:3]).require()
    assert str(caught.value) == (
        "the plan is not in int8, no file was written: kernels in the build log: at most 85.0% in int8, expected at least 90.0%; not so: "
        "conv0 (convolution) in fp32, conv1 (convolution) in fp32, conv2 (convolution) in fp32; export with another --precision, or "
        "accept it with --min-share 0.85"
    )
    proof(*wrong[:3], min_share=0.85).require()


def test_layers_that_became_one_count_as_all_of_them() -> None:
    """Full TensorRT joins the names; the work of a name is the network's, and of a kernel without one its own."""
    fused = [Operator(" + ".join(one.name for one in LAYERS[:10]), "CaskConvolution", "int8", 1)]
    assert proof(*fused).coverage == 0.5
    assert proof(*fused, Operator("CONV0 || relu", "CaskConvolution", "int8", 900)).coverage == 0.95
    assert proof(Operator("x", "CaskConvolution", "int8", 10**6)).coverage == 1, "never more than the network"


def test_a_network_whose_work_is_not_known_is_covered_by_number() -> None:
    network = Executed("n, by the number of layers", tuple(replace(one, multiply_adds=1) for one in LAYERS))
    assert proof(*LAYERS[:5], Operator("x", "y", "int8", 77), network=network).coverage == pytest.approx(6 / 20)


def test_a_layer_compiled_in_less_than_the_network_says_is_refused_however_little_is_told() -> None:
    network = Executed("n", (replace(LAYERS[0], precision="fp32"), *LAYERS[1:]))
    (problem,) = proof(LAYERS[0], network=network).problems()
    assert problem == f"{BY}: conv0 (convolution) in int8, which the graph keeps in more"


def test_the_remedy_is_a_share_that_passes() -> None:
    network = Executed("n", (*LAYERS[:8], *(replace(one, precision="fp32") for one in LAYERS[8:])))
    with pytest.raises(VerdictError, match=r"--min-share 0\.40$"):
        proof(LAYERS[0], network=network).require()
    proof(LAYERS[0], network=network, min_share=0.4).require()


def test_tf32_is_what_float32_means_where_it_was_allowed() -> None:
    network = Executed("n", tuple(replace(one, precision="fp32") for one in LAYERS))
    compiled = Executed(BY, tuple(replace(one, precision="tf32" if k % 2 else "fp32") for k, one in enumerate(LAYERS)))
    strict = PlanProof("fp32", network, compiled, "", 1.0)
    with pytest.raises(VerdictError, match=r"50\.0% in fp32, 50\.0% in tf32, expected at least 100\.0% in fp32"):
        strict.require()
    allowed = replace(strict, tf32=True)
    allowed.require()
    assert allowed.sentence() == f"{BY}: 50.0% in fp32, 50.0% in tf32 (20 of 20 layers are told)", (
        "what ran is told as it is"
    )
    halves = replace(allowed, compiled=Executed(BY, tuple(replace(one, precision="fp16") for one in LAYERS)))
    with pytest.raises(VerdictError, match=r"100\.0% in fp16, expected at least 100\.0% in fp32"):
        halves.require()


def test_a_restored_layer_may_be_in_tf32_where_it_was_allowed() -> None:
    network = Executed("n", (replace(LAYERS[0], precision="fp32"), *LAYERS[1:]))
    compiled = Executed(BY, (replace(LAYERS[0], precision="tf32"), *LAYERS[1:]))
    strict = PlanProof("int8", network, compiled, "", 0.9)
    assert strict.problems() == [f"{BY}: conv0 (convolution) in tf32, which the graph keeps in more"]
    assert "in less than" in strict.sentence()
    allowed = replace(strict, tf32=True)
    assert not allowed.problems() and "in less than" not in allowed.sentence()
    lowered = replace(allowed, compiled=Executed(BY, (replace(LAYERS[0], precision="fp16"), *LAYERS[1:])))
    assert lowered.problems() == [f"{BY}: conv0 (convolution) in fp16, which the graph keeps in more"]
