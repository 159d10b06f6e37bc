"""Procedural pictures as files, for tools that read folders."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image as PilImage
from tqdm import tqdm

from anomalyclip_med.data.procedural.dataset import item_seed
from anomalyclip_med.data.procedural.generation import generate
from anomalyclip_med.data.procedural.settings import DEFAULTS, Settings
from anomalyclip_med.errors import ConfigurationError


def write_folder(
    folder: str | Path,
    count: int,
    seed: int = 0,
    size: int = 224,
    settings: Settings = DEFAULTS,
    section: str = "training",
) -> Path:
    """Write pictures, masks, recipes and a data list; picture i is item i of a ``ProceduralDataset``.

    Args:
        folder: new or empty; receives ``images/00000.png`` (RGB), ``masks/00000.png`` (0 and 255; of anomalous pictures
            only), ``recipes.jsonl`` (all parameters, a line per picture) and ``datalist.json``.
        count: pictures.
        seed: of the set.
        size: side in pixels.
        settings: what is drawn and how often.
        section: of the data list, ``training`` or ``test``.

    Returns:
        The data list.

    Raises:
        ConfigurationError: the folder holds something already, or count, seed or size make no sense.

    Examples:
        >>> datalist = write_folder("set", count=2, size=32)
        >>> json.loads(datalist.read_text())["training"][0]
        {'image': 'images/00000.png', 'mask': 'masks/00000.png', 'label': 1}
        >>> sorted(path.name for path in Path("set").iterdir())
        ['datalist.json', 'images', 'masks', 'recipes.jsonl']
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigurationError(f"{folder} is not an empty folder: name a new one")
    if count < 1:
        raise ConfigurationError(f"count is {count}; it must be at least 1")
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    entries = []
    with (folder / "recipes.jsonl").open("w") as recipes:
        for number in tqdm(range(count), desc=folder.name, unit="image"):
            sample = generate(item_seed(seed, number), size, settings)
            image, mask = f"images/{number:05d}.png", f"masks/{number:05d}.png" if sample.label else None
            PilImage.fromarray(np.round(sample.image * 255).astype(np.uint8)).save(folder / image)
            if mask:
                PilImage.fromarray(sample.mask).convert("L").save(folder / mask)
            entries.append({"image": image, "mask": mask, "label": sample.label})
            recipes.write(json.dumps(sample.recipe) + "\n")
    datalist = folder / "datalist.json"
    datalist.write_text(json.dumps({section: entries}, indent=1) + "\n")
    return datalist
