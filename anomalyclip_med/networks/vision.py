"""CLIP's vision tower at any input size, up to its first block and after its last."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.networks.background import DARK
from anomalyclip_med.networks.views import LARGEST


def resize_positional_embedding(embedding: Tensor, grid: int, interpolation: str, antialias: bool = False) -> Tensor:
    """Resize a ViT's positional embedding to a ``grid`` x ``grid`` patch layout.

    AnomalyCLIP's code is bilinear for CLIP, DINOv2's is bicubic, both without antialiasing; open_clip's own resize is
    bicubic with antialiasing and gives other numbers.

    Args:
        embedding: (1 + G * G, D), class token first.
        grid: patches along each side of the new layout.
        interpolation: ``bilinear`` or ``bicubic``.
        antialias: whether it antialiases.

    Returns:
        (1 + grid * grid, D).

    Raises:
        ConfigurationError: the patches of the embedding make no square.
    """
    patches = embedding.shape[0] - 1
    old = round(patches**0.5)
    if old * old != patches:
        raise ConfigurationError(f"the positional embedding holds {patches} patches, which is not a square")
    if old == grid:
        return embedding
    layout = embedding[1:].T.reshape(1, -1, old, old)
    resized = F.interpolate(layout, size=(grid, grid), mode=interpolation, align_corners=False, antialias=antialias)
    return torch.cat([embedding[:1], resized.flatten(2)[0].T])


class VisionTower(nn.Module):
    """A frozen open_clip ``VisionTransformer`` with its positional embedding resized.

    Args:
        visual: open_clip's vision tower; its modules are used in place, nothing is copied.
        image_size: side S of the square input in pixels, a multiple of the patch size; None for the tower's own.
        interpolation: of the positional embedding, ``bilinear`` or ``bicubic``.
        antialias: whether that antialiases.

    Attributes:
        image_size: S.
        patch: side of a patch in pixels.
        grid: G, patches along each side; P = G * G.
        depth: number of blocks.

    Raises:
        ConfigurationError: the size does not fit the tower.
    """

    positional_embedding: Tensor
    dark_below: Tensor | None

    def __init__(
        self, visual: VisionTransformer, image_size: int | None, interpolation: str, antialias: bool = False
    ) -> None:
        super().__init__()
        self.patch = patch = visual.patch_size[0]
        if image_size is None:
            image_size = visual.image_size[0]
        if image_size <= 0 or image_size % patch:
            below = max(image_size // patch, 1) * patch
            raise ConfigurationError(
                f"image_size={image_size} is not a multiple of the patch size {patch}: use {below} or {below + patch}"
            )
        if image_size > LARGEST:
            raise ConfigurationError(f"image_size={image_size} exceeds the limit of {LARGEST} pixels")
        self.image_size = image_size
        self.grid = image_size // patch
        self.depth = len(visual.transformer.resblocks)
        self.visual = visual
        self._interpolation, self._antialias = interpolation, antialias
        self._positions: dict[int, str] = {image_size: "positional_embedding"}  # by size
        self.register_buffer("positional_embedding", self._resized(self.grid))
        self.register_buffer("dark_below", None, persistent=False)

    def add_size(self, size: int) -> None:
        """Take images of another side, a multiple of the patch size, as well."""
        name = f"positional_embedding_{size}"
        self.register_buffer(name, self._resized(size // self.patch), persistent=False)
        self._positions[size] = name

    def skip_background(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Leave patches of the black around the body out, see :mod:`.background`.

        Args:
            mean: per-channel mean that images are normalised with.
            std: per-channel standard deviation.
        """
        self.dark_below = ((DARK - torch.tensor(mean)) / torch.tensor(std)).view(3, 1, 1)

    def _resized(self, grid: int) -> Tensor:
        positions = self.visual.positional_embedding.detach()
        return resize_positional_embedding(positions, grid, self._interpolation, self._antialias)

    def grid_of(self, patches: int) -> int:
        """Along how many rows and columns as many patches of an image lie."""
        # Of one size it is known: a trace would record the computation with a warning.
        return self.grid if len(self._positions) == 1 else math.isqrt(patches)

    @property
    def width(self) -> int:
        """Width D of the tokens."""
        return int(self.visual.class_embedding.shape[0])

    @property
    def embed_dim(self) -> int:
        """Width E of the image and patch features."""
        projection = self.visual.proj
        return self.width if projection is None else int(projection.shape[1])

    def embed(self, images: Tensor) -> Tensor:
        """Tokens (B, 1 + P, D) that enter the first block, class token first.

        Args:
            images: (B, 3, S, S) float, normalised with the tower's mean and standard deviation; or of a size that was
                added.
        """
        if not torch.jit.is_tracing():  # a trace would record the check as a constant, with a warning
            self._check_shape(images)
        visual = self.visual
        patches = visual.conv1(images).flatten(2).transpose(1, 2)
        class_token = visual.class_embedding.expand(patches.shape[0], 1, -1)
        positions = self.positional_embedding
        if len(self._positions) > 1:
            positions = self.get_buffer(self._positions[int(images.shape[-1])])
        return visual.ln_pre(torch.cat([class_token, patches], dim=1) + positions)

    def project(self, tokens: Tensor) -> Tensor:
        """Tokens (..., D) into the space shared with the text tower, where there is one: (..., E)."""
        return tokens if self.visual.proj is None else tokens @ self.visual.proj

    def blocks(self, layers: Sequence[int] | None) -> tuple[int, ...]:
        """Numbers of the blocks that feature layers name, counting from 1, in their order.

        Args:
            layers: numbers from 1, or from the end, where -1 is the last; None for four at equal distances: 6, 12, 18,
                24 of 24.

        Raises:
            ConfigurationError: there is none, or one is no block of the tower.
        """
        if layers is None:
            layers = self.quarters()
        whole = all(isinstance(layer, int) for layer in layers)
        numbers = sorted({layer + self.depth + 1 if layer < 0 else layer for layer in layers}) if whole else []
        if not numbers or not all(1 <= number <= self.depth for number in numbers):
            raise ConfigurationError(
                f"feature_layers={list(layers)} does not fit a transformer of {self.depth} blocks: "
                f"give block numbers from 1 to {self.depth}, or from -1, the last, to -{self.depth}"
            )
        return tuple(numbers)

    def quarters(self) -> list[int]:
        """The last block of each quarter."""
        return [max(1, self.depth * quarter // 4) for quarter in (1, 2, 3, 4)]

    def _check_shape(self, images: Tensor) -> None:
        fits = images.ndim == 4 and images.shape[1] == 3 and images.shape[2] == images.shape[3]
        if not (fits and images.shape[-1] in self._positions):
            raise ConfigurationError(
                f"expected images of shape (B, 3, {self.image_size}, {self.image_size}), got {tuple(images.shape)}"
            )
