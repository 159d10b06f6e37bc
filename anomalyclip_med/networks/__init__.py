"""Tensors in, tensors out: the DPAM vision transformer, the prompt learner, AnomalyCLIP, prompt checkpoints."""

from anomalyclip_med.networks.anomalyclip import AnomalyCLIP, ScoreSource
from anomalyclip_med.networks.blocks import DPAMAttention
from anomalyclip_med.networks.checkpoint import load_prompts, read_prompts, save_prompts
from anomalyclip_med.networks.detector import Detector, DetectorOutput, TrainingOutput
from anomalyclip_med.networks.dpam import DPAMVisionTransformer
from anomalyclip_med.networks.prompts import PromptConfig, PromptLearner
from anomalyclip_med.networks.single_tensor import SingleTensorDetector
from anomalyclip_med.networks.views import Features, Views

__all__ = [
    "AnomalyCLIP",
    "DPAMAttention",
    "DPAMVisionTransformer",
    "Detector",
    "DetectorOutput",
    "Features",
    "PromptConfig",
    "PromptLearner",
    "ScoreSource",
    "SingleTensorDetector",
    "TrainingOutput",
    "Views",
    "load_prompts",
    "read_prompts",
    "save_prompts",
]
