"""decode -> windows -> batches -> session -> answers -> finish, each stage in threads of its own; see `pipeline.py`."""

from dlcv.runtime.pipeline.batching import automatic_batch
from dlcv.runtime.pipeline.pipeline import Outcome, Pipeline
from dlcv.runtime.pipeline.settings import DEFAULT_OVERLAP, PipelineSettings
from dlcv.runtime.pipeline.times import STAGES, StageTimes
from dlcv.runtime.pipeline.verdict import Verdict, verdict

__all__ = [
    "DEFAULT_OVERLAP", "STAGES", "Outcome", "Pipeline", "PipelineSettings", "StageTimes", "Verdict", "automatic_batch",
    "verdict",
]  # fmt: skip
