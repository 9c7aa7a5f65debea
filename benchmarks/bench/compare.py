"""Two results of `dlcv-bench`: what is better, worse or not distinguishable.

A measurement is worse when the whole interval of the change, not only its middle, lies beyond the margin: a test for an effect of a
least size (Murphy and Myors 1999), so that a difference too small to matter is never told, however many samples show it. The margin is
the tolerance, or the noise that either run measured of itself where that is larger.

Absolute times are compared on one machine alone. What the bare library does in the same rounds tells a slower machine from a slower
engine: where it changed alike, the change is the machine's; so it is where a kind of time has no noise of its own (processes, whose level moves
between runs) and the ratio to the bare library did not change. A ratio to another library than the engine's own counts where our own time changed
the same way: a baseline that became quicker is no slowdown of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePath
from typing import Any

from dlcv.benchmarks.bench.environment import same_machine
from dlcv.benchmarks.bench.report.tables import Table
from dlcv.benchmarks.bench.result import AGAIN, COLD, FILES, HOST, KINDS, OURS, Case, Result, Timing
from dlcv.benchmarks.bench.statistics import Interval, change_of, quantile, samples_for
from dlcv.runtime.errors import UsageError, VerdictError

TOLERANCE = 0.05
CONFIDENCE = 0.99
"""Of each interval: many are looked at, and each may miss."""
FEWEST = samples_for(0.5, CONFIDENCE)
"""Samples on either side: with fewer, no interval of the median has this confidence."""
BETTER, WORSE, SAME = "better", "worse", "not distinguishable"
MEMORY = "peak host memory"
_HOW = " with --device "
"""Between an engine's name and the rest of `Group.label`."""
_KIND_OF = {"host": HOST, "files": FILES, "cold": COLD}
"""What is missing where a measure failed."""
UNKNOWN_NOISE = 1.0
"""The margin of our own time, as a share, where neither its noise nor the bare library was measured beside it: starts of processes took
1.5 to 2.1 times as long in one of two runs of the same, as the machine was busy."""


@dataclass(frozen=True)
class Change:
    """A measurement that both results have.

    Attributes:
        case: its label, with the batch.
        kind: of time, or `MEMORY`.
        what: `dlcv`, or the ratio `dlcv / NAME`.
        change: new over old, with its interval; above 1 is worse. None with too few samples.
        margin: what the interval must lie beyond, as a share.
        verdict: `BETTER`, `WORSE` or `SAME`.
        why: what the verdict rests on, where it is not the interval alone.
    """

    case: str
    kind: str
    what: str
    change: Interval | None
    margin: float
    verdict: str
    why: str = ""


