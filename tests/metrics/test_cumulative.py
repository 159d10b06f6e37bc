"""MONAI's form of the metrics: any batches, ignite, two ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from ignite.engine import Engine
from monai.handlers import IgniteMetricHandler

from anomalyclip_med.errors import MetricError
from anomalyclip_med.metrics import Figure, ImageMetric, PixelMetric, aupro, auroc, average_precision, f1_max

EXACT = {"auroc": auroc, "average_precision": average_precision, "f1_max": f1_max, "aupro": aupro}


def samples() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    masks = (torch.rand(9, 1, 12, 12, generator=generator) < 0.2).float()
    return (torch.rand(9, 1, 12, 12, generator=generator) + 0.4 * masks) / 1.4, masks


@pytest.mark.parametrize("figure", list(Figure))
@pytest.mark.parametrize("bins", [None, 1 << 16])
@pytest.mark.parametrize("batch", [1, 4, 9])
def test_pixels_in_any_batches(figure: Figure, bins: int | None, batch: int) -> None:
    maps, masks = samples()
    metric = PixelMetric(figure, bins=bins)
    for _ in range(2):
        for part, truth in zip(maps.split(batch), masks.split(batch), strict=True):
            metric(part, truth)
        expected = EXACT[figure](maps[:, 0].numpy(), masks[:, 0].numpy())
        assert metric.aggregate().item() == pytest.approx(expected, abs=1e-9 if bins is None else 1e-4)
        metric.reset()


@pytest.mark.parametrize("figure", ["auroc", "average_precision", "f1_max"])
def test_images_through_ignite(figure: str) -> None:
    scores, labels = torch.rand(20, generator=torch.Generator().manual_seed(1)), torch.arange(20) % 3 == 0
    engine = Engine(lambda _, batch: batch)
    IgniteMetricHandler(ImageMetric(figure), save_details=False).attach(engine, figure)
    batches = list(zip(scores.split(6), labels.split(6), strict=True))
    state = engine.run(batches)
    assert state.metrics[figure] == pytest.approx(EXACT[figure](scores.numpy(), labels.numpy()))


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="AUPRO is of pixels"):
        ImageMetric("aupro")
    metric = ImageMetric("auroc")
    metric(torch.tensor([0.1, 0.2]), torch.tensor([1, 1]))
    with pytest.raises(MetricError, match="only anomalous"):
        metric.aggregate()


@pytest.mark.parametrize("metric", [ImageMetric("auroc"), PixelMetric("aupro"), PixelMetric("aupro", bins=8)])
def test_nothing_seen_is_no_figure(metric: ImageMetric | PixelMetric) -> None:
    with pytest.raises(MetricError, match="undefined"):
        metric.aggregate()


def rank(number: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=number, world_size=2)
    maps, masks = samples()
    mine = slice(0, 5) if number == 0 else slice(5, 9)  # of different length
    found = {}
    for bins in (None, 512):
        for figure in Figure:
            metric = PixelMetric(figure, bins=bins)
            metric(maps[mine], masks[mine])
            found[f"{figure} {bins}"] = metric.aggregate().item()
    image = ImageMetric("auroc")
    image(maps[mine].amax(dim=(1, 2, 3)), torch.arange(9)[mine] % 2)
    found["image"] = image.aggregate().item()
    torch.save(found, Path(folder) / f"{number}.pt")
    dist.destroy_process_group()


def test_two_ranks_give_what_one_gives(tmp_path: Path) -> None:
    mp.spawn(rank, args=(str(tmp_path),), nprocs=2)
    one, other = torch.load(tmp_path / "0.pt"), torch.load(tmp_path / "1.pt")
    assert one == other
    maps, masks = samples()
    for figure in Figure:
        assert one[f"{figure} None"] == EXACT[figure](maps[:, 0].numpy(), masks[:, 0].numpy())
        metric = PixelMetric(figure, bins=512)
        metric(maps, masks)
        assert one[f"{figure} 512"] == metric.aggregate().item()
    assert one["image"] == auroc(maps.amax(dim=(1, 2, 3)).numpy(), np.arange(9) % 2)
