"""Draws the figures of the documentation's pages from the demo's scans, with the offline backbone.

Usage: python tools/concept_figures.py DEMO_INPUTS FOLDER

DEMO_INPUTS is what tools/demo_inputs.py collects. Each figure is one PNG in FOLDER; nothing in it is chosen by hand but
the slice and the marked patch.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from monai.data import MetaTensor

from anomalyclip_med import create_model
from anomalyclip_med.bundle import run_bundle
from anomalyclip_med.data import find_scans
from anomalyclip_med.networks import Detector, PromptConfig
from anomalyclip_med.transforms import CT_WINDOWS, LoadSliced, ResizeSliced

SIZE = 448
"""Side of the model's input where single patches are shown: 32 x 32 of them."""
BLOCK = 8
"""Whose patches are compared: one of those that the offline detector's map is made of."""
DPAM_LAYERS = (3, 12)
"""Blocks with a V-V path, as the detector has them for a tower of 12."""
DRAWN = 160
"""Images that the embeddings of a map are learned from; the shipped ones have seen 3,200."""
# The slice and the patch (row, column of 32 x 32) that is marked: muscle, and brain.
MARKED = {"ct_slice.dcm": (0, (25, 9)), "mr_volume.nii": (13, (13, 11))}


def main(inputs: Path, output: Path) -> None:
    """Draw all figures."""
    output.mkdir(parents=True, exist_ok=True)
    figures = {
        "similarity": similarity(inputs),
        "maps": maps(inputs),
        "windows": windows(inputs),
        "prompts": prompts(PromptConfig()),
    }
    for name, figure in figures.items():
        figure.savefig(output / f"{name}.png", dpi=130)


def load(path: Path, index: int, window: str = "auto") -> MetaTensor:
    """One slice as the model would see it, (3, rows, columns) in [0, 1]."""
    (scan,), _ = find_scans([path])
    return LoadSliced("image", window).read(scan, index)


def normalised(detector: Detector, image: MetaTensor, size: int) -> torch.Tensor:
    """The same as a batch of one for the detector."""
    resized = ResizeSliced("image", size)({"image": image})["image"].as_tensor()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (detector.image_mean, detector.image_std))
    return ((resized - mean) / std)[None]


def similarity(inputs: Path) -> Figure:
    """Cosine similarity of every patch to a marked one, after one block, on both paths."""
    options = {"image_size": SIZE, "feature_layers": (BLOCK,), "neighbourhood": (1,)}
    paths = {
        "original path": create_model("offline", dpam="off", **options),
        "V-V path": create_model("offline", dpam="vv", dpam_layers=DPAM_LAYERS, **options),
    }
    figure = Figure(figsize=(8.2, 5.6), layout="constrained")
    grid = figure.subplots(len(MARKED), 3)
    for axes, (name, (index, (row, column))) in zip(grid, MARKED.items(), strict=True):
        image = load(inputs / name, index)
        show(axes[0], image, f"{name}, the marked patch")
        height, width = (side / 32 for side in image.shape[1:])
        box = ((column * width - 0.5, row * height - 0.5), width, height)
        for axis in axes:
            axis.add_patch(Rectangle(*box, fill=False, edgecolor="red", linewidth=1.5))
        for axis, (title, detector) in zip(axes[1:], paths.items(), strict=True):
            features = detector.encode_image(normalised(detector, image, SIZE))["patch_features"][0, 0]
            cosine = (features @ features[row * 32 + column]).reshape(32, 32)
            rows, columns = image.shape[1:]
            extent = (-0.5, columns - 0.5, rows - 0.5, -0.5)
            drawn = axis.imshow(cosine, cmap="viridis", vmin=0, vmax=1, extent=extent, interpolation="nearest")
            finish(axis, title)
    figure.colorbar(drawn, ax=grid, shrink=0.6, label="cosine similarity to the marked patch")
    return figure


def maps(inputs: Path) -> Figure:
    """The map with and without DPAM, each with embeddings that were learned in the same way for its own path."""
    figure = Figure(figsize=(8.2, 5.6), layout="constrained")
    grid = figure.subplots(len(MARKED), 3)
    with tempfile.TemporaryDirectory() as folder:
        detectors = {
            "original path": learned(Path(folder) / "off", dpam="off"),
            "V-V path": learned(Path(folder) / "vv", dpam="vv", dpam_layers=list(DPAM_LAYERS)),
        }
    for axes, (name, (index, _)) in zip(grid, MARKED.items(), strict=True):
        image = load(inputs / name, index)
        show(axes[0], image, name)
        for axis, (title, detector) in zip(axes[1:], detectors.items(), strict=True):
            drawn = show_map(axis, image, detector, title)
    figure.colorbar(drawn, ax=grid, shrink=0.6, label="anomaly map")
    return figure


