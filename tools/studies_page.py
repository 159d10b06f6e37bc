"""Puts the tables of studies onto one page.

Usage: python tools/studies_page.py REPORT.md [REPORT.md ...] [--output docs/study_tables.md]

The reports are those of ``anomalyclip-med study run``; their figures, and lists of failures that are empty, are
left out.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

HEAD = """\
# Tables of the studies

Made by `make studies` from `configs/studies`; what they show, and what they cannot, is in [studies.md](studies.md).
"""


def main() -> None:
    """Read the reports and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", nargs="+", type=Path, metavar="REPORT")
    parser.add_argument("--output", type=Path, default=Path("docs/study_tables.md"))
    arguments = parser.parse_args()
    pages = [section(report.read_text(encoding="utf-8")) for report in arguments.reports]
    arguments.output.write_text("\n".join([HEAD, *pages]), encoding="utf-8")
    print(arguments.output)


def section(report: str) -> str:
    """One report, a level lower, without its figures."""
    report = re.sub(r"\n## Figures\n.*?(?=\n## )", "", report, flags=re.DOTALL)
    report = report.replace("\n## Failures and gaps\n\nNone.\n", "").replace("\n## Tables\n", "")
    report = re.sub(r" \(`\w+\.csv`, `\.tex`\)", "", report)  # files that are not beside the page
    return re.sub(r"^#", "##", report, flags=re.MULTILINE)


if __name__ == "__main__":
    main()
