"""All data sets that are known by name."""

from __future__ import annotations

import difflib

from anomalyclip_med.data.datasets import (
    brain,
    breast,
    chest,
    dagm,
    folder,
    kolektor,
    magnetic_tile,
    objects,
    polyps,
    skin,
    thyroid,
    visa,
)
from anomalyclip_med.data.datasets.dataset import DataSet
from anomalyclip_med.data.datasets.tree import key
from anomalyclip_med.errors import ConfigurationError

_MODULES = (objects, visa, kolektor, dagm, magnetic_tile, skin, polyps, thyroid, brain, chest, breast, folder)

DATA_SETS: dict[str, DataSet] = {entry.name: entry for module in _MODULES for entry in module.DATA_SETS}
"""By name, industrial ones first, one's own folder last."""

_SPELLINGS = {key(name): entry for entry in DATA_SETS.values() for name in (entry.name, *entry.aliases)}


def data_set(name: str) -> DataSet:
    """Look a data set up; case, blanks and hyphens do not matter ("CVC-ClinicDB").

    Raises:
        ConfigurationError: it is not known.

    Examples:
        >>> entry = data_set("CVC-ClinicDB")
        >>> entry.name, entry.objects, entry.mask_rule.value
        ('clinicdb', ('colon',), 'shown>127')
    """
    found = _SPELLINGS.get(key(name))
    if found is None:
        near = difflib.get_close_matches(key(name), _SPELLINGS, n=1)
        hint = f"; did you mean {_SPELLINGS[near[0]].name!r}?" if near else ""
        known = ", ".join(DATA_SETS)
        raise ConfigurationError(f"no data set is called {name!r}{hint} Known: {known} (your own images: 'folder')")
    return found