@dataclass(frozen=True)
class Comparison:
    """All changes, and lines for people."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...] = field(default=())
    lost: tuple[str, ...] = field(default=())
    """Cases that the earlier result has and the later one left out, in whole or one kind of time of them."""

    def of(self, verdict: str) -> list[Change]:
        """The changes with a verdict."""
        return [change for change in self.changes if change.verdict == verdict]

    def require(self) -> None:
        """For CI.

        Raises:
            VerdictError: when a case is lost, something is worse, or there is nothing to compare.
        """
        if self.lost:
            raise VerdictError(f"what ran before is not run any more: {'; '.join(self.lost)}")
        if not self.changes:
            raise VerdictError("the two results have no measurement in common: nothing was compared")
        if worse := self.of(WORSE):
            first = max(worse, key=lambda change: change.change.value if change.change else 0.0)
            raise VerdictError(
                f"{len(worse)} of {len(self.changes)} measurements are worse, the most {first.case}, {first.kind}, {first.what}: "
                f"{_text(first.change)} times"
            )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def compare(old: Result, new: Result, *, tolerance: float = TOLERANCE, any_engine: bool = False) -> Comparison:
    """Compares what both have measured.

    Args:
        old, new: the earlier and the later result.
        tolerance: changes up to this share do not matter.
        any_engine: cases are the same by device, session and batch alone: one engine against another.

    Raises:
        UsageError: with `any_engine`, where a result has several engines.
    """
    if any_engine:
        old, new = (_renamed(result) for result in (old, new))
    old = _named_as(old, new)
    before = {case.key: case for case in old.cases}
    common = [(before[case.key], case) for case in new.cases if case.key in before]
    other_machine = same_machine(dict(old.environment), dict(new.environment))
    same_software = old.environment.get("versions") == new.environment.get("versions")
    changes = [
        change for a, b in common for change in _case_changes(a, b, tolerance, absolute=not other_machine, same_software=same_software)
    ]  # fmt: skip
    notes = []
    if other_machine:
        notes.append(f"another machine ({'; '.join(other_machine)}): absolute times are not compared, ratios alone are")
    notes += _software_notes(old.environment, new.environment)
    notes += [
        f"{a.label}: the engine's file is another one than before"
        for a, b in common
        if a.engine.sha256 != b.engine.sha256
    ]
    for cases, others, where in ((old.cases, new.cases, "before"), (new.cases, old.cases, "now")):
        keys = {case.key for case in others}
        notes += [f"{case.label}, batch {case.batch}: measured {where} only" for case in cases if case.key not in keys]
    return Comparison(tuple(changes), tuple(dict.fromkeys(notes)), _lost(old, new))


def _renamed(result: Result) -> Result:
    """Its engine by the one name that both results then have."""
    engines = {(case.engine.name, case.computes) for case in result.cases}
    if len(engines) != 1:
        told = ", ".join(f"{name} in {computes}" for name, computes in sorted(engines))
        raise UsageError(f"--any-engine compares one engine with another; a result has {len(engines)}: {told}")
    cases = (replace(case, computes="any", engine=replace(case.engine, name="one engine")) for case in result.cases)
    left_out = {f"one engine{_HOW}{label.rpartition(_HOW)[2]}": why for label, why in result.left_out.items()}
    return replace(result, cases=tuple(cases), settings={}, left_out=left_out)


def _named_as(old: Result, new: Result) -> Result:
    """The earlier result, with the later one's name of an engine that it called otherwise, since a name has as many folders as tell it from
    the others of its run: the file name is the same, and the file, or else it is the only one of that file name on either side."""
    ours = {case.engine.name: case.engine.sha256 for case in old.cases}
    theirs = {case.engine.name: case.engine.sha256 for case in new.cases}
    names: dict[str, str] = {}
    for name in [name for name in ours if name not in theirs]:
        alike = [other for other in theirs if _file(other) == _file(name) and other not in ours]
        same = [other for other in alike if ours[name] and theirs[other] == ours[name]]
        alone = len(alike) == 1 and sum(_file(other) == _file(name) for other in ours) == 1
        if len(same) == 1 and same[0] not in names.values():
            names[name] = same[0]
        elif alone:
            names[name] = alike[0]
    cases = (
        replace(case, engine=replace(case.engine, name=names.get(case.engine.name, case.engine.name)))
        for case in old.cases
    )
    return replace(old, cases=tuple(cases))


def _file(name: str) -> str:
    return PurePath(name).name


def _lost(old: Result, new: Result) -> tuple[str, ...]:
    """The earlier cases, and kinds of time, that were asked for and that the later result left out; with its reasons."""
    found, lost, reasons = {case.key: case for case in new.cases}, [], dict[str, str]()
    for case in old.cases:
        label = f"{case.label}, batch {case.batch}"
        if case.key not in found:
            why = {told: why for told, why in new.left_out.items() if _asked(case, new.settings) and _fits(told, case)}
        else:
            kinds = {measure: kind for measure, kind in _KIND_OF.items() if kind in case.timings}
            why = {
                kinds[measure]: why
                for measure, why in found[case.key].missing.items()
                if measure in kinds and kinds[measure] not in found[case.key].timings
            }
        if why:
            lost.append(label)
            reasons |= why
    if not lost:
        return ()
    return (*lost, "left out: " + ", ".join(f"{label} ({why})" for label, why in reasons.items()))


def _fits(label: str, case: Case) -> bool:
    """Whether what was left out under a label (`Group.label`, and a batch) may have been this case."""
    name, _, how = label.rpartition(_HOW)
    how, _, batch = how.partition(", batch ")
    device, *options = how.split()
    session = options[options.index("--session") + 1] if "--session" in options else "auto"
    return (
        _file(name) == _file(case.engine.name)
        and device in ("auto", case.device)
        and session in ("auto", case.session)
        and batch in ("", str(case.batch))
    )


def _asked(case: Case, settings: Mapping[str, Any]) -> bool:
    """Whether a run of these settings was to measure a case, as far as they tell; what it computes in they do not."""
    found = {
        "engines": _file(case.engine.name), "devices": case.device, "sessions": case.session, "batches": case.batch,
    }  # fmt: skip
    return all(name not in settings or {value, "auto"} & set(settings[name]) for name, value in found.items())


def _case_changes(a: Case, b: Case, tolerance: float, *, absolute: bool, same_software: bool) -> Iterator[Change]:
    label, same_engine = f"{b.label}, batch {b.batch}", a.engine.sha256 == b.engine.sha256
    for kind in KINDS:
        if kind in a.timings and kind in b.timings:
            yield from _timing_changes(
                label, kind, a.timings[kind], b.timings[kind], tolerance, absolute, same_software and same_engine
            )
    if absolute and OURS in a.host_peak_mb and OURS in b.host_peak_mb:
        yield _change(label, MEMORY, OURS, a.host_peak_mb[OURS], b.host_peak_mb[OURS], tolerance)


def _timing_changes(
    label: str, kind: str, a: Timing, b: Timing, tolerance: float, absolute: bool, same_software: bool
) -> Iterator[Change]:
    margin = max(tolerance, noise_of(a), noise_of(b))
    ways = [way for way in a.baselines() if way in b.lanes]
    if OURS not in a.lanes or OURS not in b.lanes:  # device-only time: the engine, without dlcv
        if absolute:
            yield from (_change(label, kind, way, a.seconds(way), b.seconds(way), margin) for way in ways)
        return
    ratios = {way: _change(label, kind, f"{OURS} / {way}", _ratios(a, way), _ratios(b, way), margin) for way in ways}
    bare = next((way for way in ways if way.startswith("bare ")), None)
    own = None
    if absolute:
        own = _change(label, kind, OURS, a.seconds(OURS), b.seconds(OURS), margin)
        own_noise = AGAIN in a.lanes and AGAIN in b.lanes
        if bare is None and not own_noise:
            own = _change(label, kind, OURS, a.seconds(OURS), b.seconds(OURS), max(margin, UNKNOWN_NOISE))
        elif bare is not None and same_software and ratios[bare].verdict == SAME:
            control = _change(label, kind, bare, a.seconds(bare), b.seconds(bare), margin)
            own = _blamed_on_the_machine(own, control, own_noise)
    for way, ratio in ratios.items():
        yield ratio if way == bare and (same_software or own is None) else _of_ours(ratio, own)
    if own is not None:
        yield own


def _blamed_on_the_machine(change: Change, control: Change, own_noise: bool) -> Change:
    """Not distinguishable, where the bare library, with the same versions and the same file, changed alike, or the noise of `change` is not
    known; the ratio to it is the same."""
    if change.verdict == SAME or (own_noise and control.verdict != change.verdict):
        return change
    if control.verdict == change.verdict:
        return _undecided(change, f"{control.what} changed by {_text(control.change)} as well: the machine")
    return _undecided(change, f"beside {control.what} it did not change: the machine")


def _of_ours(ratio: Change, own: Change | None) -> Change:
    """A ratio to a library that is not the engine's own, or has another version now, tells of dlcv where its own time changed alike."""
    if ratio.verdict == SAME or (own is not None and own.verdict == ratio.verdict):
        return ratio
    if own is None:
        return _undecided(ratio, "on another machine the ratio of two libraries is another")
    return _undecided(ratio, "dlcv's own time did not change so: the other did")