def learned(folder: Path, **options: Any) -> Detector:
    """An offline detector whose embeddings a short training on drawn images has made."""
    run_bundle(
        "anomalyclip_zero_shot",
        ["inference.json", "train.json"],
        clip="offline",
        prompts=None,
        procedural=DRAWN,
        epochs=5,
        image_size=112,
        feature_layers=[7, 8, 9, 10],
        cache="memory",
        output_dir=str(folder),
        **options,
    )
    return create_model("offline", folder / "prompts.safetensors", image_size=224)


def windows(inputs: Path) -> Figure:
    """One CT slice through several windows, and the map of each."""
    names = ("abdomen", "bone", "lung", "brain")
    detector = create_model("offline", "auto")
    figure = Figure(figsize=(9.2, 4.7), layout="constrained")
    grid = figure.subplots(2, len(names))
    for above, below, name in zip(*grid, names, strict=True):
        image = load(inputs / "ct_slice.dcm", 0, name)
        show(above, image, "{}: {:g}, {:g} HU".format(name, *CT_WINDOWS[name]))
        drawn = show_map(below, image, detector, "")
    figure.colorbar(drawn, ax=grid, shrink=0.6, label="anomaly map")
    return figure


def show(axis: Axes, image: MetaTensor, title: str) -> None:
    """An image (3, rows, columns)."""
    axis.imshow(image.as_tensor().permute(1, 2, 0), interpolation="nearest")
    finish(axis, title)


def show_map(axis: Axes, image: MetaTensor, detector: Detector, title: str) -> AxesImage:
    """The map on the slice's own grid and the scale [0, 1]; returns what a colour bar is drawn for."""
    with torch.inference_mode():
        out = detector(normalised(detector, image, detector.image_size))
    size = tuple(image.shape[1:])
    resized = torch.nn.functional.interpolate(out.anomaly_map, size, mode="bilinear", antialias=True)[0, 0]
    drawn = axis.imshow(resized, cmap="inferno", vmin=0, vmax=1, interpolation="nearest")
    finish(axis, f"{title}{', ' if title else ''}score {out.score.item():.2f}")
    return drawn


def finish(axis: Axes, title: str) -> None:
    """A title and no ticks."""
    axis.set_title(title, fontsize=9)
    axis.set_xticks([])
    axis.set_yticks([])


def prompts(config: PromptConfig) -> Figure:
    """Which positions of the text tower are words, which are learned, and where learned tokens are overwritten."""
    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    axis = figure.subplots()
    colours = {"word": "#d9d9d9", "learned": "#f4b183", "deep": "#9dc3e6"}

    def row(y: float, labels: list[tuple[str, str]], title: str) -> None:
        axis.text(-0.3, y + 0.4, title, ha="right", va="center", fontsize=9)
        for x, (label, kind) in enumerate(labels):
            axis.add_patch(Rectangle((x, y), 0.94, 0.8, facecolor=colours[kind], edgecolor="black", linewidth=0.6))
            axis.text(x + 0.47, y + 0.4, label, ha="center", va="center", fontsize=6.5)

    context = config.context_length
    for y, letter, words in zip((4.2, 3.2), "VW", config.words, strict=True):
        learned = [(f"{letter}{i}", "learned") for i in range(1, context + 1)]
        parts = [(word, "word") for word in words.replace(".", " .").split()]
        title = "normal prompt" if letter == "V" else "abnormal prompt"
        row(y, [("start", "word"), *learned, *parts, ("end", "word")], title)
    deep = [(f"T{i}", "deep") for i in range(1, config.deep_length + 1)]
    kept = [("·", "word")] * (context + 4 - config.deep_length)
    row(1.8, [("·", "word"), *deep, *kept], f"before each of\ntext blocks 2 to {config.deep_depth}")
    note = f"own T1 to T{config.deep_length} for each block; both prompts share them"
    axis.text(0, 1.6, note, fontsize=8, va="top")
    for x, (kind, label) in enumerate(
        {
            "word": "word or marker, frozen (· whatever the block before it gave)",
            "learned": "learned vector",
            "deep": "learned token, overwrites the position",
        }.items()
    ):
        left = (0, 8.2, 11.4)[x]
        axis.add_patch(Rectangle((left, 0.2), 0.5, 0.4, facecolor=colours[kind], edgecolor="black", linewidth=0.6))
        axis.text(left + 0.65, 0.4, label, va="center", fontsize=8)
    axis.set_xlim(-3, context + 5)
    axis.set_ylim(0.1, 5.2)
    axis.set_axis_off()
    return figure


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
