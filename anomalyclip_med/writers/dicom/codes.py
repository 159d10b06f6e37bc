"""Coded concepts: DICOM's and SNOMED's where they have one, the project's own for its score."""

from __future__ import annotations

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

_DESIGNATOR = "99ANOMALYCLIP"

CODING_SCHEME = CodingSchemeIdentificationItem(
    designator=_DESIGNATOR,
    name="Codes of anomalyclip_med",
    responsible_organization="The anomalyclip_med authors",
)

# No standard code fits: the score is neither a probability that was calibrated, nor the activation of a class.
ANOMALY_SCORE = CodedConcept("ANOMALY_SCORE", _DESIGNATOR, "Anomaly score")

_BODY_PARTS: dict[str, Code] = {
    "ABDOMEN": codes.SCT.Abdomen,
    "ANKLE": codes.SCT.AnkleJoint,
    "BRAIN": codes.SCT.Brain,
    "BREAST": codes.SCT.Breast,
    "CHEST": codes.SCT.Thorax,
    "CSPINE": codes.SCT.CervicalSpine,
    "HAND": codes.SCT.Hand,
    "HEAD": codes.SCT.Head,
    "HEART": codes.SCT.Heart,
    "HIP": codes.SCT.HipJoint,
    "KNEE": codes.SCT.Knee,
    "LIVER": codes.SCT.Liver,
    "LSPINE": codes.SCT.LumbarSpine,
    "NECK": codes.SCT.Neck,
    "PELVIS": codes.SCT.Pelvis,
    "PROSTATE": codes.SCT.Prostate,
    "SHOULDER": codes.SCT.Shoulder,
    "SPINE": codes.SCT.Spine,
    "TSPINE": codes.SCT.ThoracicSpine,
}
"""Defined terms of BodyPartExamined (PS3.16 annex L)."""


def anatomic_region(body_part: str) -> CodedConcept:
    """Return the code of a BodyPartExamined, that of any anatomical structure where it is unknown."""
    return CodedConcept.from_code(_BODY_PARTS.get(body_part, codes.SCT.AnatomicalStructure))
