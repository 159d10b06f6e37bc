"""Runs the cells of a study over processes, goes on where it was stopped, and gathers the results."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from tqdm import tqdm

from anomalyclip_med import __version__
from anomalyclip_med.studies.cells import Workplace, run_cell, start_process
from anomalyclip_med.studies.config import Study
from anomalyclip_med.studies.data import write_datalist
from anomalyclip_med.studies.plan import Evaluation, Plan, Training, used_data
from anomalyclip_med.studies.results import MEAN, Result
from anomalyclip_med.weights import file_sha256

_DEATHS = 2
"""Of the process that runs it, after which a cell has failed."""
_SKIP = ("group_auroc", "group_ap", "group_f1_max")


def prepare_data(study: Study, data: Path, folder: Path) -> dict[str, Path]:
    """Write the data list of each data set that the study uses.

    Raises:
        ConfigurationError: one is not there.
    """
    lists = {name: folder / "data" / f"{name}.json" for name in used_data(study)}
    for name, path in lists.items():
        write_datalist(name, study.profile.data[name], data, path)
    return lists


def run_cells(plan: Plan, workplace: Workplace, jobs: int = 1) -> dict[str, str]:
    """Run all cells that are not complete; those that failed before are tried again.

    Args:
        plan: the cells.
        workplace: where they are run.
        jobs: processes.

    Returns:
        Why a cell failed, by its key. The others are complete.
    """
    cells: dict[str, Training | Evaluation] = {**plan.trainings, **{e.key: e for e in plan.evaluations}}
    waiting = {key: cell for key, cell in cells.items() if not workplace.done(key)}
    failures: dict[str, str] = {}
    deaths: dict[str, int] = {}
    with tqdm(total=len(cells), initial=len(cells) - len(waiting), unit="cell", desc="study") as bar:
        while waiting:
            # Also after a process has died, which ends all of a pool.
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(jobs, context, start_process, (workplace,)) as pool:
                for key, reason in _run(pool, waiting, workplace, jobs, failures):
                    if reason is None:
                        deaths[key] = deaths.get(key, 0) + 1
                        if deaths[key] < _DEATHS:
                            continue
                        reason = "the process that ran it died: out of memory?"
                    if reason:
                        failures[key] = reason
                    waiting.pop(key)
                    bar.update()
    return failures


def _run(
    pool: ProcessPoolExecutor,
    waiting: dict[str, Training | Evaluation],
    workplace: Workplace,
    jobs: int,
    failures: dict[str, str],
) -> Iterator[tuple[str, str | None]]:
    """Run what can be run until there is nothing left, or a process dies.

    Yields:
        Key of a cell, and why it failed: "" for success, None where its process has died.
    """
    running: dict[Future[str], str] = {}
    while True:
        for key, cell in list(waiting.items()):
            before = cell.start if isinstance(cell, Training) else cell.training
            if before in failures:
                yield key, f"what it starts from failed: {failures[before]}"
            elif key not in running.values() and before not in waiting and len(running) < jobs:
                running[pool.submit(run_cell, cell, workplace)] = key
        if not running:
            return
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            key = running.pop(future)
            try:
                yield key, future.result()
            except BrokenProcessPool:
                for other in (key, *running.values()):
                    yield other, None
                return


def gather(study: Study, plan: Plan, workplace: Workplace, failures: dict[str, str]) -> Iterator[Result]:
    """The results of all evaluations, in the order of the plan."""
    hashes = {name: file_sha256(workplace.datalist(name)) for name in {e.target for e in plan.evaluations}}
    for cell in plan.evaluations:
        source = study.profile.data[cell.target]
        folder = workplace.cell(cell.key)
        about = {
            "study": study.name,
            "variant": cell.variant,
            "method": study.variants[cell.variant].method,
            "source": cell.source,
            "target": cell.target,
            "dataset": source.dataset or cell.target,
            "seed": cell.seed,
            "datalist_sha256": hashes[cell.target],
            "package_version": __version__,
            "cell": folder.relative_to(workplace.folder).as_posix(),
        }
        if cell.key in failures:
            nothing = {"class_name": MEAN, "metric": "", "value": None, "images": 0, "anomalous": 0}
            model = {"clip": str(cell.options["clip"]), "clip_sha256": "", "trained": False, "prompts_sha256": ""}
            yield Result(**about, **nothing, **model, error=failures[cell.key])
            continue
        content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        model = {
            "clip": content["model"]["clip"],
            "clip_sha256": content["model"]["clip_sha256"],
            "trained": content["trained"],
            "prompts_sha256": content["model"]["prompts_sha256"] or "",
        }
        classes = content["classes"]
        everything = {count: sum(c[count] for c in classes.values()) for count in ("images", "anomalous")}
        for name, record in [*classes.items(), (MEAN, content["mean"] | everything)]:
            for metric in _metrics(content["mean"]):
                measured = {"value": record[metric], "images": record["images"], "anomalous": record["anomalous"]}
                yield Result(**about, class_name=name, metric=metric, **measured, **model, error="")


def _metrics(names: Iterable[str]) -> list[str]:
    return [name for name in names if name not in _SKIP]
