"""Training on cached features: it learns, it repeats, it equals training without the cache."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import Dataset

from anomalyclip_med import create_model
from anomalyclip_med.data.procedural import ProceduralDataset
from anomalyclip_med.engines.auxiliary import train_on_cached_features
from anomalyclip_med.losses import local_loss
from anomalyclip_med.networks import PromptConfig


@pytest.fixture(scope="module")
def images() -> Dataset[dict[str, torch.Tensor]]:
    return ProceduralDataset(length=12, seed=3, size=70)


def test_the_loss_falls_and_a_second_run_is_the_same(images) -> None:
    runs = []
    for _ in range(2):
        detector = create_model("untrained", image_size=70, prompt_config=PromptConfig(deep_depth=2))
        losses = train_on_cached_features(detector, images, epochs=3, batch_size=4, learning_rate=0.01, seed=1)
        assert losses[-1] < losses[0]
        assert detector.prompts_trained
        assert not detector.training
        runs.append(detector.text_features)
    torch.testing.assert_close(runs[0], runs[1], rtol=0, atol=1e-5)


def test_the_cache_changes_nothing_but_half_precision(images) -> None:
    """The first epoch's loss on one batch is the loss of the untouched detector on the images themselves."""
    detector = create_model("untrained", image_size=70)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (detector.image_mean, detector.image_std))
    stacked = torch.stack([images[i]["image"] for i in range(12)])
    masks = torch.stack([images[i]["mask"][0] for i in range(12)])
    expected = local_loss(detector.layer_maps((stacked - mean) / std), masks).item()
    (loss,) = train_on_cached_features(detector, images, epochs=1, batch_size=12)
    assert loss == pytest.approx(expected, rel=1e-3)
