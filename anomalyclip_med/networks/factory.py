"""One call from weights to a detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anomalyclip_med.backbones import Activation, load_clip
from anomalyclip_med.backbones.offline import OFFLINE_NAME
from anomalyclip_med.networks.anomalyclip import AnomalyCLIP, ScoreSource
from anomalyclip_med.networks.checkpoint import load_prompts, read_prompts
from anomalyclip_med.networks.dpam import DPAMAttention
from anomalyclip_med.networks.prompts import PromptConfig
from anomalyclip_med.weights import SHIPPED, resolve_prompts


def create_model(
    clip: str | Path = "untrained",
    prompts: str | Path | None = None,
    image_size: int | None = None,
    feature_layers: int | Sequence[int] | None = None,
    dpam_layers: int | Sequence[int] | None = None,
    dpam: DPAMAttention | str | None = None,
    sigma: float | None = None,
    score: ScoreSource | str | None = None,
    top_fraction: float | None = None,
    neighbourhood: Sequence[int] | None = None,
    prompt_config: PromptConfig | None = None,
    seed: int = 0,
    activation: Activation | str | None = None,
) -> AnomalyCLIP:
    """Build an AnomalyCLIP detector in eval mode.

    The settings from ``image_size`` to ``neighbourhood`` are, where None, those that the file of prompts records, for
    prompts belong to the detector that they were learned in; and else the paper's, see :class:`AnomalyCLIP`.

    Args:
        clip: see :func:`anomalyclip_med.backbones.load_clip`: ``"ViT-L-14-336/openai"``, a file, ``"offline"`` or
            ``"untrained"``.
        prompts: a registered name (``anomalyclip-med weights list``), a file, ``"auto"`` for those that the
            package ships for the backbone, where it ships some, or None for prompts that have not been trained.
        image_size: side S of the square input in pixels, a multiple of the patch size.
        feature_layers: vision blocks, counting from 1, whose patch features make the map; one or several.
        dpam_layers: number of last vision blocks with the DPAM path, or a (first, last) pair of block numbers.
        dpam: ``vv``, ``qq``, ``kk`` or ``off``.
        sigma: of the map's Gaussian in pixels of the model's input.
        score: what the image score is made of, ``class_token``, ``map`` or ``both``.
        top_fraction: share of the patches, the most abnormal ones, that make the map's score.
        neighbourhood: odd sides, in patches, over which patch features are averaged.
        prompt_config: shape and words of new prompts; of a file, only the words, and only where it does not
            record them.
        seed: of new prompts' random start.
        activation: ``quick_gelu`` or ``gelu``, for CLIP files that do not tell it.

    Raises:
        WeightsError: weights or prompts are missing, damaged, unsafe or do not fit.
        ConfigurationError: an option does not fit the network.

    Example:
        >>> detector = create_model("untrained", image_size=70)
        >>> out = detector(torch.zeros(2, 3, 70, 70))
        >>> out.score.shape, out.anomaly_map.shape
        (torch.Size([2]), torch.Size([2, 1, 70, 70]))
    """
    if prompts == "auto":
        prompts = SHIPPED if clip == OFFLINE_NAME else None
    learned = None if prompts is None else read_prompts(resolve_prompts(prompts), prompt_config)
    backbone = load_clip(clip, activation=activation)
    if learned:
        learned.check_backbone(backbone.name, backbone.sha256)  # before settings that do not fit it are tried
    given = {
        "image_size": image_size,
        "feature_layers": [feature_layers] if isinstance(feature_layers, int) else feature_layers,
        "dpam_layers": dpam_layers,
        "dpam": dpam,
        "sigma": sigma,
        "score": score,
        "top_fraction": top_fraction,
        "neighbourhood": neighbourhood,
    }
    settings = (learned.settings if learned else {}) | {k: v for k, v in given.items() if v is not None}
    detector = AnomalyCLIP(
        backbone,
        **settings,
        prompt_config=learned.config if learned else prompt_config,
        seed=seed,
    )
    if learned:
        load_prompts(detector, learned)
    detector.eval()
    return detector
