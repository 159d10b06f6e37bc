"""Wiring of MONAI's engines: handlers and the checks that a bundle runs first."""

from anomalyclip_med.data.datalist import datalist_name
from anomalyclip_med.engines.evaluation import evaluation_items, with_class_names
from anomalyclip_med.engines.feature_cache import CachedFeatures, cached
from anomalyclip_med.engines.handlers import ScanWriter, SliceProgress, make_output_dir
from anomalyclip_med.engines.metrics import MetricsWriter
from anomalyclip_med.engines.overrides import check_overrides
from anomalyclip_med.engines.training import (
    BatchShares,
    LabelledImages,
    ProceduralImages,
    PromptTraining,
    choose_loss,
    prepare_batch,
    training_images,
)
from anomalyclip_med.engines.training_handlers import (
    PromptsWriter,
    make_schedule,
    make_validator,
    training_handlers,
    training_settings,
    validation_images,
)

__all__ = [
    "BatchShares",
    "CachedFeatures",
    "LabelledImages",
    "MetricsWriter",
    "ProceduralImages",
    "PromptTraining",
    "PromptsWriter",
    "ScanWriter",
    "SliceProgress",
    "cached",
    "check_overrides",
    "choose_loss",
    "datalist_name",
    "evaluation_items",
    "make_output_dir",
    "make_schedule",
    "make_validator",
    "prepare_batch",
    "training_handlers",
    "training_images",
    "training_settings",
    "validation_images",
    "with_class_names",
]
