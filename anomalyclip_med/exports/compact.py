"""The compact file: a vision tower and the text features, as safetensors that are mapped and never copied."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file
from torch import Tensor

from anomalyclip_med.backbones import Precision
from anomalyclip_med.backbones.backbone import Backbone
from anomalyclip_med.backbones.state_dict import read_tensor_file
from anomalyclip_med.backbones.tower import build_tower
from anomalyclip_med.errors import AnomalyClipMedError, ConfigurationError, WeightsError
from anomalyclip_med.exports.record import KEY, Record
from anomalyclip_med.exports.seal import EMPTY, check_seal, seal
from anomalyclip_med.networks import AnomalyCLIP, Views

if TYPE_CHECKING:
    from open_clip.transformer import VisionTransformer

_TOWER = "visual."
_STATES = "states"
_SEAL = "sha256"


def assemble(
    record: Record, visual: VisionTransformer, states: Tensor, precision: Precision = Precision.FLOAT32
) -> AnomalyCLIP:
    """Put a detector together again, without a text tower.

    Args:
        record: of the detector.
        visual: its vision tower, which is used in place.
        states: its text features (1 + states, E).
        precision: of the tower's blocks.

    Raises:
        ConfigurationError: the parts do not fit each other.
    """
    backbone = Backbone(
        visual=visual,
        clip=None,
        name=record.model["clip"],
        activation=record.activation,
        sha256=record.model["clip_sha256"],
        trained=record.model["clip_trained"],
        warnings=record.warnings,
        image_mean=record.image_mean,
        image_std=record.image_std,
        interpolation=record.interpolation,
        states=states,
    ).in_precision(precision)
    settings = record.settings
    views = Views.taken_from(settings)
    detector = AnomalyCLIP(backbone, **settings, prompt_config=record.prompt_config, views=views)
    if len(states) < 2 or states.shape != (len(states), detector.vision.embed_dim):
        raise ConfigurationError(f"the text features have the shape {tuple(states.shape)}")
    detector.prompts_name = record.model["prompts"]
    detector.prompts_sha256 = record.model["prompts_sha256"]
    detector.prompts_trained = record.model["prompts_trained"]
    return detector.eval()


def write_compact(detector: AnomalyCLIP, record: Record, path: Path) -> None:
    """Write the tower, the text features and the record."""
    tensors = {f"{_TOWER}{name}": tensor for name, tensor in detector.vision.visual.state_dict().items()}
    tensors[_STATES] = detector.text_features
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # safetensors stores the narrowest type last, so that these bytes end the file.
    tensors[_SEAL] = torch.frombuffer(bytearray(EMPTY), dtype=torch.uint8)
    save_file(tensors, path, {KEY: record.to_json()})
    seal(path)


def read_compact(path: Path, precision: Precision) -> AnomalyCLIP:
    """Load a detector whose tensors stay in the file's pages, which processes on one machine share.

    Raises:
        WeightsError: the file is missing, damaged, changed or of another kind.
    """
    file = read_tensor_file(path)
    record = Record.from_json(file.metadata.get(KEY), str(path))
    sha256 = check_seal(path)
    tensors = dict(file.content)
    try:
        del tensors[_SEAL]
        if foreign := [name for name, tensor in tensors.items() if tensor.dtype != torch.float32]:
            raise ValueError(f"{foreign[0]} is not float32")
        states = tensors.pop(_STATES)
        state = {name.removeprefix(_TOWER): tensor for name, tensor in tensors.items()}
        tower = build_tower(state, record.heads, record.epsilon, record.activation)
        detector = assemble(record, tower, states, precision)
    except (KeyError, ValueError, TypeError, RuntimeError, IndexError, AnomalyClipMedError) as error:
        raise WeightsError(f"{path}: its tensors and its record make no detector ({error})") from error
    detector.file_name, detector.file_sha256 = path.name, sha256
    return detector
