"""The baselines' arithmetic written out, on a state dict in OpenAI's layout: nothing of the package, no shortcuts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from open_clip.tokenizer import SimpleTokenizer
from scipy.ndimage import gaussian_filter

from ..networks.plain import State, depth, layer_norm, mix, mlp, project, qkv

TOKENIZER = SimpleTokenizer()


def blocks(state: State, prefix: str, x, mask=None):
    """What leaves each block."""
    out = []
    for number in range(depth(state, f"{prefix}transformer.")):
        name = f"{prefix}transformer.resblocks.{number}"
        x = x + project(mix(*qkv(layer_norm(x, state, f"{name}.ln_1"), state, name), mask), state, name)
        x = x + mlp(x, state, name)
        out.append(x)
    return out


def encode_text(state: State, sentences: list[str], context=None):
    """Features of sentences, not normalised; ``context`` stands in place of the words after the start token."""
    tokens = TOKENIZER(sentences)
    x = state["token_embedding.weight"][tokens].clone()
    if context is not None:
        x[:, 1 : 1 + len(context)] = context
    mask = torch.full((77, 77), float("-inf")).triu(1)
    x = blocks(state, "", x + state["positional_embedding"], mask)[-1]
    x = layer_norm(x, state, "ln_final")[torch.arange(len(x)), tokens.argmax(-1)]
    return x @ state["text_projection"]


def tokens_of(state: State, images):
    """What enters the first block; the positions are resized as open_clip does it."""
    kernel = state["visual.conv1.weight"]
    x = F.conv2d(images, kernel, stride=kernel.shape[-1])
    grid = x.shape[-1]
    x = x.flatten(2).transpose(1, 2)
    positions = state["visual.positional_embedding"]
    old = round((len(positions) - 1) ** 0.5)
    patches = positions[1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    if grid != old:
        patches = F.interpolate(patches, (grid, grid), mode="bicubic", antialias=True, align_corners=False)
    x = torch.cat([state["visual.class_embedding"].expand(len(x), 1, -1), x], dim=1)
    x = x + torch.cat([positions[:1], patches.permute(0, 2, 3, 1).reshape(grid * grid, -1)])
    return layer_norm(x, state, "visual.ln_pre")


def into_joint_space(state: State, x):
    return layer_norm(x, state, "visual.ln_post") @ state["visual.proj"]


def abnormal(features, text, temperature=0.07):
    """Abnormal entry of the softmax over the cosines."""
    cosines = F.normalize(features, dim=-1) @ F.normalize(text, dim=-1).T
    return (cosines / temperature).softmax(-1)[..., 1]


def patchwise(state: State, image, text, sigma=4.0):
    """Score and map of one image (1, 3, S, S) by an unmodified CLIP and two text features."""
    last = into_joint_space(state, blocks(state, "visual.", tokens_of(state, image))[-1])[0]
    grid = round((len(last) - 1) ** 0.5)
    patches = abnormal(last[1:], text).reshape(1, 1, grid, grid)
    upsampled = F.interpolate(patches, image.shape[-2:], mode="bilinear", align_corners=False)[0, 0]
    return abnormal(last[0], text), torch.from_numpy(gaussian_filter(upsampled.numpy(), sigma))
