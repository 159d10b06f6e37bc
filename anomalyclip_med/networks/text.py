"""CLIP's frozen text tower, no longer than the words need."""

from __future__ import annotations

from collections.abc import Sequence

import open_clip
import torch
from torch import Tensor, nn

from anomalyclip_med.errors import ConfigurationError


def tokenize(texts: Sequence[str], positions: int) -> tuple[Tensor, Tensor]:
    """Tokens of texts, cut after the last end token: attention is causal, so nothing after it can matter.

    Args:
        texts: N of them.
        positions: of the text tower.

    Returns:
        (N, L) tokens, L not above ``positions``, and (N,) the places of the end tokens.

    Raises:
        ConfigurationError: a text is too long.
    """
    tokens = open_clip.tokenize(list(texts), context_length=positions)
    end = tokens.argmax(dim=-1)  # the end token has the highest number
    if int(end.max()) == positions - 1:
        text = texts[int(end.argmax())]
        raise ConfigurationError(f"{text[:80]!r} does not fit the text tower's {positions} positions")
    return tokens[:, : int(end.max()) + 1], end


class TextTower(nn.Module):
    """From embedded words to text features; the vocabulary is not part of it.

    Args:
        clip: whose text tower it is; its modules are used in place, nothing is copied.

    Attributes:
        positions: 77, of CLIP.
        width: of the tokens.
        depth: number of blocks.
    """

    positional_embedding: Tensor
    attention_mask: Tensor

    def __init__(self, clip: open_clip.CLIP) -> None:
        super().__init__()
        self.positions = int(clip.context_length)
        self.width = int(clip.token_embedding.weight.shape[1])
        self.depth = len(clip.transformer.resblocks)
        self.transformer = clip.transformer
        self.ln_final = clip.ln_final
        self.text_projection = clip.text_projection
        self.register_buffer("positional_embedding", clip.positional_embedding.detach())
        self.register_buffer("attention_mask", clip.attn_mask, persistent=False)

    def forward(self, words: Tensor, end: Tensor, deep: Sequence[Tensor] = ()) -> Tensor:
        """Encode texts.

        Args:
            words: (N, L, D) embedded tokens.
            end: (N,) places of the end tokens.
            deep: tokens (length, D) that overwrite the places from 1 on before the blocks from the second on.

        Returns:
            (N, E), not normalised.
        """
        length = words.shape[1]
        mask = self.attention_mask[:length, :length]
        x = words + self.positional_embedding[:length]
        for number, block in enumerate(self.transformer.resblocks, start=1):
            if 2 <= number <= len(deep) + 1:
                tokens = deep[number - 2].expand(len(x), -1, -1)
                x = torch.cat([x[:, :1], tokens, x[:, 1 + tokens.shape[1] :]], dim=1)
            x = block(x, attn_mask=mask)
        return self.ln_final(x)[torch.arange(len(x), device=x.device), end] @ self.text_projection
