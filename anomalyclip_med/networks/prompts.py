"""The learned prompts, read by CLIP's frozen text tower (AnomalyCLIP, arXiv 2310.18961, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.networks.text import TextTower, tokenize

_MAX_WORDS = 300
"""Characters; the text tower has 77 positions."""
_MAX_STATES = 16


@dataclass(frozen=True)
class PromptConfig:
    """Shape and words of the prompts; the defaults are the paper's.

    Attributes:
        context_length: learned vectors between the start token and the words.
        deep_depth: text blocks, counting from 1, up to which learned tokens enter; 1 for none.
        deep_length: learned tokens that overwrite positions 1 to ``deep_length`` before blocks 2 to ``deep_depth``.
        class_name: what the words name.
        object_aware: whether the words name each image's own class, where that is known, in place of ``class_name``.
            The paper's prompts do not.
        normal: words of the normal prompt, with ``{}`` for the class name.
        abnormal: words of the abnormal prompt, likewise; or of several, such as three grades of damage, whose
            probabilities are added. They share the learned vectors, and differ in their words alone.

    Raises:
        ConfigurationError: a value does not fit.

    Examples:
        >>> from anomalyclip_med.networks import PromptConfig
        >>> PromptConfig().words
        ('object.', 'damaged object.')
        >>> PromptConfig(class_name="skin", normal="healthy {}", abnormal=["red {}", "scaly {}"]).words
        ('healthy skin.', 'red skin.', 'scaly skin.')
    """

    context_length: int = 12
    deep_depth: int = 9
    deep_length: int = 4
    class_name: str = "object"
    normal: str = "{}"
    abnormal: str | Sequence[str] = "damaged {}"
    object_aware: bool = False

    def __post_init__(self) -> None:
        for name in ("context_length", "deep_depth", "deep_length"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"{name}={value!r} must be a whole number of at least 1")
        if not isinstance(self.abnormal, str):
            object.__setattr__(self, "abnormal", tuple(self.abnormal))  # JSON has lists
            if not 1 <= len(self.abnormal) <= _MAX_STATES:
                raise ConfigurationError(f"abnormal must be one text, or a list of 1 to {_MAX_STATES}")
        for name in ("class_name", "normal", "abnormal"):
            value = getattr(self, name)
            for text in (value,) if name != "abnormal" or isinstance(value, str) else value:
                if not isinstance(text, str) or len(text) > _MAX_WORDS:
                    raise ConfigurationError(f"{name} must be text of at most {_MAX_WORDS} characters")
        if not isinstance(self.object_aware, bool):
            raise ConfigurationError(f"object_aware={self.object_aware!r} must be true or false")

    @property
    def words(self) -> tuple[str, ...]:
        """The words after the learned vectors: normal, then all that are abnormal."""
        return self.words_of(self.class_name)

    def words_of(self, class_name: str) -> tuple[str, ...]:
        """The same with another class name."""
        abnormal = (self.abnormal,) if isinstance(self.abnormal, str) else self.abnormal
        # Not str.format: a checkpoint's words are a stranger's, and a format can ask for anything.
        return tuple(f"{text.replace('{}', class_name)}." for text in (self.normal, *abnormal))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PromptConfig:
        """From the fields that differ from the defaults.

        Raises:
            ConfigurationError: there is no such field, or a value does not fit.
        """
        if unknown := values.keys() - {field.name for field in fields(cls)}:
            raise ConfigurationError(f"prompt_config: unknown {', '.join(sorted(unknown))}")
        return cls(**values)


class PromptLearner(nn.Module):
    """Learned prompt vectors and the frozen text tower that turns them into text features.

    The trained tensors carry the names of the authors' checkpoints: ``ctx_pos`` and ``ctx_neg`` of shape
    (1, 1, context_length, D) for the normal and the abnormal prompts, and ``compound_prompts_text.{i}`` of shape
    (deep_length, D) for block i + 2.

    Args:
        clip: the CLIP whose text tower reads the prompts; its modules are used in place, nothing is copied.
        config: shape and words.
        seed: of the random start of the vectors (normal, standard deviation 0.02).

    Raises:
        ConfigurationError: the prompts do not fit the text tower.
    """

    words: Tensor
    end: Tensor

    def __init__(self, clip: open_clip.CLIP, config: PromptConfig | None = None, seed: int = 0) -> None:
        super().__init__()
        self.config = config = config or PromptConfig()
        self.tower = TextTower(clip)
        width = self.tower.width
        if config.deep_depth > self.tower.depth:
            raise ConfigurationError(
                f"deep_depth={config.deep_depth}, but the text tower has {self.tower.depth} blocks"
            )

        generator = torch.Generator().manual_seed(seed)

        def learned(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=generator) * 0.02)

        self.ctx_pos = learned(1, 1, config.context_length, width)
        self.ctx_neg = learned(1, 1, config.context_length, width)
        self.compound_prompts_text = nn.ParameterList(
            learned(config.deep_length, width) for _ in range(config.deep_depth - 1)
        )

        words, end = self._embed([config.class_name], clip.token_embedding)
        self.register_buffer("words", words)
        self.register_buffer("end", end, persistent=False)
        # Without its vocabulary, where the embeddings of two sentences are all that is ever read of it.
        self.vocabulary = clip.token_embedding if config.object_aware else None

    def _embed(self, class_names: Sequence[str], vocabulary: nn.Embedding) -> tuple[Tensor, Tensor]:
        """The prompts of K classes, one after the other: (N, L, D) words and (N,) places of the end tokens."""
        config, positions = self.config, self.tower.positions
        # "X" holds the place of each learned vector while the words are tokenized.
        places = " ".join(["X"] * config.context_length)
        tokens, end = tokenize([f"{places} {w}" for name in class_names for w in config.words_of(name)], positions)
        if config.deep_length > int(end.min()):
            raise ConfigurationError(
                f"{config.deep_length} deep tokens take more places than the words {config.words} and "
                f"{config.context_length} learned vectors"
            )
        device = vocabulary.weight.device
        return vocabulary(tokens.to(device)).detach(), end.to(device)

    def learned(self) -> dict[str, Tensor]:
        """The trained tensors by the names that checkpoints use."""
        deep = {f"compound_prompts_text.{i}": p for i, p in enumerate(self.compound_prompts_text)}
        return {"ctx_pos": self.ctx_pos, "ctx_neg": self.ctx_neg, **deep}

    def forward(self, class_names: Sequence[str] | None = None) -> Tensor:
        """Text features of the normal and the abnormal prompts, L2-normalised.

        Args:
            class_names: K classes, where the prompts are object-aware; else, or where None, that of the configuration.

        Returns:
            (K, 1 + states, E); one abnormal state in the paper.
        """
        if self.vocabulary is None or class_names is None:
            words, end = self.words, self.end
        else:
            words, end = self._embed(class_names, self.vocabulary)
        prompts = len(self.config.words)
        context = torch.cat([self.ctx_pos[0], self.ctx_neg[0].expand(prompts - 1, -1, -1)])
        context = context.repeat(len(words) // prompts, 1, 1)
        words = torch.cat([words[:, :1], context, words[:, 1 + context.shape[1] :]], dim=1)
        # The authors' code casts these tokens to half precision whatever the model's; so do we.
        deep = [tokens.half().to(words.dtype) for tokens in self.compound_prompts_text]
        return F.normalize(self.tower(words, end, deep), dim=-1).unflatten(0, (-1, prompts))
