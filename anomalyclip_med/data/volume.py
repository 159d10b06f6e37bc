"""What NIfTI, NRRD and MetaImage have in common: one file, one array, loaded whole at the first read."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from anomalyclip_med.data.budget import WORKING_BYTES, check_size
from anomalyclip_med.data.reading import reading
from anomalyclip_med.data.scan import Scan, SliceInfo
from anomalyclip_med.data.slicing import Plane, Slicing
from anomalyclip_med.errors import ScanError


class VolumeScan(Scan):
    """A volume file. The array is kept in its stored type between reads, until `close`.

    Args:
        source: the file.
        format: see `Scan`.
        shape: the file's own shape, 2 to 4 axes; a single time point is no time axis.
        affine: (4, 4), voxel index to RAS millimetres.
        dtype: the stored type of one component.
        color: three or four 8-bit components per voxel; a fourth one is not shown.
        plane: the slices to cut; `Plane.AUTO` is axial.
        scaling: (slope, intercept) from stored to rescaled values.
        window: (centre, width) in rescaled values, None if the file has none.
        warnings: what the header made doubtful.

    Raises:
        ScanError: the geometry is unusable or the volume over the limits.
    """

    def __init__(
        self,
        *,
        source: Path,
        format: str,
        shape: Sequence[int],
        affine: np.ndarray,
        dtype: np.dtype,
        color: bool,
        plane: Plane,
        scaling: tuple[float, float] = (1.0, 0.0),
        window: tuple[float, float] | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        grid = _grid(source, shape)
        if not (dtype.kind in "iufb" and dtype.itemsize <= 8):
            raise ScanError(f"{source}: voxels of type {dtype} are not supported")
        voxel_bytes = dtype.itemsize * (4 if color else 1)
        check_size(source, math.prod(sorted(grid[:3])[1:]) * max(voxel_bytes, WORKING_BYTES))  # in any plane
        if not _places_voxels(affine):
            raise ScanError(f"{source}: the affine is singular, so the voxels have no place in the patient")
        slicing = Slicing.anatomical(grid, affine, Plane.AXIAL if plane is Plane.AUTO else plane)
        check_size(source, math.prod(grid) * voxel_bytes // slicing.count, slicing.count)
        positions = slicing.positions(affine)
        slices = [
            SliceInfo(
                index=i,
                frame=slicing.source(i)[1] if len(grid) == 4 else None,
                instance=None,
                position=positions[i],
            )
            for i in range(slicing.count)
        ]
        shown_as_stored = color or (dtype == np.uint8 and scaling == (1.0, 0.0))
        super().__init__(
            source=source,
            format=format,
            shape=grid,
            affine=affine,
            slicing=slicing,
            slices=slices,
            color=color,
            stored_range=(0.0, 255.0) if shown_as_stored else None,
            window=window,
            warnings=warnings,
        )
        self._scaling = scaling
        self._stored: np.ndarray | None = None
        self._stored_bytes = math.prod(grid) * dtype.itemsize * (3 if color else 1)
        self._failure: ScanError | None = None

    def close(self) -> None:
        """Free the stored array."""
        self._stored = None

    @abstractmethod
    def _load(self) -> np.ndarray:
        """Return the stored array: `shape` but for axes of 1, and a last axis of components if `color`."""

    def _read(self, index: int, place: int, time: int) -> np.ndarray:
        picture = self._slicing.view(self._array(), index)
        if self.color:
            return picture[..., :3]
        slope, intercept = self._scaling
        if (slope, intercept) == (1.0, 0.0):
            return picture.astype(np.float32, order="C")
        # In double precision first: int32 voxels and small slopes would lose digits in float32.
        with np.errstate(over="ignore", invalid="ignore"):
            return (picture.astype(np.float64) * slope + intercept).astype(np.float32)

    def _array(self) -> np.ndarray:
        """The stored array on the grid. A volume that failed is not loaded again for each of its slices."""
        if self._failure is not None:
            raise self._failure
        if self._stored is None:
            try:
                with reading(self.source, "the voxels cannot be read, the file is truncated or damaged"):
                    stored = self._load()
                    self._stored = stored.reshape((*self.shape, stored.shape[-1]) if self.color else self.shape)
            except ScanError as error:
                self._failure = error
                raise
        return self._stored


def _places_voxels(affine: np.ndarray) -> bool:
    """Whether the axes point in three directions; whatever their lengths, so long as products do not underflow."""
    if not np.isfinite(affine).all():
        return False
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(lengths).all() and lengths.min() > 1e-12 and lengths.max() < 1e12):
        return False
    return bool(abs(np.linalg.det(affine[:3, :3] / lengths)) > 1e-6)


def _grid(source: Path, shape: Sequence[int]) -> tuple[int, ...]:
    grid = [int(n) for n in shape]
    while len(grid) > 3 and grid[-1] == 1:
        grid.pop()
    grid += [1] * (3 - len(grid))
    if min(grid) < 1:
        raise ScanError(f"{source}: the volume is empty")
    if len(grid) > 4:
        raise ScanError(f"{source}: {len(grid)} axes are not supported, a volume has at most 3 and time")
    return tuple(grid)
