"""The order of the images, and how a batch is divided among processes and pieces."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from ignite.engine import Engine, Events
from monai.engines import IterationEvents
from torch.utils.data import Sampler

from anomalyclip_med.errors import ConfigurationError


class BatchShares(Sampler[list[int]]):
    """The batches of one epoch after the other, of which a rank takes its share, in pieces.

    The order of an epoch depends on the seed and the epoch only, so that training goes on in the middle of one, and
    neither on the number of ranks nor on that of the pieces. The last batch of an epoch may be short. Where a batch
    does not divide into equal pieces, their losses differ in :meth:`weight`; a piece that would be empty is one image
    of weight 0.

    Args:
        length: of the data set.
        batch_size: images per step of the optimiser, over all ranks.
        accumulate: pieces of a rank's share, one after the other.
        seed: of the order.
        rank: this process.
        ranks: processes.

    Attributes:
        epoch: the next one to be gone through, counting from 1.
        start: piece that it begins with.

    Raises:
        ConfigurationError: a batch has fewer images than pieces.

    Examples:
        >>> from anomalyclip_med.engines import BatchShares
        >>> list(BatchShares(5, batch_size=4))
        [[4, 0, 1, 3], [2]]
        >>> first, second = (BatchShares(5, batch_size=4, rank=rank, ranks=2) for rank in range(2))
        >>> list(first), list(second)
        ([[4, 0], [2]], [[1, 3], [2]])
        >>> first.weight(1), second.weight(1)  # the last image counts once
        (2.0, 0.0)
    """

    def __init__(
        self, length: int, batch_size: int, accumulate: int = 1, seed: int = 0, rank: int = 0, ranks: int = 1
    ) -> None:
        if accumulate < 1 or batch_size < accumulate * ranks:
            raise ConfigurationError(
                f"a batch of {batch_size} does not divide into {accumulate} pieces on each of {ranks} processes"
            )
        self.length, self.batch_size, self.accumulate, self.seed = length, batch_size, accumulate, seed
        self.rank, self.ranks = rank, ranks
        self.epoch, self.start = 1, 0

    def __len__(self) -> int:
        return -(-self.length // self.batch_size) * self.accumulate

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.epoch):
            order = torch.randperm(self.length, generator=generator)
        mine = slice(self.rank * self.accumulate, (self.rank + 1) * self.accumulate)
        pieces = [
            piece.tolist() or [int(batch[0])]
            for batch in order.split(self.batch_size)
            for piece in batch.tensor_split(self.ranks * self.accumulate)[mine]
        ]
        yield from pieces[self.start :]

    def weight(self, piece: int) -> float:
        """Factor of a piece's mean loss, so that the mean over the pieces of all ranks is the mean over the batch.

        Args:
            piece: its place in the epoch, counting from 0.
        """
        batch, number = divmod(piece, self.accumulate)
        images = min(self.batch_size, self.length - batch * self.batch_size)
        pieces = self.ranks * self.accumulate
        # As Tensor.tensor_split divides: the first pieces have one image more.
        mine = images // pieces + (self.rank * self.accumulate + number < images % pieces)
        return mine * pieces / images


class BatchProgress:
    """Between a trainer and :class:`BatchShares`: where an epoch begins, and what the loss of a piece counts.

    Of a step's output only the loss is left, in the form that MONAI's trackers read it in.

    Args:
        batches: of the trainer's loader.
    """

    def __init__(self, batches: BatchShares) -> None:
        self.batches = batches

    def attach(self, engine: Engine) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._place)
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self._weigh)
        engine.add_event_handler(IterationEvents.MODEL_COMPLETED, self._keep_loss)

    def _place(self, engine: Engine) -> None:
        state = engine.state
        self.batches.epoch = state.epoch
        self.batches.start = state.iteration - (state.epoch - 1) * state.epoch_length

    def _weigh(self, engine: Engine) -> None:
        state = engine.state
        state.output["loss"] = state.output["loss"] * self.batches.weight((state.iteration - 1) % state.epoch_length)

    def _keep_loss(self, engine: Engine) -> None:
        engine.state.output = [{"loss": engine.state.output["loss"].detach()}]
