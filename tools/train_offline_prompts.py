"""Makes the learned embeddings that the package ships for the offline backbone, from procedural images alone.

Usage: python tools/train_offline_prompts.py [OUTPUT]

Reads configs/offline_prompts.json; takes minutes on two cores.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from anomalyclip_med import create_model
from anomalyclip_med.data.procedural import ProceduralDataset, Settings
from anomalyclip_med.engines.auxiliary import train_on_cached_features
from anomalyclip_med.networks import save_prompts

REPOSITORY = Path(__file__).resolve().parents[1]


def main(output: Path) -> None:
    """Train and save."""
    config = json.loads((REPOSITORY / "configs" / "offline_prompts.json").read_text())
    detector = create_model(seed=config["seed"], **config["model"])
    data = config["data"]
    images = ProceduralDataset(
        length=data["length"], seed=data["seed"], size=detector.image_size, settings=Settings(**data["settings"])
    )
    losses = train_on_cached_features(detector, images, seed=config["seed"], **config["training"])
    print("mean loss of each epoch: " + ", ".join(f"{loss:.4f}" for loss in losses))
    save_prompts(detector, output)
    print(output)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "anomalyclip_med" / "prompts" / "offline.safetensors")
