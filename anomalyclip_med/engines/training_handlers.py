"""Handlers of the trainer and what they need: what is shown, validated and written."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from monai.handlers import IgniteMetricHandler
from torch import Tensor
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler
from tqdm import tqdm

from anomalyclip_med.engines.training import Item, LabelledImages, ProceduralImages
from anomalyclip_med.errors import ConfigurationError, TrainingError
from anomalyclip_med.metrics import ImageMetric, PixelMetric
from anomalyclip_med.networks import Detector, save_prompts
from anomalyclip_med.writers.files import replaced

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

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

    Examples:
        >>> from anomalyclip_med.engines import validation_metric
        >>> validation_metric("pixel_aupro")
        {'pixel_aupro': <monai.handlers.ignite_metric.IgniteMetricHandler object at ...>}
        >>> validation_metric("dice")
        Traceback (most recent call last):
        anomalyclip_med.errors.ConfigurationError: metric='dice' is unknown: choose one of image_auroc, ...
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
        if _first_rank():
            engine.add_event_handler(Events.STARTED, self._start)
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._update)
            engine.add_event_handler(Events.COMPLETED, lambda _: self._bar.close())

    def _start(self, engine: Engine) -> None:
        state = engine.state
        total = state.max_epochs * state.epoch_length
        self._bar = tqdm(total=total, initial=state.iteration, unit="step", desc="training")

    def _update(self, engine: Engine) -> None:
        self._bar.set_postfix(loss=f"{engine.state.output[0]['loss'].item():.4f}", refresh=False)
        self._bar.update()


class ScheduleSteps:
    """Moves a schedule on after each step of the optimiser; MONAI's handler does so after each piece of a batch.

    Args:
        schedule: of the learning rate.
    """

    def __init__(self, schedule: LRScheduler) -> None:
        self.schedule = schedule

    def attach(self, engine: Engine) -> None:
        """Register with a trainer; before the handler that saves."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._step)

    def _step(self, engine: Engine) -> None:
        if engine.state.iteration % engine.accumulation_steps == 0:
            self.schedule.step()


class PromptsWriter:
    """Writes ``prompts.safetensors`` and ``training.json`` after each epoch, and ends training early.

    The prompts are those of the epoch with the best metric, of equal ones the first, or without validation the last
    epoch's. ``training.json`` has the settings, the mean loss of each epoch and its metric. What is needed to go on
    stands in the trainer's state, of which ignite then saves it; trackers find the loss of an epoch under
    ``mean_loss`` among the trainer's metrics.

    Args:
        detector: whose prompts are trained.
        output_dir: folder of the files.
        settings: put into the file.
        validator: whose key metric chooses; None for the last epoch.
        patience: epochs without a better metric after which training ends, with an evaluation; 0 for never.

    Raises:
        ConfigurationError: patience without a validator.
        TrainingError: (in training) the loss is not a finite number, from which nothing more can be learned.
    """

    def __init__(
        self,
        detector: Detector,
        output_dir: str | Path,
        settings: Mapping[str, Any],
        validator: Engine | None = None,
        patience: int = 0,
    ) -> None:
        if patience and validator is None:
            raise ConfigurationError("patience needs a validation_section")
        self.detector = detector
        self.output_dir = Path(output_dir).expanduser()
        self.settings = settings
        self.validator = validator
        self.patience = patience

    def attach(self, engine: Engine) -> None:
        """Register with a trainer; after the handler that validates."""
        engine.state.history, engine.state.loss_sum = [], 0.0  # of all epochs, and of this one's losses so far
        engine.state_dict_user_keys.extend(["history", "loss_sum"])
        engine.add_event_handler(Events.EPOCH_STARTED, self._end_early)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._end_epoch)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._end_early)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _add(self, engine: Engine) -> None:
        loss = engine.state.output[0]["loss"].clone()
        if dist.is_initialized():  # here, so that each rank's sum is what a checkpoint of the first one restores
            dist.all_reduce(loss)
            loss /= dist.get_world_size()
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss of step {engine.state.iteration} is {loss.item()}: lower learning_rate, or leave out "
                "mixed_precision"
            )
        engine.state.loss_sum += loss.item()

    def _end_epoch(self, engine: Engine) -> None:
        state = engine.state
        record: dict[str, Any] = {"epoch": state.epoch, "loss": state.loss_sum / state.epoch_length}
        state.loss_sum = 0.0
        state.metrics["mean_loss"] = record["loss"]
        if self.validator and self.validator.state.epoch == state.epoch:
            name = self.validator.state.key_metric_name
            record[name] = float(self.validator.state.metrics[name])
        state.history.append(record)
        if not _first_rank():
            return
        best = self._best_epoch(state.history)
        if best == state.epoch:
            self.detector.prompts_trained = True
            aside = self.output_dir / ".prompts.safetensors"
            save_prompts(self.detector, aside)
            aside.replace(self.output_dir / "prompts.safetensors")
        content = {"settings": self.settings, "epochs": state.history, "best_epoch": best}
        with replaced(self.output_dir / "training.json") as file:
            file.write(json.dumps(content, indent=2, default=str) + "\n")

    def _measured(self, history: Sequence[Mapping[str, Any]]) -> dict[int, float]:
        """The metric by epoch, of those that were evaluated."""
        if not self.validator:
            return {}
        name = str(self.validator.state.key_metric_name)
        return {record["epoch"]: record[name] for record in history if name in record}

    def _best_epoch(self, history: Sequence[Mapping[str, Any]]) -> int:
        measured = self._measured(history)
        return max(measured, key=measured.__getitem__) if measured else history[-1]["epoch"]  # the first of equal ones

    def _end_early(self, engine: Engine) -> None:
        # Also before an epoch: a run that had ended ends at once when it is started again.
        history = engine.state.history
        measured = self._measured(history)
        # Only epochs that were evaluated could have been better.
        if self.patience and measured and max(measured) - self._best_epoch(history) >= self.patience:
            engine.terminate()

    def _finish(self, engine: Engine) -> None:
        if _first_rank():
            best = self._best_epoch(engine.state.history)
            print(f"\nPrompts of epoch {best}: {self.output_dir / 'prompts.safetensors'}")


