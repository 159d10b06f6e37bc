"""Handlers of the trainer: what is written, shown and resumed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint
from monai.data import DistributedSampler
from monai.engines import SupervisedEvaluator
from monai.handlers import EarlyStopHandler, IgniteMetricHandler, TensorBoardStatsHandler, ValidationHandler
from torch import Tensor
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from anomalyclip_med.engines.training import (
    BatchShares,
    Item,
    LabelledImages,
    ProceduralImages,
    PromptTraining,
    prepare_batch,
)
from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.metrics import ImageMetric, PixelMetric
from anomalyclip_med.networks import Detector, save_prompts

_METRICS = {
    "image_auroc": ("image", "auroc"),
    "image_ap": ("image", "average_precision"),
    "pixel_auroc": ("pixel", "auroc"),
    "pixel_ap": ("pixel", "average_precision"),
    "pixel_aupro": ("pixel", "aupro"),
}
_PIXEL_BINS = 65536


def validation_metric(name: str) -> dict[str, IgniteMetricHandler]:
    """A metric over a whole validation set, all classes together, for MONAI's ``key_val_metric``.

    Args:
        name: ``image_auroc``, ``image_ap``, ``pixel_auroc``, ``pixel_ap`` or ``pixel_aupro``; those of pixels are taken
            over the images that are normal or have a mask.

    Raises:
        ConfigurationError: there is no such metric.
    """
    if name not in _METRICS:
        raise ConfigurationError(f"metric={name!r} is unknown: choose one of {', '.join(_METRICS)}")
    of, figure = _METRICS[name]
    if of == "image":
        metric: Any = ImageMetric(figure)
        transform: Callable[[Any], tuple[Tensor, Tensor]] = _image_scores
    else:
        metric, transform = PixelMetric(figure, bins=_PIXEL_BINS), _pixel_scores
    return {name: IgniteMetricHandler(metric, output_transform=transform, save_details=False)}


def _image_scores(output: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    return output["pred"][:, 1, 0, 0], output["label"].labels


def _pixel_scores(output: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    targets = output["label"]
    return output["pred"][targets.known, :1], targets.masks[targets.known][:, None]


class TrainingProgress:
    """A progress bar over all iterations, with the last loss; tqdm tells the time left."""

    def attach(self, engine: Engine) -> None:
        """Register with a trainer; after the handler that resumes."""
        if not _first_rank():
            return
        bar = tqdm(unit="step", desc="training")

        def start(engine: Engine) -> None:
            state = engine.state
            bar.reset(total=state.max_epochs * state.epoch_length)
            bar.initial = bar.n = state.iteration

        def update(engine: Engine) -> None:
            bar.set_postfix(loss=f"{engine.state.output['loss'].item():.4f}", refresh=False)
            bar.update()

        engine.add_event_handler(Events.STARTED, start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, update)
        engine.add_event_handler(Events.COMPLETED, lambda _: bar.close())


class ResumableEarlyStop(EarlyStopHandler):
    """MONAI's early stop on a metric of the validator, attached to the trainer, with a state that can be saved.

    Args:
        patience: epochs without a better metric after which training ends.
        validator: whose key metric counts.
    """

    def __init__(self, patience: int, validator: Engine) -> None:
        super().__init__(patience, lambda _: validator.state.metrics[validator.state.key_metric_name])

    def attach(self, engine: Engine) -> None:
        """Register with the trainer; after the handler that validates."""
        self.set_trainer(engine)
        super().attach(engine)

    def state_dict(self) -> dict[str, Any]:
        """What ignite's handler keeps."""
        return dict(self._handler.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore it; a run that had ended ends at once."""
        self._handler.load_state_dict(state)
        if self._handler.counter >= self.patience:
            self._handler.trainer.terminate()


class ScheduleSteps:
    """Moves a schedule on after each step of the optimiser; MONAI's handler does so after each piece of a batch.

    Args:
        schedule: of the learning rate.
        accumulate: pieces of a batch.
    """

    def __init__(self, schedule: LRScheduler, accumulate: int = 1) -> None:
        self.schedule = schedule
        self.accumulate = accumulate

    def attach(self, engine: Engine) -> None:
        """Register with a trainer; before the handler that saves."""
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.accumulate), lambda _: self.schedule.step())


class PromptsWriter:
    """Writes ``prompts.safetensors`` and ``training.json`` after each epoch.

    The prompts are those of the epoch with the best metric, of equal ones the first, or without validation the last
    epoch's. ``training.json`` has the settings, the mean loss of each epoch and its metric.

    Args:
        detector: whose prompts are trained.
        output_dir: folder of the files.
        settings: put into the file.
        validator: whose key metric chooses; None for the last epoch.
    """

    def __init__(
        self,
        detector: Detector,
        output_dir: str | Path,
        settings: Mapping[str, Any],
        validator: Engine | None = None,
    ) -> None:
        self.detector = detector
        self.output_dir = Path(output_dir).expanduser()
        self.settings = settings
        self.validator = validator
        self._history: list[dict[str, Any]] = []
        self._best: float | None = None
        self._best_epoch = 0
        self._sum = 0.0  # of this epoch's losses so far

    def attach(self, engine: Engine) -> None:
        """Register with a trainer; after the handler that validates."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._end_epoch)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run goes on with."""
        return {"history": self._history, "best": self._best, "best_epoch": self._best_epoch, "sum": self._sum}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore it."""
        self._history, self._best = list(state["history"]), state["best"]
        self._best_epoch, self._sum = state["best_epoch"], state["sum"]

    def _add(self, engine: Engine) -> None:
        loss = engine.state.output["loss"].detach().double()
        if dist.is_initialized():  # here, so that each rank's sum is what a checkpoint of the first one restores
            dist.all_reduce(loss)
            loss /= dist.get_world_size()
        self._sum += loss.item()

    def _end_epoch(self, engine: Engine) -> None:
        record: dict[str, Any] = {"epoch": engine.state.epoch, "loss": self._sum / engine.state.epoch_length}
        self._sum = 0.0
        better = True
        if self.validator:
            name = self.validator.state.key_metric_name
            metric = record[name] = float(self.validator.state.metrics[name])
            better = self._best is None or metric > self._best
            self._best = metric if better else self._best
        self._history.append(record)
        if better:
            self._best_epoch = engine.state.epoch
        if not _first_rank():
            return
        if better:
            self.detector.prompts_trained = True
            aside = self.output_dir / ".prompts.safetensors"
            save_prompts(self.detector, aside)
            aside.replace(self.output_dir / "prompts.safetensors")
        content = {"settings": self.settings, "epochs": self._history, "best_epoch": self._best_epoch}
        aside = self.output_dir / ".training.json"
        aside.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")
        aside.replace(self.output_dir / "training.json")

    def _finish(self, _: Engine) -> None:
        if _first_rank():
            print(f"\nPrompts of epoch {self._best_epoch}: {self.output_dir / 'prompts.safetensors'}")


class Resume:
    """Saves what training goes on from, and goes on from it when the same run is started again.

    MONAI's ``CheckpointSaver`` writes in place, so that a run killed at that moment could not go on: here a file is
    complete before it takes the place of the last one. Saved is what changes: prompts, optimiser, epoch and iteration,
    the random generator's state and the states of other handlers; never the CLIP.

    Args:
        detector: whose prompts are trained.
        optimizer: of the prompts.
        output_dir: folder of ``checkpoint.pt``.
        settings: that must be the same to go on.
        batches: is told where an epoch begins.
        others: further objects with a state, by name.
        save_interval: iterations between checkpoints; there is always one after each epoch.

    Raises:
        ConfigurationError: (when training starts) the folder holds the checkpoint of a run with other settings.
    """

    def __init__(
        self,
        detector: Detector,
        optimizer: torch.optim.Optimizer,
        output_dir: str | Path,
        settings: Mapping[str, Any],
        batches: BatchShares,
        others: Mapping[str, Any],
        save_interval: int = 100,
    ) -> None:
        self.path = Path(output_dir).expanduser() / "checkpoint.pt"
        self.settings = json.dumps(settings, sort_keys=True, default=str)
        self.batches = batches
        self.save_interval = save_interval
        self._objects = {"prompts": _Prompts(detector), "optimizer": optimizer, "random": _Random(), **others}

    def attach(self, engine: Engine) -> None:
        """Register with a trainer; after the handlers whose states are saved."""
        engine.add_event_handler(Events.STARTED, self._load)
        engine.add_event_handler(Events.EPOCH_STARTED, self._place)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.save_interval), self._save_within)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)

    def _place(self, engine: Engine) -> None:
        state = engine.state
        self.batches.epoch = state.epoch
        self.batches.start = state.iteration - (state.epoch - 1) * state.epoch_length

    def _save_within(self, engine: Engine) -> None:
        # At an epoch's last iteration its validation is still to come, and belongs to it.
        # Between the pieces of a batch there are gradients, which are not saved.
        done = engine.state.iteration % engine.state.epoch_length
        if done and done % self.batches.accumulate == 0:
            self._save(engine)

    def _save(self, engine: Engine) -> None:
        if not _first_rank():
            return
        content = {name: thing.state_dict() for name, thing in self._objects.items()}
        content |= {"settings": self.settings, "trainer": engine.state_dict()}
        aside = self.path.with_suffix(".partial")
        with aside.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self.path)

    def _load(self, engine: Engine) -> None:
        if not self.path.exists():
            return
        content = torch.load(self.path, map_location="cpu", weights_only=True)
        if content["settings"] != self.settings:
            raise ConfigurationError(
                f"{self.path} is of a run with other settings or images: name another folder, or remove it"
            )
        epochs = engine.state.max_epochs
        Checkpoint.load_objects({**self._objects, "trainer": engine}, content)
        engine.state.max_epochs = epochs  # which may have been raised
        if _first_rank():
            print(f"Going on after iteration {engine.state.iteration}: {self.path}")


def validation_images(
    datalist: str | Path, root: str | Path, section: str | None, transform: Callable[[Item], Item], metric: str
) -> LabelledImages | None:
    """Images of a section that a metric is defined on; None without a section.

    Raises:
        ConfigurationError: the metric would be found undefined only after the first epoch.
    """
    if section is None:
        return None
    images = LabelledImages(datalist, root, section, transform)
    if metric.startswith("image") and images.labels != {0, 1}:
        raise ConfigurationError(f'{datalist}: "{section}" needs normal and anomalous images for {metric}')
    if metric.startswith("pixel") and not images.has_both_pixels():
        raise ConfigurationError(
            f'{datalist}: the masks under "{section}" do not tell normal pixels from anomalous ones, as {metric} needs'
        )
    return images


def make_validator(
    dataset: Dataset[Item] | None,
    network: PromptTraining,
    device: torch.device,
    metric: str,
    batch_size: int = 8,
    workers: int = 0,
) -> SupervisedEvaluator | None:
    """An evaluator of one metric, see :func:`validation_metric`; None without a data set.

    Under ``torch.distributed`` each rank scores its part, and all have the whole set's metric.
    """
    if dataset is None:
        return None
    sampler = DistributedSampler(dataset, even_divisible=False, shuffle=False) if dist.is_initialized() else None
    return SupervisedEvaluator(
        device=device,
        val_data_loader=DataLoader(dataset, batch_size, sampler=sampler, num_workers=workers),
        network=network,
        prepare_batch=prepare_batch,
        key_val_metric=validation_metric(metric),
        decollate=False,
    )


def training_settings(detector: Detector, images: LabelledImages | ProceduralImages, **settings: Any) -> dict[str, Any]:
    """What a training run depends on, as plain values: the model, the images and the options."""
    return {"model": detector.describe(), "images": images.describe(), **settings}


def make_schedule(name: str, optimizer: torch.optim.Optimizer, steps: int) -> LRScheduler:
    """The learning rate over a run's steps: ``constant``, or ``cosine``, which falls to zero.

    Raises:
        ConfigurationError: there is no such schedule.
    """
    if name == "constant":
        return ConstantLR(optimizer, factor=1.0)
    if name == "cosine":
        return CosineAnnealingLR(optimizer, steps)
    raise ConfigurationError(f"schedule={name!r} is unknown: choose constant or cosine")


def training_handlers(
    detector: Detector,
    optimizer: torch.optim.Optimizer,
    output_dir: str | Path,
    settings: Mapping[str, Any],
    batches: BatchShares,
    writer: PromptsWriter,
    validator: SupervisedEvaluator | None = None,
    patience: int = 0,
    save_interval: int = 100,
    tensorboard: bool = False,
    schedule: LRScheduler | None = None,
) -> list[Any]:
    """The trainer's handlers in the order in which they depend on each other.

    Args:
        detector: whose prompts are trained.
        optimizer: of the prompts.
        output_dir: folder of all files.
        settings: see :func:`training_settings`.
        batches: of the trainer's loader.
        writer: of the prompts.
        validator: run after each epoch.
        patience: epochs without a better metric after which training ends; 0 for never.
        save_interval: iterations between checkpoints.
        tensorboard: whether losses and metrics go to ``output_dir/tensorboard``.
        schedule: of the learning rate, by steps of the optimiser; None for a constant one.

    Raises:
        ConfigurationError: patience without a validator, or TensorBoard is not installed.
    """
    handlers: list[Any] = []
    others: dict[str, Any] = {"writer": writer}
    if schedule:
        others["schedule"] = schedule
        handlers.append(ScheduleSteps(schedule, batches.accumulate))
    if validator:
        handlers.append(ValidationHandler(interval=1, validator=validator))
    if patience:
        if validator is None:
            raise ConfigurationError("patience needs a validation_section")
        others["early_stop"] = early_stop = ResumableEarlyStop(patience, validator)
        handlers.append(early_stop)
    handlers.append(writer)
    if tensorboard and _first_rank():
        handlers.append(_tensorboard(Path(output_dir).expanduser() / "tensorboard", validator))
    handlers.append(Resume(detector, optimizer, output_dir, settings, batches, others, save_interval))
    handlers.append(TrainingProgress())
    return handlers


def _tensorboard(folder: Path, validator: SupervisedEvaluator | None) -> TensorBoardStatsHandler:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConfigurationError("tensorboard is not installed: pip install tensorboard") from None
    summary = SummaryWriter(str(folder))
    if validator:

        def write(engine: Engine) -> None:
            for name, value in engine.state.metrics.items():
                summary.add_scalar(name, value, engine.state.epoch)

        validator.add_event_handler(Events.EPOCH_COMPLETED, write)
    return TensorBoardStatsHandler(summary, output_transform=lambda output: output["loss"], tag_name="loss")


class _Prompts:
    """The learned tensors alone as a state."""

    def __init__(self, detector: Detector) -> None:
        self.detector = detector

    def state_dict(self) -> dict[str, Tensor]:
        return {name: p.detach() for name, p in self.detector.learned().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.detector.learned().items():
                parameter.copy_(state[name])


class _Random:
    """PyTorch's generator; the order of the images does not depend on it, a transform that the user adds may."""

    def state_dict(self) -> dict[str, Tensor]:
        return {"torch": torch.get_rng_state()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        torch.set_rng_state(state["torch"])


def _first_rank() -> bool:
    return not dist.is_initialized() or dist.get_rank() == 0
