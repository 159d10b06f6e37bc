"""Checkpoints of a training run."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from anomalyclip_med.engines.training import PromptTraining
from anomalyclip_med.errors import ConfigurationError


class Resume:
    """Saves what training goes on from, and goes on from it when the same run is started again.

    MONAI's ``CheckpointSaver`` writes in place, so that a run killed at that moment could not go on: here a file is
    complete before it takes the place of the last one. Saved is what changes: prompts, optimiser, schedule, the scale
    of mixed precision, the trainer's state with the losses so far, and the random generator's; never the CLIP.
    The first process alone saves and reads; the others, maybe on nodes that do not see its files, get what it read.

    Args:
        network: whose prompts are trained.
        optimizer: of the prompts.
        schedule: of the learning rate.
        output_dir: folder of ``checkpoint.pt``.
        settings: that must be the same to go on.
        save_interval: iterations between checkpoints; there is always one after each epoch.

    Raises:
        ConfigurationError: (when training starts) the folder holds the checkpoint of a run with other settings, or what
            is no checkpoint.
    """

    def __init__(
        self,
        network: PromptTraining,
        optimizer: torch.optim.Optimizer,
        schedule: LRScheduler,
        output_dir: str | Path,
        settings: Mapping[str, Any],
        save_interval: int = 100,
    ) -> None:
        self.path = Path(output_dir).expanduser() / "checkpoint.pt"
        self.settings = json.loads(json.dumps(settings, default=str))  # as plain values, like those read
        self.save_interval = save_interval
        self._objects = {"prompts": network, "optimizer": optimizer, "schedule": schedule, "random": _Random()}

    def attach(self, engine: Engine) -> None:
        """Register with a trainer; after the handlers that change its state."""
        engine.add_event_handler(Events.STARTED, self._load)
        engine.add_event_handler(Events.ITERATION_COMPLETED(every=self.save_interval), self._save_within)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)

    def _stateful(self, engine: Engine) -> dict[str, Any]:
        # The trainer makes its scaler when it is run, and none without mixed precision.
        return {**self._objects, "trainer": engine, **({"scaler": engine.scaler} if engine.scaler else {})}

    def _save_within(self, engine: Engine) -> None:
        # At an epoch's last iteration its validation is still to come, and belongs to it.
        # Between the pieces of a batch there are gradients, which are not saved.
        done = engine.state.iteration % engine.state.epoch_length
        if done and done % engine.accumulation_steps == 0:
            self._save(engine)

    def _save(self, engine: Engine) -> None:
        if dist.is_initialized() and dist.get_rank() > 0:
            return
        content = {name: thing.state_dict() for name, thing in self._stateful(engine).items()}
        content["settings"] = json.dumps(self.settings)
        aside = self.path.with_suffix(".partial")
        with aside.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self.path)

    def _load(self, engine: Engine) -> None:
        if engine.state.iteration:
            return  # a trainer that is run once more, as in a federation, goes on from where it is
        first = not dist.is_initialized() or dist.get_rank() == 0
        content = self._read() if first else None
        if dist.is_initialized():
            everyone: list[Any] = [content]
            dist.broadcast_object_list(everyone)
            (content,) = everyone
        if content is None:
            return
        epochs = engine.state.max_epochs
        Checkpoint.load_objects(self._stateful(engine), content)
        engine.state.max_epochs = epochs  # which may have been raised
        if first:
            print(f"Going on after iteration {engine.state.iteration}: {self.path}")

    def _read(self) -> dict[str, Any] | None:
        """The checkpoint, if there is one."""
        if not self.path.exists():
            return None
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            settings = json.loads(content["settings"])
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, LookupError, TypeError, ValueError):
            raise ConfigurationError(
                f"{self.path} is not a checkpoint of a training: name another folder, or remove it"
            ) from None
        if changed := sorted(k for k in {*settings, *self.settings} if settings.get(k) != self.settings.get(k)):
            raise ConfigurationError(
                f"{self.path} is of a run with other settings or images ({', '.join(changed)}): name another folder, "
                "or remove it"
            )
        return content


class _Random:
    """PyTorch's generator; the order of the images does not depend on it, a transform that the user adds may."""

    def state_dict(self) -> dict[str, Tensor]:
        return {"torch": torch.get_rng_state()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        torch.set_rng_state(state["torch"])
