"""Host to host, and on the device alone: our session, itself again and the baselines, in turn in this process."""

from __future__ import annotations

from dataclasses import replace

from dlcv.benchmarks.bench.cuda_events import NOT_ON_A_CPU
from dlcv.benchmarks.bench.images import images_of
from dlcv.benchmarks.bench.measure import interleaved, on, timed
from dlcv.benchmarks.bench.nvml import watched
from dlcv.benchmarks.bench.request import Running, Shared
from dlcv.benchmarks.bench.result import AGAIN, DEVICE, HOST, OURS, Case


def with_host(case: Case, running: Running, shared: Shared) -> Case:
    """The case with host-to-host and device-only time, with the GPU watched meanwhile."""
    images, effort, opened = images_of(case), shared.request.effort, running.opened
    with watched(shared.gpu) as readings:
        ways = {name: timed(on(session.run, images)) for name, session in zip((OURS, AGAIN), running.sessions)}
        ways |= {name: timed(on(run, images)) for name, run in opened.runs().items()}
        host = interleaved(ways, effort, must=OURS)
        on_device = {one.name: on(one.device_s, images) for one in opened.baselines if one.device_s}
        device = interleaved(on_device, effort)
    case = case.with_timing(HOST, host.lanes, opened.missing | host.missing)
    if device.lanes:
        case = case.with_timing(DEVICE, device.lanes, device.missing)
    else:
        case = case.without(DEVICE, "; ".join(device.missing.values()) or _why_not_on_the_device(case, running))
    if readings.power_w and case.device == "cuda":
        return replace(case, gpu=readings.facts())
    return case.without("power and clocks", shared.why_no_gpu(case.device))


def _why_not_on_the_device(case: Case, running: Running) -> str:
    if case.device == "cpu":
        return NOT_ON_A_CPU
    why = next((one.no_device_s for one in running.opened.baselines if one.no_device_s), "")
    return why or "it is measured in the bare library: add bare to --baselines"
