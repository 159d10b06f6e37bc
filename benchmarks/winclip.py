"""WinCLIP: seconds per image beside a loop over the windows, and agreement with that loop and with anomalib.

Usage: python benchmarks/winclip.py [--images 1] [--anomalib PYTHON]

The network is ViT-B-16-plus-240 at its own size with seeded random weights, the images are noise. The loop sends one
window after the other through the transformer. PYTHON is an interpreter of an environment of its own with anomalib and
open_clip; it scores the same images with the same weights.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from tabulate import tabulate

from anomalyclip_med import create_model
from anomalyclip_med.baselines import WinCLIP
from anomalyclip_med.baselines.winclip import WindowedVisionTower

# isort: split
import open_clip  # after the package, which makes it importable beside a CPU-only torch

_ARCHITECTURE = "ViT-B-16-plus-240"
_CLASS = "bottle"
_ANOMALIB = """
import sys, time, torch
library = torch.library.Library("torchvision", "FRAGMENT")  # torchvision's ordinary wheel on a CPU build of torch
for name in ("nms", "qnms"):
    library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import numpy as np
from anomalib.models.image.winclip import torch_model
folder = sys.argv[1]
torch.set_num_threads(int(sys.argv[2]))
torch_model.PRETRAINED = folder + "/weights.safetensors"
model = torch_model.WinClipModel(sys.argv[3]).eval()
images = torch.from_numpy(np.load(folder + "/images.npy"))
start = time.perf_counter()
out = model(images)
seconds = time.perf_counter() - start
np.savez(folder + "/anomalib.npz", score=out.pred_score, map=out.anomaly_map, seconds=seconds)
"""


class LoopedVisionTower(WindowedVisionTower):
    """The same, one window after the other."""

    def _encode_windows(self, tokens: torch.Tensor, side: int) -> torch.Tensor:
        features = []
        for row in range(self.grid - side + 1):
            for column in range(self.grid - side + 1):
                inside = [1 + (row + i) * self.grid + column + j for i in range(side) for j in range(side)]
                x = self.visual.transformer(tokens[:, [0, *inside]])
                features.append(self.project(self.visual.ln_post(x[:, 0])))
        return torch.stack(features, dim=1)


def timed(run: Callable[[], tuple[torch.Tensor, torch.Tensor]]) -> tuple[float, np.ndarray, np.ndarray]:
    """Seconds, scores and maps."""
    start = time.perf_counter()
    score, anomaly_map = run()
    return time.perf_counter() - start, score.numpy(), anomaly_map.numpy().squeeze(1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--anomalib", metavar="PYTHON")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = open_clip.create_model(_ARCHITECTURE)
        with torch.no_grad():
            for block in model.visual.transformer.resblocks:  # so that features differ from window to window
                block.attn.in_proj_weight.mul_(2)
        state = {k: v.contiguous() for k, v in model.state_dict().items()}
        save_file(state, folder / "weights.safetensors", {"activation": "gelu"})
        images = torch.randn(arguments.images, 3, 240, 240)
        np.save(folder / "images.npy", images.numpy())
        detector = create_model(folder / "weights.safetensors", method="winclip", class_name=_CLASS)
        assert isinstance(detector, WinCLIP)
        with torch.no_grad():
            detector(images)  # warm up
            ours = timed(lambda: detector(images))
            batched, detector.vision = detector.vision, LoopedVisionTower(model.visual.eval(), None)
            looped = timed(lambda: detector(images))
            detector.vision = batched
        found = {"windows in one batch": ours, "one after the other": looped}
        if arguments.anomalib:
            command = [arguments.anomalib, "-c", _ANOMALIB, name, str(torch.get_num_threads()), _CLASS]
            subprocess.run(command, check=True)
            with np.load(folder / "anomalib.npz") as theirs:
                found["anomalib"] = float(theirs["seconds"]), theirs["score"], theirs["map"]
    rows = [
        (
            kind,
            f"{seconds / len(images):.2f}",
            f"{seconds / ours[0]:.1f}",
            f"{np.abs(score - ours[1]).max():.1e}",
            f"{np.abs(anomaly_map - ours[2]).max():.1e}",
        )
        for kind, (seconds, score, anomaly_map) in found.items()
    ]
    print(
        tabulate(
            rows, ("", "s/image", "times ours", "score differs by", "map differs by"), "pipe", disable_numparse=True
        )
    )
    print(f"scores {ours[1].round(4).tolist()}, maps from {ours[2].min():.4f} to {ours[2].max():.4f}")


if __name__ == "__main__":
    main()
