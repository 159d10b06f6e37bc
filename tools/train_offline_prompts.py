"""Makes the learned embeddings that the package ships for the offline backbone, from procedural images alone.

Usage: python tools/train_offline_prompts.py [OUTPUT] [--seed N]

Reads configs/offline_prompts.json; takes minutes on two cores. The seed, 0 for the shipped file, is that of the images,
of their order and of the embeddings' start.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from anomalyclip_med import create_model
from anomalyclip_med.bundle import run_bundle
from anomalyclip_med.networks import save_prompts

REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> None:
    """Train and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shipped = REPOSITORY / "anomalyclip_med" / "prompts" / "offline.safetensors"
    parser.add_argument("output", nargs="?", type=Path, default=shipped)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    config = json.loads((REPOSITORY / "configs" / "offline_prompts.json").read_text())
    with TemporaryDirectory() as folder:
        run_bundle(
            "anomalyclip_zero_shot",
            ["inference.json", "train.json"],
            output_dir=folder,
            seed=arguments.seed,
            procedural=config["data"]["length"],
            procedural_settings=config["data"]["settings"],
            cache="memory",
            cache_dtype="float16",
            schedule="cosine",
            **config["model"],
            **config["training"],
        )
        detector = create_model(config["model"]["clip"], Path(folder) / "prompts.safetensors")
    # Learned from single patches and used over neighbourhoods: trained on them, the map overlooks large faint lesions.
    detector.neighbourhood = tuple(config["neighbourhood"])
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    save_prompts(detector, arguments.output)
    print(arguments.output)


if __name__ == "__main__":
    main()
