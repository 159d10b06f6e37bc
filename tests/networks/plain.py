"""AnomalyCLIP's arithmetic written out step by step, with explicit softmax matrices and no shortcuts.

Works on a state dict in OpenAI's format and shares nothing with the package, so that the two can be compared for any
weights, size and option.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from open_clip.tokenizer import SimpleTokenizer
from scipy.ndimage import gaussian_filter

State = dict[str, torch.Tensor]


def layer_norm(x, state: State, name: str):
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])


def split_heads(x):
    b, n, d = x.shape
    return x.reshape(b, n, d // 64, 64).transpose(1, 2)


def mix(query, key, value, mask=None):
    weights = query @ key.transpose(-2, -1) / 8.0
    weights = (weights if mask is None else weights + mask).softmax(-1)
    return (weights @ value).transpose(1, 2).flatten(2)


def qkv(x, state: State, name: str):
    packed = x @ state[f"{name}.attn.in_proj_weight"].T + state[f"{name}.attn.in_proj_bias"]
    return [split_heads(part) for part in packed.chunk(3, dim=-1)]


def project(x, state: State, name: str):
    return x @ state[f"{name}.attn.out_proj.weight"].T + state[f"{name}.attn.out_proj.bias"]


def mlp(x, state: State, name: str):
    x = layer_norm(x, state, f"{name}.ln_2") @ state[f"{name}.mlp.c_fc.weight"].T + state[f"{name}.mlp.c_fc.bias"]
    x = x * torch.sigmoid(1.702 * x)
    return x @ state[f"{name}.mlp.c_proj.weight"].T + state[f"{name}.mlp.c_proj.bias"]


def depth(state: State, prefix: str) -> int:
    return len([k for k in state if k.startswith(prefix) and k.endswith("ln_1.weight")])


def encode_image(state: State, images, feature_layers, side_blocks, dpam: str):
    kernel = state["visual.conv1.weight"]
    x = F.conv2d(images, kernel, stride=kernel.shape[-1])
    grid = x.shape[-1]
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([state["visual.class_embedding"].expand(len(x), 1, -1), x], dim=1)
    positions = state["visual.positional_embedding"]
    old = round((len(positions) - 1) ** 0.5)
    patches = positions[1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    patches = F.interpolate(patches, (grid, grid), mode="bilinear", align_corners=False)
    x = x + torch.cat([positions[:1], patches.permute(0, 2, 3, 1).reshape(grid * grid, -1)])
    x = layer_norm(x, state, "visual.ln_pre")
    side, features = x, []
    for number in range(1, depth(state, "visual.") + 1):
        name = f"visual.transformer.resblocks.{number - 1}"
        q, k, v = qkv(layer_norm(x, state, f"{name}.ln_1"), state, name)
        if number in side_blocks:
            alike = {"vv": v, "qq": q, "kk": k}[dpam]
            side = side + project(mix(alike, alike, v), state, name)
        x = x + project(mix(q, k, v), state, name)
        x = x + mlp(x, state, name)
        if not side_blocks or number < min(side_blocks):
            side = x
        if number in feature_layers:
            features.append(layer_norm(side, state, "visual.ln_post") @ state["visual.proj"])
    return F.normalize(x[:, 0] @ state["visual.proj"], dim=-1), features


def encode_prompts(state: State, prompts: State, words: tuple[str, str]):
    """One prompt at a time, over all 77 positions."""
    features = []
    length = prompts["ctx_pos"].shape[2]
    deep_depth = 1 + len([k for k in prompts if k.startswith("compound")])
    mask = torch.full((77, 77), float("-inf")).triu(1)
    for context, text in zip((prompts["ctx_pos"], prompts["ctx_neg"]), words, strict=True):
        tokens = SimpleTokenizer()(" ".join(["X"] * length) + f" {text}")
        x = state["token_embedding.weight"][tokens].clone()
        x[:, 1 : 1 + length] = context[0]
        x = x + state["positional_embedding"]
        for number in range(1, depth(state, "transformer.") + 1):
            if 2 <= number <= deep_depth:
                deep = prompts[f"compound_prompts_text.{number - 2}"]
                x[:, 1 : 1 + len(deep)] = deep.half().float()
            name = f"transformer.resblocks.{number - 1}"
            q, k, v = qkv(layer_norm(x, state, f"{name}.ln_1"), state, name)
            x = x + project(mix(q, k, v, mask), state, name)
            x = x + mlp(x, state, name)
        x = layer_norm(x, state, "ln_final")[0, tokens.argmax()] @ state["text_projection"]
        features.append(F.normalize(x, dim=-1))
    return torch.stack(features)


def score(
    state: State,
    prompts: State,
    images,
    feature_layers,
    side_blocks,
    dpam="vv",
    sigma=4.0,
    words=("object.", "damaged object."),
):
    """Scores (B,), maps (B, S, S), text features, image features and patch features."""
    text = encode_prompts(state, prompts, words)
    image_features, patch_features = encode_image(state, images, feature_layers, side_blocks, dpam)
    total = 0
    for features in patch_features:
        similarity = (F.normalize(features[:, 1:], dim=-1) @ text.T / 0.07).softmax(-1)
        grid = round(similarity.shape[1] ** 0.5)
        maps = similarity.transpose(1, 2).unflatten(2, (grid, grid))
        maps = F.interpolate(maps, images.shape[-2:], mode="bilinear", align_corners=False)
        total = total + (maps[:, 1] + 1 - maps[:, 0]) / 2
    maps = total.numpy() / len(patch_features)
    if sigma:
        maps = torch.stack([torch.from_numpy(gaussian_filter(m, sigma=sigma)) for m in maps]).numpy()
    scores = (image_features @ text.T / 0.07).softmax(-1)[:, 1]
    return scores, torch.from_numpy(maps), text, image_features, patch_features
