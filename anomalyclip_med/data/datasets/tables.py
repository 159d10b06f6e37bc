"""Tables that come with data sets: comma, semicolon or tab between cells, blanks around them."""

from __future__ import annotations

import csv
from pathlib import Path

from anomalyclip_med.errors import ConfigurationError


def read_rows(path: Path, needed: tuple[str, ...] = ()) -> list[dict[str, str]]:
    """Read a table with a header.

    Args:
        path: the file.
        needed: columns that it must have.

    Returns:
        Its rows, each with all columns by their names as they stand there; nothing has blanks around it.

    Raises:
        ConfigurationError: it is no readable table, or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = file.readline()
            delimiter = max(",;\t", key=header.count)
            names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
            rows = [[cell.strip() for cell in row] for row in csv.reader(file, delimiter=delimiter) if any(row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"{path}: not a readable table ({type(error).__name__}); save it as UTF-8") from None
    absent = [name for name in needed if name not in names]
    if absent:
        raise ConfigurationError(f"{path}: has no column {absent[0]!r}, only {', '.join(names) or 'nothing'}")
    return [dict(zip(names, row + [""] * len(names), strict=False)) for row in rows]