def summary_writer(output_dir: str | Path) -> SummaryWriter:
    """TensorBoard's writer into ``output_dir/tensorboard``.

    Args:
        output_dir: folder of the training's files.

    Raises:
        ConfigurationError: TensorBoard is not installed.

    Examples:
        >>> from anomalyclip_med.engines import summary_writer
        >>> with summary_writer("out") as writer:
        ...     writer.add_scalar("loss", 0.5, global_step=1)
        >>> len(list(Path("out/tensorboard").iterdir()))
        1
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConfigurationError("tensorboard is not installed: pip install 'anomalyclip-med[tracking]'") from None
    return SummaryWriter(str(Path(output_dir).expanduser() / "tensorboard"))


def validation_images(
    datalist: str | Path, root: str | Path, section: str | None, transform: Callable[[Item], Item], metric: str
) -> LabelledImages | None:
    """Images of a section that a metric is defined on.

    Args:
        datalist: see :class:`LabelledImages`.
        root: likewise.
        section: likewise; None for no validation.
        transform: likewise.
        metric: see :func:`validation_metric`.

    Raises:
        ConfigurationError: the metric would be found undefined only after the first epoch; or see
            :class:`LabelledImages`.

    Examples:
        >>> from anomalyclip_med.data.procedural import write_folder
        >>> from anomalyclip_med.engines import validation_images
        >>> datalist = write_folder(Path("drawn"), 4, size=40)
        >>> len(validation_images(datalist, "drawn", "training", dict, "image_auroc"))
        4
        >>> datalist = write_folder(Path("one"), 1, size=40)
        >>> validation_images(datalist, "one", "training", dict, "image_auroc")
        Traceback (most recent call last):
        anomalyclip_med.errors.ConfigurationError: one/datalist.json: "training" needs normal and ...
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


def training_settings(detector: Detector, images: LabelledImages | ProceduralImages, **settings: Any) -> dict[str, Any]:
    """What a training run depends on, as plain values.

    Args:
        detector: to be trained.
        images: to train on.
        settings: options of the run.

    Examples:
        >>> from anomalyclip_med import create_model
        >>> from anomalyclip_med.engines import training_images, training_settings
        >>> images = training_images("", "", "", dict, procedural=2, size=42)
        >>> settings = training_settings(create_model("untrained", image_size=42), images, learning_rate=0.001)
        >>> settings["model"]["image_size"], settings["images"]["procedural"], settings["learning_rate"]
        (42, 2, 0.001)
    """
    return {"model": detector.describe(), "images": images.describe(), **settings}


def make_schedule(name: str, optimizer: torch.optim.Optimizer, steps: int) -> LRScheduler:
    """The learning rate over a run's steps.

    Args:
        name: ``constant``, or ``cosine``, which falls to zero.
        optimizer: has the rate at the start.
        steps: of the optimiser in the whole run.

    Raises:
        ConfigurationError: there is no such schedule.

    Examples:
        >>> from anomalyclip_med.engines import make_schedule
        >>> optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.1)
        >>> schedule = make_schedule("cosine", optimizer, steps=2)
        >>> for _ in range(2):
        ...     optimizer.step()
        ...     schedule.step()
        ...     print(round(schedule.get_last_lr()[0], 6))
        0.05
        0.0
    """
    if name == "constant":
        return ConstantLR(optimizer, factor=1.0)
    if name == "cosine":
        return CosineAnnealingLR(optimizer, steps)
    raise ConfigurationError(f"schedule={name!r} is unknown: choose constant or cosine")


def _first_rank() -> bool:
    return not dist.is_initialized() or dist.get_rank() == 0
