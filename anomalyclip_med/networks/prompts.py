"""The two learned prompts, read by CLIP's frozen text tower (AnomalyCLIP, arXiv 2310.18961, section 3.2)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn

from anomalyclip_med.errors import ConfigurationError

_MAX_WORDS = 300
"""Characters; the text tower has 77 positions."""


@dataclass(frozen=True)
class PromptConfig:
    """Shape and words of the prompts; the defaults are the paper's.

    Attributes:
        context_length: learned vectors between the start token and the words.
        deep_depth: text blocks, counting from 1, up to which learned tokens enter; 1 for none.
        deep_length: learned tokens that overwrite positions 1 to ``deep_length`` before blocks 2 to ``deep_depth``.
        class_name: what the words name. "object" makes the prompts object-agnostic; "brain" object-aware.
        normal: words of the normal prompt, with ``{}`` for the class name.
        abnormal: words of the abnormal prompt, likewise.
    """

    context_length: int = 12
    deep_depth: int = 9
    deep_length: int = 4
    class_name: str = "object"
    normal: str = "{}"
    abnormal: str = "damaged {}"

    def __post_init__(self) -> None:
        for name in ("context_length", "deep_depth", "deep_length"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"{name}={value!r} must be a whole number of at least 1")
        for name in ("class_name", "normal", "abnormal"):
            value = getattr(self, name)
            if not isinstance(value, str) or len(value) > _MAX_WORDS:
                raise ConfigurationError(f"{name} must be text of at most {_MAX_WORDS} characters")

    @property
    def words(self) -> tuple[str, str]:
        """The words after the learned vectors: normal, abnormal."""
        # Not str.format: a checkpoint's words are a stranger's, and a format can ask for anything.
        normal, abnormal = (text.replace("{}", self.class_name) for text in (self.normal, self.abnormal))
        return f"{normal}.", f"{abnormal}."

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint's metadata."""
        return asdict(self)


class PromptLearner(nn.Module):
    """Learned prompt vectors and the frozen text tower that turns them into two text features.

    The trained tensors carry the names of the authors' checkpoints: ``ctx_pos`` and ``ctx_neg`` of shape
    (1, 1, context_length, D) for the normal and the abnormal prompt, and ``compound_prompts_text.{i}`` of shape
    (deep_length, D) for block i + 2.

    Args:
        clip: the CLIP whose text tower reads the prompts; its modules are used in place, nothing is copied.
        config: shape and words.
        seed: of the random start of the vectors (normal, standard deviation 0.02).
    """

    words: Tensor
    positional_embedding: Tensor
    attention_mask: Tensor
    end: Tensor

    def __init__(self, clip: open_clip.CLIP, config: PromptConfig | None = None, seed: int = 0) -> None:
        super().__init__()
        self.config = config = config or PromptConfig()
        width = clip.token_embedding.weight.shape[1]
        depth = len(clip.transformer.resblocks)
        if config.deep_depth > depth:
            raise ConfigurationError(f"deep_depth={config.deep_depth}, but the text tower has {depth} blocks")

        generator = torch.Generator().manual_seed(seed)

        def learned(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=generator) * 0.02)

        self.ctx_pos = learned(1, 1, config.context_length, width)
        self.ctx_neg = learned(1, 1, config.context_length, width)
        self.compound_prompts_text = nn.ParameterList(
            learned(config.deep_length, width) for _ in range(config.deep_depth - 1)
        )

        # "X" holds the place of each learned vector while the words are tokenized.
        places = " ".join(["X"] * config.context_length)
        tokens = SimpleTokenizer(context_length=clip.context_length)([f"{places} {w}" for w in config.words])
        end = tokens.argmax(dim=-1)  # the end token has the highest number
        if int(end.max()) == clip.context_length - 1 or config.deep_length > int(end.min()):
            raise ConfigurationError(
                f"{config.context_length} learned vectors, {config.deep_length} deep tokens and the words "
                f"{config.words} do not fit the text tower's {clip.context_length} positions"
            )
        self.register_buffer("end", end, persistent=False)

        # The text tower, without its vocabulary: the embeddings of two sentences are all that is ever read of it.
        # Attention is causal, so nothing after the last end token can matter.
        length = int(end.max()) + 1
        self.transformer = clip.transformer
        self.ln_final = clip.ln_final
        self.text_projection = clip.text_projection
        self.register_buffer("words", clip.token_embedding.weight[tokens[:, :length]].detach())
        self.register_buffer("positional_embedding", clip.positional_embedding[:length].detach())
        self.register_buffer("attention_mask", clip.attn_mask[:length, :length], persistent=False)

    def learned(self) -> dict[str, Tensor]:
        """The trained tensors by the names that checkpoints use."""
        deep = {f"compound_prompts_text.{i}": p for i, p in enumerate(self.compound_prompts_text)}
        return {"ctx_pos": self.ctx_pos, "ctx_neg": self.ctx_neg, **deep}

    def forward(self) -> Tensor:
        """Text features (2, E) of the normal and the abnormal prompt, L2-normalised."""
        context = torch.cat([self.ctx_pos[0], self.ctx_neg[0]])
        x = torch.cat([self.words[:, :1], context, self.words[:, 1 + context.shape[1] :]], dim=1)
        x = x + self.positional_embedding
        for number, block in enumerate(self.transformer.resblocks, start=1):
            if 2 <= number <= self.config.deep_depth:
                # The authors' code casts these tokens to half precision whatever the model's; so do we.
                deep = self.compound_prompts_text[number - 2].half().to(x.dtype).expand(2, -1, -1)
                x = torch.cat([x[:, :1], deep, x[:, 1 + deep.shape[1] :]], dim=1)
            x = block(x, attn_mask=self.attention_mask)
        x = self.ln_final(x)[torch.arange(2, device=x.device), self.end] @ self.text_projection
        return F.normalize(x, dim=-1)
