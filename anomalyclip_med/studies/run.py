"""Runs the cells of a study over processes, goes on where it was stopped, and gathers the results."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from tabulate import tabulate
from tqdm import tqdm

from anomalyclip_med import __version__
from anomalyclip_med.engines import make_output_dir
from anomalyclip_med.engines.metrics import GROUP_METRICS
from anomalyclip_med.errors import AnomalyClipMedError
from anomalyclip_med.studies.cells import Workplace, run_cell, start_process
from anomalyclip_med.studies.config import Study
from anomalyclip_med.studies.data import expected_images, write_datalist
from anomalyclip_med.studies.estimate import estimate, show
from anomalyclip_med.studies.plan import JOINT, Evaluation, Plan, Training, make_plan, used_data
from anomalyclip_med.studies.report import write_report
from anomalyclip_med.studies.results import MEAN, Result, write_results
from anomalyclip_med.studies.sheets import write_sheets
from anomalyclip_med.studies.summary import members
from anomalyclip_med.weights import file_sha256


def run_study(
    study: Study, data: Path, folder: Path, features: Path, device: str | None = None, jobs: int = 1
) -> dict[str, str]:
    """Run a study to its tables; what is complete in the folder is not run again.

    Args:
        study: the study.
        data: folder that the profile's folders are relative to.
        folder: for the results.
        features: folder for what the networks make of the images, which several studies can share.
        device: for PyTorch; None for a GPU where there is one.
        jobs: processes.

    Returns:
        Why a cell failed, by its folder's name; also those whose data set is not there.
    """
    threads = _threads(jobs)
    sources = {name: study.profile.data[name] for name in used_data(study)}
    roots = {name: str(data / source.folder) for name, source in sources.items() if source.folder}
    procedural = {name: source.procedural for name, source in sources.items() if source.procedural}
    workplace = Workplace(folder, features, roots, procedural, device, threads)
    make_output_dir(folder)
    absent: dict[str, str] = {}
    hashes: dict[str, str] = {}
    counts = {name: (drawn, 0) for name, drawn in procedural.items()}
    for name in roots:
        try:
            write_datalist(name, sources[name], data, workplace.datalist(name))
        except AnomalyClipMedError as error:
            absent[name], hashes[name], counts[name] = str(error), name, (0, 0)
        else:
            hashes[name] = file_sha256(workplace.datalist(name))
            content = json.loads(workplace.datalist(name).read_text(encoding="utf-8"))
            counts[name] = len(content["training"]), len(content["test"])
    plan = make_plan(study, hashes)
    left = Plan(
        {key: cell for key, cell in plan.trainings.items() if not workplace.done(key)},
        [cell for cell in plan.evaluations if not workplace.done(cell.key)],
    )
    told = show(left, estimate(left, counts, device, threads), jobs, len(plan.cells) - len(left.cells))
    print(f"{study.name}: {study.title}\n\n{told}\n", flush=True)
    for name, reason in absent.items():
        print(f"{name}: left out, {reason}\n", flush=True)
    failures = run_cells(plan, workplace, jobs, absent)
    results = list(gather(study, plan, workplace, hashes, failures))
    write_results(results, folder / "results.csv")
    write_sheets(study, plan, workplace, failures)
    write_report(study, results, folder)
    print(f"\nResults: {folder / 'report.md'}")
    if failures:
        print(f"{len(failures)} of {len(plan.cells)} cells failed; the report says why")
    return failures


def dry_run(study: Study, data: Path, device: str | None = None, jobs: int = 1) -> None:
    """Print the plan of a study with an estimate of its time.

    Images that are not there are taken to be as many as the registry expects.
    """
    counts, rows = {}, []
    for name in used_data(study):
        source = study.profile.data[name]
        if source.procedural:
            counts[name] = source.procedural, 0
            rows.append((name, *counts[name], "", "drawn"))
        else:
            here = (data / str(source.folder)).is_dir()
            counts[name] = expected_images(name, source)
            rows.append((name, *counts[name], str(source.folder), "there" if here else "absent"))
    plan = make_plan(study, {name: name for name in counts})
    print(f"{study.name}: {study.title}\n")
    print(tabulate(rows, ("data set", "learned from", "measured on", "folder", ""), tablefmt="simple"))
    print(f"\n{show(plan, estimate(plan, counts, device, _threads(jobs)), jobs)}")


def _threads(jobs: int) -> int | None:
    """Of each process, so that all together have as many as there are cores; None for PyTorch's choice."""
    return max(1, (os.cpu_count() or 1) // jobs) if jobs > 1 else None


def run_cells(plan: Plan, workplace: Workplace, jobs: int, absent: Mapping[str, str]) -> dict[str, str]:
    """Run all cells that are not complete; those that failed before are tried again.

    Args:
        plan: the cells.
        workplace: where they are run.
        jobs: processes.
        absent: why a data set is not there, by its name.

    Returns:
        Why a cell failed, by its key. The others are complete.
    """
    waiting = {key: cell for key, cell in plan.cells.items() if not workplace.done(key)}
    failures = {
        key: absent[name]
        for key, cell in waiting.items()
        if (name := cell.source if isinstance(cell, Training) else cell.target) in absent
    }
    waiting = {key: cell for key, cell in waiting.items() if key not in failures}
    suspects: set[str] = set()
    with tqdm(total=len(plan.cells), initial=len(plan.cells) - len(waiting), unit="cell", desc="study") as bar:
        while waiting:
            # Again after a process has died, which ends all of a pool: then those that ran are tried one by one, so
            # that none is blamed for another.
            alone = {key: cell for key, cell in waiting.items() if key in suspects}
            chosen, at_once = (alone, 1) if alone else (waiting, jobs)
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(at_once, context, start_process, (workplace,)) as pool:
                for key, reason in _run(pool, chosen, workplace, at_once, failures):
                    if reason is None:
                        if key not in suspects:
                            suspects.add(key)
                            continue
                        reason = "the process that ran it died: out of memory?"
                    if reason:
                        failures[key] = reason
                    suspects.discard(key)
                    waiting.pop(key)
                    alone.pop(key, None)
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
                try:
                    running[pool.submit(run_cell, cell, workplace)] = key
                except BrokenProcessPool:  # by another one, a moment ago
                    for other in running.values():
                        yield other, None
                    return
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


def gather(
    study: Study, plan: Plan, workplace: Workplace, hashes: Mapping[str, str], failures: Mapping[str, str]
) -> Iterator[Result]:
    """The results of all evaluations, in the order of the plan."""
    for cell in plan.evaluations:
        source = study.profile.data[cell.target]
        folder = workplace.cell(cell.key)
        about: dict[str, Any] = {
            "study": study.name,
            "variant": cell.variant,
            "method": study.variants[cell.variant].method,
            "source": cell.source,
            "target": cell.target,
            "dataset": source.dataset or cell.target,
            "seed": cell.seed,
            "learned_from_sha256": JOINT.join(hashes[name] for name in members(cell.source) if name in hashes),
            "datalist_sha256": hashes[cell.target],
            "package_version": __version__,
            "cell": folder.relative_to(workplace.folder).as_posix(),
        }
        if cell.key in failures:
            yield Result(
                **about,
                class_name=MEAN,
                metric="",
                value=None,
                images=0,
                anomalous=0,
                clip=str(cell.options["clip"]),
                clip_sha256="",
                trained=False,
                prompts_sha256="",
                error=failures[cell.key],
            )
            continue
        content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        classes = content["classes"]
        metrics = [metric for metric in content["mean"] if metric not in GROUP_METRICS]
        everything = {count: sum(c[count] for c in classes.values()) for count in ("images", "anomalous")}
        for name, record in [*classes.items(), (MEAN, content["mean"] | everything)]:
            for metric in metrics:
                yield Result(
                    **about,
                    class_name=name,
                    metric=metric,
                    value=record[metric],
                    images=record["images"],
                    anomalous=record["anomalous"],
                    clip=content["model"]["clip"],
                    clip_sha256=content["model"]["clip_sha256"],
                    trained=content["trained"],
                    prompts_sha256=content["model"]["prompts_sha256"] or "",
                    error="",
                )
