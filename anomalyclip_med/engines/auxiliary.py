"""Training of prompts on procedural images, with the image features computed once."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from anomalyclip_med.losses import local_loss
from anomalyclip_med.networks import AnomalyCLIP


def train_on_cached_features(
    detector: AnomalyCLIP,
    dataset: Dataset[dict[str, Tensor]],
    *,
    epochs: int = 3,
    batch_size: int = 16,
    learning_rate: float = 0.02,
    seed: int = 0,
) -> list[float]:
    """Train a detector's prompts, or embeddings, with the local loss, in place.

    The towers are frozen, so the patch features of every image are computed once and kept in half precision: 2 bytes x
    layers x patches x width per image, 0.8 MB for a ViT-S/14 at 224 px. Adam with the authors' betas, its learning rate
    falling to zero along a cosine. The detector is left in eval mode and counts as trained.

    Args:
        detector: whose ``prompt_learner`` trains.
        dataset: items with ``image`` (3, S, S) in [0, 1] and ``mask`` (1, S, S), S the detector's image size.
        epochs: passes over the data.
        batch_size: images per step.
        learning_rate: at the start.
        seed: of the order of the images.

    Returns:
        Mean loss of each epoch.
    """
    features, masks = _cache(detector, dataset)
    detector.train()
    optimizer = torch.optim.Adam(detector.prompt_learner.learned().values(), lr=learning_rate, betas=(0.5, 0.999))
    generator = torch.Generator().manual_seed(seed)
    steps = epochs * -(-len(masks) // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses = []
    with tqdm(total=steps, unit="step", desc="training") as bar:
        for _ in range(epochs):
            order = torch.randperm(len(masks), generator=generator)
            total = 0.0
            for chosen in order.split(batch_size):
                patches = list(features[chosen].float().unbind(dim=1))
                maps = detector.upsampled_maps(patches)
                loss = local_loss(maps, masks[chosen].float())
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                total += loss.item() * len(chosen)
                bar.update()
            losses.append(total / len(masks))
    detector.prompts_trained = True
    detector.eval()
    return losses


def _cache(detector: AnomalyCLIP, dataset: Dataset[dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
    """Patch features (N, layers, 1 + P, E), float16, and masks (N, S, S), bool."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (detector.image_mean, detector.image_std))

    def encoded() -> Iterator[tuple[Tensor, Tensor]]:
        loader = DataLoader(dataset, batch_size=8)
        for batch in tqdm(loader, unit="batch", desc="features"):
            _, patches = detector.encode_image((batch["image"] - mean) / std)
            yield torch.stack(patches, dim=1).half(), batch["mask"][:, 0] > 0.5

    features, masks = zip(*encoded(), strict=True)
    return torch.cat(features), torch.cat(masks)