def _undecided(change: Change, why: str) -> Change:
    return replace(change, verdict=SAME, why=why)


def _change(label: str, kind: str, what: str, old: Sequence[float], new: Sequence[float], margin: float) -> Change:
    if min(len(old), len(new)) < FEWEST:
        return Change(label, kind, what, None, margin, SAME, f"{min(len(old), len(new))} samples; {FEWEST} are needed")
    change = change_of(new, old, confidence=CONFIDENCE)
    return Change(label, kind, what, change, margin, verdict_of(change, margin))


def verdict_of(change: Interval, margin: float) -> str:
    """Worse or better when the whole interval lies beyond the margin."""
    if change.low > 1 + margin:
        return WORSE
    return BETTER if change.high < 1 / (1 + margin) else SAME


def noise_of(timing: Timing) -> float:
    """How far the same work, done twice in the same rounds, may seem to differ, as a share; 0 where it was not done twice, or too few times."""
    if OURS not in timing.lanes or AGAIN not in timing.lanes:
        return 0.0
    found = quantile(_ratios(timing, AGAIN), 0.5, CONFIDENCE)
    return 0.0 if found is None else max(abs(found.low - 1), abs(found.high - 1))


def _ratios(timing: Timing, way: str) -> list[float]:
    return [x / y for x, y in zip(timing.seconds(OURS), timing.seconds(way), strict=True)]


def _software_notes(old: Any, new: Any) -> list[str]:
    before, now = old.get("versions", {}), new.get("versions", {})
    return [
        f"{name} {before.get(name, 'absent')} before, {now.get(name, 'absent')} now"
        for name in sorted({*before, *now}) if before.get(name) != now.get(name)
    ]  # fmt: skip


def comparison_table(comparison: Comparison) -> Table:
    """Worse first."""
    order = (WORSE, BETTER, SAME)
    rows = [
        [change.case, change.kind, change.what, _text(change.change), f"{change.margin:.1%}",
         change.verdict + (f" ({change.why})" if change.why else "")]
        for change in sorted(comparison.changes, key=lambda change: order.index(change.verdict))
    ]  # fmt: skip
    counts = ", ".join(f"{len(comparison.of(verdict))} {verdict}" for verdict in order)
    below = [
        f"{counts}. New over old, with the interval of {CONFIDENCE:.0%}; above 1 is slower, or more. A change is told when its whole interval lies beyond the margin: the tolerance, or the noise that the runs measured of themselves.",
        *(f"{note}." for note in comparison.notes),
    ]  # fmt: skip
    return Table("Comparison", ["case", "time", "what", "new / old", "margin", "verdict"], rows, below)


def _text(change: Interval | None) -> str:
    return "-" if change is None else f"{change.value:.3f} ({change.low:.3f} to {change.high:.3f})"
