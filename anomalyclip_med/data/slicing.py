"""Which pictures are cut out of a volume, and which way up they are shown."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform


class Plane(StrEnum):
    """The anatomical plane of the slices.

    `AUTO` is the acquired slices for DICOM and pictures, and axial for volume files.
    """

    AUTO = "auto"
    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"


# Where the columns, the rows and the slices run to, in nibabel's axis codes. Radiological convention: the
# patient's right is on the left of axial and coronal pictures, anterior is at the top or on the left.
_DISPLAY_CODES = {Plane.AXIAL: "LPS", Plane.CORONAL: "LIP", Plane.SAGITTAL: "PIL"}


class Slicing:
    """Cuts pictures out of an array of shape (X, Y, Z) or (X, Y, Z, T), without resampling.

    Args:
        shape: the array's shape.
        orientation: (3, 2), nibabel's orientation transform: the display axis (0 column, 1 row, 2 slice) of
            each array axis, and -1 where it is reversed.

    Attributes:
        axis: the array axis from slice to slice.
        count: number of slices, over all time points.
    """

    def __init__(self, shape: tuple[int, ...], orientation: np.ndarray) -> None:
        display = [int(axis) for axis in orientation[:, 0]]
        self._column_axis, self._row_axis, self.axis = (display.index(i) for i in range(3))
        self._column_step, self._row_step, self._slice_step = (
            int(orientation[axis, 1]) for axis in (self._column_axis, self._row_axis, self.axis)
        )
        self._depth, self._planes = shape[self.axis], shape[2]
        self._rows, self._columns = shape[self._row_axis], shape[self._column_axis]
        self._has_time = len(shape) == 4
        self.count = self._depth * (shape[3] if self._has_time else 1)

    @classmethod
    def acquired(cls, shape: tuple[int, ...]) -> Slicing:
        """Slices along the third array axis, columns along the first and rows along the second."""
        return cls(shape, np.array([[0, 1], [1, 1], [2, 1]]))

    @classmethod
    def anatomical(cls, shape: tuple[int, ...], affine: np.ndarray, plane: Plane) -> Slicing:
        """Slices along the array axes that are nearest to an anatomical plane.

        Args:
            shape: the array's shape.
            affine: (4, 4), voxel index to RAS millimetres, not singular.
            plane: axial, coronal or sagittal.
        """
        target = axcodes2ornt(tuple(_DISPLAY_CODES[plane]))
        return cls(shape, ornt_transform(io_orientation(affine), target))

    def source(self, index: int) -> tuple[int, int]:
        """Return the position on the slice axis of the array, and the time point, of slice `index`.

        Raises:
            IndexError: there is no such slice.
        """
        if not 0 <= index < self.count:
            raise IndexError(f"slice {index} of {self.count}")
        time, place = divmod(index, self._depth)
        return (place if self._slice_step == 1 else self._depth - 1 - place), time

    def orient(self, picture: np.ndarray) -> np.ndarray:
        """Return the (rows, columns, ...) view of one array slice, whose axes are still in array order."""
        if self._column_axis < self._row_axis:
            picture = picture.swapaxes(0, 1)
        return picture[:: self._row_step, :: self._column_step]

    def view(self, volume: np.ndarray, index: int) -> np.ndarray:
        """Return slice `index` of a volume as a (rows, columns, ...) view; further axes are kept."""
        place, time = self.source(index)
        at: list[Any] = [slice(None)] * 3
        at[self.axis] = place
        if self._has_time:
            at.append(time)
        return self.orient(volume[tuple(at)])

    def whole_planes(self, index: int) -> int:
        """Return how many (X, Y) planes, counted from the first through all time points, slices 0 to `index` fill.

        One for each slice where the slices are these planes in their order; else those of whole time points.
        """
        if self.axis == 2 and self._slice_step == 1:
            return index + 1
        return (index + 1) // self._depth * self._planes

    def slice_affine(self, affine: np.ndarray, index: int) -> np.ndarray:
        """Return the (4, 4) matrix from (row, column, 0) of slice `index` to RAS millimetres.

        Args:
            affine: (4, 4), voxel index to RAS millimetres.
            index: slice number; the third axis of the result points to the next slice.
        """
        axes = (self._row_axis, self._column_axis, self.axis)
        steps = (self._row_step, self._column_step, self._slice_step)
        origin = np.zeros(3)
        origin[self._row_axis] = 0 if self._row_step == 1 else self._rows - 1
        origin[self._column_axis] = 0 if self._column_step == 1 else self._columns - 1
        origin[self.axis] = self.source(index)[0]
        result = np.eye(4)
        result[:3, :3] = affine[:3, axes] * steps
        result[:3, 3] = affine[:3, :3] @ origin + affine[:3, 3]
        return result

    def positions(self, affine: np.ndarray) -> list[float]:
        """Return each slice's place along the normal of the slices, in mm, rising with the slice index.

        Args:
            affine: (4, 4), voxel index to RAS millimetres.
        """
        normal = np.cross(affine[:3, self._column_axis], affine[:3, self._row_axis])
        normal /= np.linalg.norm(normal)
        step = float(affine[:3, self.axis] @ normal)
        sign = np.sign(step) * self._slice_step
        origin = float(affine[:3, 3] @ normal)
        return [float(sign * (origin + step * self.source(i)[0])) for i in range(self.count)]
