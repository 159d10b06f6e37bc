"""All benchmarks, one after the other, as one Markdown report.

Usage: python benchmarks/report.py [REPORT.md] [--clip NAME] [--image-size PIXELS]

Takes about a quarter of an hour on two cores that have nothing else to do. ANOMALYCLIP_MED_DATA names the folder of the
real images and scans that the faster options are measured on; without it that section is left out.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
SCANS = ("DICOM/CT_head_GE_gantrytilt", "DICOM/MR_T1_studyforrest")


def main() -> None:
    """Run them and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, nargs="?", default=Path("build/benchmarks.md"), metavar="REPORT.md")
    parser.add_argument("--clip", default="ViT-L-14-336/untrained", help="whose forward pass is measured")
    parser.add_argument("--image-size", default="518")
    arguments = parser.parse_args()
    full = ("--clip", arguments.clip, "--image-size", arguments.image_size)
    sections = [
        ("Forward pass", ["forward.py", *full]),
        ("Forward pass of the offline tower", ["forward.py", "--clip", "offline-text", "--image-size", "224"]),
        ("From the command to the first map", ["cold_start.py"]),
        ("A CT series of 300 slices", ["streaming.py", "--slices", "300"]),
        ("A CT series of 1500 slices", ["streaming.py", "--slices", "1500"]),
        ("WinCLIP", ["winclip.py"]),
        ("Training from kept features", ["training.py"]),
    ]
    if data := os.environ.get("ANOMALYCLIP_MED_DATA"):
        scans = [str(path) for name in SCANS if (path := Path(data, name)).is_dir()]
        larger = ["--every", "3", "--image-size", "448", "--sets", "--scans", *scans]
        sections[2:2] = [
            ("Faster than exact", ["approximations.py", "--every", "4", "--scans", *scans]),
            ("Faster than exact, larger scans", ["approximations.py", *larger]),
        ]
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    with arguments.report.open("w", encoding="utf-8") as report:
        report.write(f"# Benchmarks\n\n{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}.\n")
        for title, (script, *options) in sections:
            print(title, flush=True)
            run = subprocess.run(
                [sys.executable, str(FOLDER / script), *options], check=True, stdout=subprocess.PIPE, text=True
            )
            command = " ".join(["python", f"benchmarks/{script}", *options])
            if data:
                command = command.replace(data, "$ANOMALYCLIP_MED_DATA")
            report.write(f"\n## {title}\n\n`{command}`\n\n{run.stdout.strip()}\n")
            report.flush()
    print(arguments.report)


def processor() -> str:
    """Its name, as far as the system tells."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
