"""Wiring of MONAI's engines: handlers and the checks that a bundle runs first."""

from anomalyclip_med.data.datalist import datalist_name
from anomalyclip_med.engines.batches import BatchProgress, BatchShares
from anomalyclip_med.engines.excepthook import repeat_errors
from anomalyclip_med.engines.feature_cache import cached
from anomalyclip_med.engines.handlers import ScanWriter, SliceProgress, make_output_dir
from anomalyclip_med.engines.metrics import MetricsWriter
from anomalyclip_med.engines.overrides import check_overrides
from anomalyclip_med.engines.references import remember
from anomalyclip_med.engines.resume import Resume
from anomalyclip_med.engines.training import (
    LabelledImages,
    PromptTraining,
    choose_loss,
    prepare_batch,
    training_images,
    use_amp,
)
from anomalyclip_med.engines.training_handlers import (
    PromptsWriter,
    ScheduleSteps,
    TrainingProgress,
    make_schedule,
    summary_writer,
    training_settings,
    validation_images,
    validation_metric,
)

__all__ = [
    "BatchProgress",
    "BatchShares",
    "LabelledImages",
    "MetricsWriter",
    "PromptTraining",
    "PromptsWriter",
    "Resume",
    "ScanWriter",
    "ScheduleSteps",
    "SliceProgress",
    "TrainingProgress",
    "cached",
    "check_overrides",
    "choose_loss",
    "datalist_name",
    "make_output_dir",
    "make_schedule",
    "prepare_batch",
    "remember",
    "repeat_errors",
    "summary_writer",
    "training_images",
    "training_settings",
    "use_amp",
    "validation_images",
    "validation_metric",
]
