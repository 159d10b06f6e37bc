"""The registry as a page of documentation."""

from __future__ import annotations

from anomalyclip_med.data.datasets.dataset import DataSet
from anomalyclip_med.data.datasets.registry import DATA_SETS

_HEAD = """\
# Data sets

Made by `anomalyclip-med datasets list --markdown > docs/datasets.md`; edit the registry
(`anomalyclip_med/data/datasets/`), not this page.

```
anomalyclip-med datasets info brainmri
anomalyclip-med datasets prepare brainmri ~/data/BrainMRI
python -m monai.bundle run --config_file "['$B/inference.json','$B/evaluate.json']" \\
    --dataset_dir ~/data/BrainMRI --output_dir results    # B=bundles/anomalyclip_zero_shot/configs
```

`prepare` downloads nothing. It finds a data set in the folder it was unpacked into, whatever lies above or beside it
there, and writes a data list (`datalist.json` in that folder, or `-o`), and on request AnomalyCLIP's `meta.json`.
Images and masks are paired by name. What does not fit is a named problem, on the screen and in the data list:

| problem | meaning |
|:--|:--|
| `image-missing`, `mask-missing`, `label-missing`, `class-missing`, `split-missing` | it should be there, and is not |
| `split-unreadable`, `split-differs` | the file of a split is damaged, or lists other images than there are |
| `ambiguous-pair` | the name of a mask fits several images |
| `unreadable`, `size-mismatch` | a file cannot be read; a mask has another size than its image |
| `mask-empty`, `normal-with-mask` | label and mask contradict each other, or the rule drops what a mask stores |
| `duplicate-labels`, `duplicate-across-sections` | equal files with different labels, or in training and test |
| `group-across-sections` | a patient or sequence in training and test |
| `unexpected-class` | classes that are not the paper's: perhaps another data set; left out if only some are |
| `shared-files` | equal files in another data list that is named by `--beside` |
| `mask-values`, `mask-rule`, `wrong-suffix`, `duplicate`, `left-out`, `unexpected-count`, ... | to be known |

All rows but the last one hold warnings (`--strict` makes them the exit status 1), the last one notes. Two data sets
that are reported together are compared by `anomalyclip-med datasets shared A.json B.json`, or while one is prepared by
`--beside OTHER.json`.

Masks become binary by the rule of the data set, which stands in the data list and is applied when masks are loaded:
`shown>127` takes grey levels above 127 (JPEG, antialiased edges), `stored>0` any stored number but 0 (of palette
pictures the index), `half` more than half of what the file can store. Of one's own masks,
those of few numbers up to 127 and palette pictures are taken by `stored>0`. Several masks of an image are united.
`meta.json` has no place for a rule: the reference takes every grey above 0, so that JPEG masks come out wider.

Counts are normal + anomalous images. Where none is given for a section, no source is known. Licences are told as far
as they are known, and are no legal advice.
"""


def page() -> str:
    """The page, in Markdown."""
    return "\n".join([_HEAD, _overview(), *(describe(entry) for entry in DATA_SETS.values())])


def _overview() -> str:
    rows = ["| name | data set | classes | masks | expected test images |", "|:--|:--|:--|:--|:--|"]
    for entry in DATA_SETS.values():
        tests = [e.counts["test"] for e in entry.expected if "test" in e.counts]
        objects = ", ".join(entry.objects) if len(entry.objects) < 4 else f"{len(entry.objects)} objects"
        rule = f"`{entry.mask_rule.value}`" if entry.mask_rule else "none"
        expected = f"{tests[0][0]} + {tests[0][1]}" if tests else ""
        rows.append(f"| `{entry.name}` | {entry.title} | {objects or 'your own'} | {rule} | {expected} |")
    return "\n".join(rows) + "\n"


def describe(entry: DataSet) -> str:
    """One data set, in Markdown."""
    lines = [f"## {entry.name}", "", f"{entry.title}. {entry.what}.", ""]
    facts = {
        "Source": entry.url,
        "Licence": entry.licence,
        "Reference": entry.reference,
        "Classes": ", ".join(entry.objects),
        "Masks": f"`{entry.mask_rule.value}`" if entry.mask_rule else "none (`--masks` takes somebody else's)",
        "Other names": ", ".join(entry.aliases),
    }
    lines += [f"- {name}: {fact}" for name, fact in facts.items() if fact]
    for layout in entry.layouts:
        lines.append(f"- Layout: `{layout.text}`")
    for expected in entry.expected:
        told = ", ".join(
            f"{section} {normal} + {anomalous}" for section, (normal, anomalous) in expected.counts.items()
        )
        lines.append(f"- Expected: {told} ({expected.source})")
    lines += [f"- Mind: {remark}" for remark in entry.remarks]
    return "\n".join(lines) + "\n"
