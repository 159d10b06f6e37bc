"""A small CLIP written as OpenAI's is, to save in each of the formats that the weights come in."""

from typing import NamedTuple

import pytest
import torch
from torch import nn

import anomalyclip_med.backbones  # noqa: F401  (before any test module imports open_clip)

VOCABULARY, CONTEXT, PATCH, GRID = 49408, 77, 14, 5


class QuickGELU(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(1.702 * x)


class Mlp(nn.Module):
    def __init__(self, width, activation):
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.gelu = activation()
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c_proj(self.gelu(self.c_fc(x)))


class Block(nn.Module):
    def __init__(self, width, activation, mask=None):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, width // 64)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = Mlp(width, activation)
        self.ln_2 = nn.LayerNorm(width)
        self.attn_mask = mask  # a plain attribute, not a buffer: in the archive, not in the state dict

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=self.attn_mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width, layers, activation, mask=None):
        super().__init__()
        self.width = width
        self.resblocks = nn.Sequential(*(Block(width, activation, mask) for _ in range(layers)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.resblocks(x)


class Vision(nn.Module):
    def __init__(self, width, layers, embed, activation):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, PATCH, PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width))
        self.positional_embedding = nn.Parameter(torch.randn(GRID**2 + 1, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, layers, activation)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(width**-0.5 * torch.randn(width, embed))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(x).flatten(2).transpose(1, 2)
        cls = self.class_embedding + torch.zeros_like(x[:, :1])
        x = self.ln_pre(torch.cat([cls, x], 1) + self.positional_embedding)
        x = self.transformer(x.transpose(0, 1)).transpose(0, 1)
        return self.ln_post(x[:, 0]) @ self.proj


class OpenAiClip(nn.Module):
    """OpenAI's modules and names, written anew; `forward` gives the features of both sides."""

    def __init__(self, activation=QuickGELU, vision=128, vision_layers=3, text=64, text_layers=2, embed=32):
        super().__init__()
        mask = torch.full((CONTEXT, CONTEXT), float("-inf")).triu_(1)
        self.visual = Vision(vision, vision_layers, embed, activation)
        self.transformer = Transformer(text, text_layers, activation, mask)
        self.token_embedding = nn.Embedding(VOCABULARY, text)
        self.positional_embedding = nn.Parameter(torch.randn(CONTEXT, text))
        self.ln_final = nn.LayerNorm(text)
        self.text_projection = nn.Parameter(text**-0.5 * torch.randn(text, embed))
        self.logit_scale = nn.Parameter(torch.tensor(4.6))

    def forward(self, image: torch.Tensor, text: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.token_embedding(text) + self.positional_embedding
        x = self.ln_final(self.transformer(x.transpose(0, 1)).transpose(0, 1))
        x = x[torch.arange(x.shape[0]), text.argmax(-1)] @ self.text_projection
        return self.visual(image), x


class Sample(NamedTuple):
    """A CLIP whose weights are exact in float16, one input for it, and its features."""

    module: OpenAiClip
    image: torch.Tensor
    text: torch.Tensor
    features: tuple[torch.Tensor, torch.Tensor]

    @property
    def state(self) -> dict[str, torch.Tensor]:
        """The float32 state dict, without OpenAI's marker entries."""
        return {key: value.clone() for key, value in self.module.state_dict().items()}


def make_sample(activation=QuickGELU) -> Sample:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = OpenAiClip(activation).half().float().eval().requires_grad_(False)
        image = torch.randn(2, 3, PATCH * GRID, PATCH * GRID)
        text = torch.randint(1, VOCABULARY - 1, (2, CONTEXT))
        text[:, 9], text[:, 10:] = VOCABULARY - 1, 0
        return Sample(module, image, text, module(image, text))


@pytest.fixture(scope="session")
def sample() -> Sample:
    return make_sample()


@pytest.fixture(scope="session")
def gelu_sample() -> Sample:
    return make_sample(nn.GELU)
