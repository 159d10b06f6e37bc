from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file


def openai_state(
    vision_width: int,
    vision_layers: int,
    patch: int,
    grid: int,
    text_width: int,
    text_layers: int,
    embed: int,
    seed: int,
) -> dict[str, torch.Tensor]:
    """Seeded random weights in OpenAI's state-dict layout, float32, scaled so that features differ between patches."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, std: float) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * std

    state: dict[str, torch.Tensor] = {}

    def transformer(prefix: str, width: int, layers: int) -> None:
        for i in range(layers):
            name = f"{prefix}transformer.resblocks.{i}"
            state[f"{name}.attn.in_proj_weight"] = normal(3 * width, width, std=1.2 * width**-0.5)
            state[f"{name}.attn.in_proj_bias"] = normal(3 * width, std=0.02)
            state[f"{name}.attn.out_proj.weight"] = normal(width, width, std=width**-0.5)
            state[f"{name}.attn.out_proj.bias"] = normal(width, std=0.02)
            state[f"{name}.mlp.c_fc.weight"] = normal(4 * width, width, std=(2 * width) ** -0.5)
            state[f"{name}.mlp.c_fc.bias"] = normal(4 * width, std=0.02)
            state[f"{name}.mlp.c_proj.weight"] = normal(width, 4 * width, std=(2 * width) ** -0.5 / 2)
            state[f"{name}.mlp.c_proj.bias"] = normal(width, std=0.02)
            for norm in ("ln_1", "ln_2"):
                state[f"{name}.{norm}.weight"] = 1 + normal(width, std=0.1)
                state[f"{name}.{norm}.bias"] = normal(width, std=0.05)

    transformer("visual.", vision_width, vision_layers)
    transformer("", text_width, text_layers)
    for norm, width in (("visual.ln_pre", vision_width), ("visual.ln_post", vision_width), ("ln_final", text_width)):
        state[f"{norm}.weight"] = 1 + normal(width, std=0.1)
        state[f"{norm}.bias"] = normal(width, std=0.05)
    state["visual.conv1.weight"] = normal(vision_width, 3, patch, patch, std=1 / patch)
    state["visual.class_embedding"] = normal(vision_width, std=1.0)
    state["visual.positional_embedding"] = normal(1 + grid * grid, vision_width, std=0.5)
    state["visual.proj"] = normal(vision_width, embed, std=vision_width**-0.5)
    state["token_embedding.weight"] = normal(49408, text_width, std=1.0)
    state["positional_embedding"] = normal(77, text_width, std=0.3)
    state["text_projection"] = normal(text_width, embed, std=text_width**-0.5)
    state["logit_scale"] = torch.tensor(4.6)
    return state


def prompt_state(width: int, length: int, depth: int, deep_length: int, seed: int) -> dict[str, torch.Tensor]:
    """Seeded prompts, as large as embeddings, so that they matter."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"ctx_pos": (1, 1, length, width), "ctx_neg": (1, 1, length, width)}
    shapes |= {f"compound_prompts_text.{i}": (deep_length, width) for i in range(depth - 1)}
    return {name: torch.randn(*shape, generator=generator) for name, shape in shapes.items()}


@pytest.fixture(scope="session")
def small_state() -> dict[str, torch.Tensor]:
    return openai_state(128, 6, 14, 4, 128, 4, 64, seed=7)


@pytest.fixture(scope="session")
def small_clip(small_state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("small_clip") / "small.safetensors"
    save_file(small_state, path)
    return path


@pytest.fixture(scope="session")
def small_prompts() -> dict[str, torch.Tensor]:
    return prompt_state(128, 5, 3, 2, seed=8)


@pytest.fixture(scope="session")
def small_prompts_file(small_prompts: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An official checkpoint, with the leftovers that the authors' files carry."""
    path = tmp_path_factory.mktemp("small_prompts") / "epoch_15.pth"
    leftovers = {
        "token_prefix_pos": torch.zeros(1, 1, 1, 128),
        "token_suffix_neg": torch.zeros(1, 1, 64, 128),
        "tokenized_prompts_pos": torch.zeros(1, 77, dtype=torch.int32),
        "compound_prompt_projections.0.weight": torch.zeros(896, 128),
        "compound_prompt_projections.0.bias": torch.zeros(896),
    }
    torch.save({"prompt_learner": {**small_prompts, **leftovers}}, path)
    return path
