"""One call from weights to a detector, whatever the method."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from anomalyclip_med.backbones import Activation, Precision, load_clip
from anomalyclip_med.backbones.offline import OFFLINE_NAME
from anomalyclip_med.baselines import CLIP, CLIPAC, VAND, CoOp, WinCLIP
from anomalyclip_med.errors import ConfigurationError
from anomalyclip_med.networks import (
    AnomalyCLIP,
    Detector,
    DPAMAttention,
    PromptConfig,
    ScoreSource,
    Views,
    load_prompts,
    read_prompts,
)
from anomalyclip_med.networks.views import VIEW_OPTIONS
from anomalyclip_med.weights import SHIPPED, resolve_prompts

METHODS: dict[str, type[Detector]] = {
    detector.method.lower(): detector for detector in (AnomalyCLIP, CLIP, CLIPAC, WinCLIP, CoOp, VAND)
}
"""Detectors by the names that users give them: anomalyclip, clip, clip-ac, winclip, coop, vand."""


def create_model(
    clip: str | Path | None = None,
    prompts: str | Path | None = None,
    image_size: int | None = None,
    feature_layers: int | Sequence[int] | None = None,
    dpam_layers: int | Sequence[int] | None = None,
    dpam: DPAMAttention | str | None = None,
    sigma: float | None = None,
    score: ScoreSource | str | None = None,
    top_fraction: float | None = None,
    neighbourhood: Sequence[int] | None = None,
    prompt_config: PromptConfig | Mapping[str, Any] | None = None,
    seed: int = 0,
    activation: Activation | str | None = None,
    method: str = "anomalyclip",
    class_name: str | None = None,
    flip: bool | None = None,
    scales: Sequence[float] | None = None,
    skip_background: bool | None = None,
    precision: Precision | str = Precision.FLOAT32,
    model: str | Path | None = None,
) -> Detector:
    """Build a detector in evaluation mode, or load a whole one.

    The settings from ``image_size`` to ``neighbourhood``, the class name and those from ``flip`` to
    ``skip_background`` are, where None, those that the file of prompts records, for prompts belong to the detector that
    they were learned in; and else the method's own, see its class.

    Args:
        clip: see :func:`anomalyclip_med.backbones.load_clip`: ``"ViT-L-14-336/openai"``, a file, ``"offline"`` or
            ``"untrained"``; None for the one that the method is made for.
        prompts: what the method has learned: a registered name (``anomalyclip-med weights list``), a file, ``"auto"``
            for those that the package ships for the method and backbone, where it ships some, or None for prompts that
            have not been trained.
        image_size: side S of the square input in pixels, a multiple of the patch size.
        feature_layers: vision blocks whose patch features make the map, one or several, counting from 1 or, below 0,
            from the end: -1 is the last.
        dpam_layers: number of last vision blocks with the DPAM path, or a (first, last) pair of block numbers.
        dpam: ``vv``, ``qq``, ``kk`` or ``off``; of ``clip`` and ``clip-ac`` too, where it is ``off``.
        sigma: of the map's Gaussian in pixels of the model's input.
        score: what the image score is made of, ``class_token``, ``map`` or ``both``.
        top_fraction: share of the patches, the most abnormal ones, that make the map's score.
        neighbourhood: odd sides, in patches, over which patch features are averaged.
        prompt_config: shape and words of new prompts, or the fields of `PromptConfig` that differ from the default; of
            a file, only the words, and only where it does not record them.
        seed: of the random start of what is learned; without effect where nothing is.
        activation: ``quick_gelu`` or ``gelu``, for CLIP files that do not tell it.
        method: one of `METHODS`.
        class_name: what the texts of a baseline name, where an image's own class is not known, such as "brain".
        flip: whether the mirrored image is scored, too, and maps and scores averaged.
        scales: factors by which the image is resized beside its own size, such as 1.5; the maps of all are averaged,
            the score is that of its own size.
        skip_background: whether patches of the black around the body are left out, which takes less time, see
            :mod:`anomalyclip_med.networks.background`.
        precision: of the products of the vision tower's blocks: ``float32``, ``bfloat16``, ``float16`` (GPU) or
            ``int8`` (CPU), which take less time. Prompts do not depend on it.
        model: a whole detector in one file, see :func:`anomalyclip_med.exports.load_detector`, which has all of the
            above in it but the precision.

    Returns:
        The detector, an instance of the method's class.

    Raises:
        WeightsError: weights or prompts are missing, damaged, unsafe or do not fit.
        ConfigurationError: the method is unknown, or an option does not fit it or the network, or stands beside
            ``model``.

    Examples:
        >>> import torch
        >>> from anomalyclip_med import create_model
        >>> detector = create_model("untrained", image_size=70, feature_layers=[12, 24])
        >>> score, anomaly_map = detector(torch.zeros(2, 3, 70, 70))  # images, normalised
        >>> score.shape, anomaly_map.shape
        (torch.Size([2]), torch.Size([2, 1, 70, 70]))
        >>> detector.trained, detector.settings()["feature_layers"]
        (False, [12, 24])
        >>> create_model("untrained", method="wincilp")
        Traceback (most recent call last):
        anomalyclip_med.errors.ConfigurationError: method='wincilp' is unknown (did you mean winclip?):
        choose one of anomalyclip, clip, clip-ac, winclip, coop, vand
    """
    if model is not None:
        return _load_whole(model, locals())
    if method not in METHODS:
        near = difflib.get_close_matches(method, METHODS, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigurationError(f"method={method!r} is unknown{hint}: choose one of {', '.join(METHODS)}")
    detector_class = METHODS[method]
    if isinstance(prompt_config, Mapping):
        prompt_config = PromptConfig.from_dict(prompt_config)
    accepted = inspect.signature(detector_class).parameters.keys()
    given = {
        "image_size": image_size,
        "feature_layers": [feature_layers] if isinstance(feature_layers, int) else feature_layers,
        "dpam_layers": dpam_layers,
        "dpam": dpam,
        "sigma": sigma,
        "score": score,
        "top_fraction": top_fraction,
        "neighbourhood": neighbourhood,
        "prompt_config": prompt_config,
        "class_name": class_name,
        "flip": flip,
        "scales": scales,
        "skip_background": skip_background,
    }
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if foreign := options.keys() - accepted - set(VIEW_OPTIONS):
        raise ConfigurationError(f"{', '.join(sorted(foreign))}: no option of {detector_class.method}")
    if clip is None:
        clip = detector_class.default_clip
    if prompts == "auto":
        prompts = SHIPPED if (clip, detector_class) == (OFFLINE_NAME, AnomalyCLIP) else None
    learned = None
    if prompts is not None:
        learned = read_prompts(resolve_prompts(prompts), prompt_config, detector_class.method)
    backbone = load_clip(clip, activation=activation).in_precision(precision)
    if learned:
        learned.check_backbone(backbone.name, backbone.sha256)  # before settings that do not fit it are tried
        options = learned.settings | options
        if learned.config:
            options["prompt_config"] = learned.config
        if "ctx" in learned.tensors:
            options["context_length"] = len(learned.tensors["ctx"])
    options["views"] = Views.taken_from(options)
    if "seed" in accepted:
        options["seed"] = seed
    build: Callable[..., Detector] = detector_class
    detector = build(backbone, **options)
    if learned:
        load_prompts(detector, learned)
    detector.eval()
    return detector


def _load_whole(model: str | Path, arguments: Mapping[str, Any]) -> Detector:
    from anomalyclip_med.exports import load_detector

    defaults = {name: parameter.default for name, parameter in inspect.signature(create_model).parameters.items()}
    # "auto" is what the bundle passes where nobody has chosen prompts.
    free = {"model": model, "prompts": "auto", "precision": arguments["precision"]}
    given = [n for n, value in arguments.items() if value != defaults[n] and value != free.get(n)]
    if given:
        raise ConfigurationError(f"{', '.join(given)}: fixed by {model}, which holds a whole detector; leave them out")
    return load_detector(model, arguments["precision"])
