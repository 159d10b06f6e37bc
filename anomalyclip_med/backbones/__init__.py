"""The frozen towers: named, local, downloaded or untrained CLIP weights, all through one door.

``load_clip`` returns a `Backbone` whatever the weights came from. Importing this package also makes
``open_clip`` importable where torchvision's compiled operators do not fit the installed torch.
"""

# First: the other modules import open_clip.
from anomalyclip_med.backbones import torchvision_shim as torchvision_shim  # isort: skip

from anomalyclip_med.backbones.activation import Activation
from anomalyclip_med.backbones.backbone import Backbone
from anomalyclip_med.backbones.clip import load_clip
from anomalyclip_med.backbones.precision import Precision

__all__ = ["Activation", "Backbone", "Precision", "load_clip"]
