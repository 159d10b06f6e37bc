"""WinCLIP, vectorised, against one window after the other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from anomalyclip_med import create_model
from anomalyclip_med.errors import ConfigurationError

from . import plain

NORMAL = [
    "{}",
    "flawless {}",
    "perfect {}",
    "unblemished {}",
    "{} without flaw",
    "{} without defect",
    "{} without damage",
]
ABNORMAL = ["damaged {}", "{} with flaw", "{} with defect", "{} with damage"]
TEMPLATES = [
    *("a cropped photo of the {}.", "a close-up photo of a {}.", "a close-up photo of the {}."),
    *("a bright photo of a {}.", "a bright photo of the {}.", "a dark photo of the {}.", "a dark photo of a {}."),
    *("a jpeg corrupted photo of the {}.", "a jpeg corrupted photo of the {}."),
    *("a blurry photo of the {}.", "a blurry photo of a {}.", "a photo of a {}.", "a photo of the {}."),
    *("a photo of a small {}.", "a photo of the small {}.", "a photo of a large {}.", "a photo of the large {}."),
    *("a photo of the {} for visual inspection.", "a photo of a {} for visual inspection."),
    *("a photo of the {} for anomaly detection.", "a photo of a {} for anomaly detection."),
]


def text_features(state, name: str) -> torch.Tensor:
    states = [[t.format(s.format(name)) for s in wordings for t in TEMPLATES] for wordings in (NORMAL, ABNORMAL)]
    assert [len(s) for s in states] == [147, 84]
    return torch.stack([plain.encode_text(state, sentences).mean(dim=0) for sentences in states])


def feature(state, tokens) -> torch.Tensor:
    return plain.into_joint_space(state, plain.blocks(state, "visual.", tokens[None])[-1][0, 0])


def window_by_window(state, image, text) -> tuple[torch.Tensor, torch.Tensor]:
    """Score and map of one image (1, 3, S, S), as the paper describes it."""
    tokens = plain.tokens_of(state, image)[0]
    grid = round((len(tokens) - 1) ** 0.5)
    score = plain.abnormal(feature(state, tokens), text)
    scales = [torch.full((grid, grid), score.item())]
    for side in (3, 2):
        covering = [[[] for _ in range(grid)] for _ in range(grid)]
        for top in range(grid - side + 1):
            for left in range(grid - side + 1):
                places = [(r, c) for r in range(top, top + side) for c in range(left, left + side)]
                members = torch.stack([tokens[0], *(tokens[1 + r * grid + c] for r, c in places)])
                of_window = plain.abnormal(feature(state, members), text).item()
                for r, c in places:
                    covering[r][c].append(of_window)
        scales.append(torch.tensor([[len(s) / sum(1 / v for v in s) for s in row] for row in covering]))
    patches = 3 / sum(1 / scale for scale in scales)
    size = image.shape[-2:]
    return score, F.interpolate(patches[None, None], size, mode="bilinear", align_corners=False)[0, 0]


@pytest.mark.parametrize("size", [56, 70])
def test_equals_one_window_after_the_other(state, clip_file: Path, images, size: int) -> None:
    detector = create_model(clip_file, method="winclip", image_size=size)
    names, x = ["brain", "metal nut"], images[:2, :, :size, :size]
    out = detector(x, names)
    for row, name in enumerate(names):
        score, anomaly_map = window_by_window(state, x[row : row + 1], text_features(state, name))
        torch.testing.assert_close(out.score[row], score, rtol=0, atol=1e-5)
        torch.testing.assert_close(out.anomaly_map[row, 0], anomaly_map, rtol=0, atol=1e-5)
    assert out.anomaly_map.std() > 0.01
    assert create_model(clip_file, method="winclip").image_size == 56  # the tower's own


def test_an_image_without_room_for_a_window_is_refused(clip_file: Path) -> None:
    with pytest.raises(ConfigurationError, match="image_size=28 has 2 patches along a side"):
        create_model(clip_file, method="winclip", image_size=28)
