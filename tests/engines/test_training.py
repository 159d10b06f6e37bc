"""Training through the bundle: it repeats, resumes, caches and divides without another result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.transforms import Compose
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file

from anomalyclip_med import create_model
from anomalyclip_med.bundle import bundle_dir, run_bundle
from anomalyclip_med.data.procedural import ProceduralDataset, write_folder
from anomalyclip_med.engines import BatchShares, PromptTraining, Resume, make_schedule, training_images
from anomalyclip_med.errors import ConfigurationError, TrainingError
from anomalyclip_med.losses import local_loss
from anomalyclip_med.networks import AnomalyCLIP
from anomalyclip_med.transforms import LoadMaskd, LoadSliced

from ..conftest import REPOSITORY

CONFIGS = bundle_dir("anomalyclip_zero_shot") / "configs"
SMALL: dict[str, Any] = {
    "clip": "untrained",
    "image_size": 70,
    "device": "cpu",
    "procedural": 20,
    "batch_size": 4,
    "epochs": 2,
}
ARGUMENTS = [part for key, value in SMALL.items() for part in (f"--{key}", str(value))]


def train(output: Path, **options: Any) -> dict[str, Any]:
    """Run the bundle; its record."""
    run_bundle("anomalyclip_zero_shot", ["inference.json", "train.json"], output_dir=output, **(SMALL | options))
    return json.loads((output / "training.json").read_text())


def command(output: Path, *options: str, ranks: int = 0) -> list[str]:
    """The same as typed."""
    files = ["inference.json", "train.json", *(["multi_gpu_train.json"] if ranks else [])]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={ranks}"] if ranks else []
    bundle = ["-m", "monai.bundle", "run", "--config_file", str([str(CONFIGS / file) for file in files])]
    arguments = ARGUMENTS[:4] + ARGUMENTS[6:] if ranks else ARGUMENTS  # each rank knows its device
    return [sys.executable, *launcher, *bundle, "--output_dir", str(output), *arguments, *options]


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads()), "CUDA_VISIBLE_DEVICES": ""}
"""With as many threads as here: how a sum is split decides its last bit, which Adam enlarges."""


def losses(record: dict[str, Any]) -> list[float]:
    return [epoch["loss"] for epoch in record["epochs"]]


def furthest(one: Path, other: Path) -> float:
    """Largest difference between the prompts of two runs."""
    a, b = (load_file(folder / "prompts.safetensors") for folder in (one, other))
    assert a.keys() == b.keys()
    return max((a[name] - b[name]).abs().max().item() for name in a)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run without any option."""
    output = tmp_path_factory.mktemp("plain")
    assert len(train(output)["epochs"]) == 2
    return output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data list of pictures, with a validation section."""
    folder = tmp_path_factory.mktemp("data") / "set"
    datalist = write_folder(folder, 16, size=64)
    entries = json.loads(datalist.read_text())["training"]
    assert {e["label"] for e in entries[:8]} == {e["label"] for e in entries[8:]} == {0, 1}
    sections = {"training": entries[:8], "validation": entries[8:]}
    sections["odd"] = entries[9:]
    sections["normal"] = [entry for entry in entries if entry["label"] == 0]
    sections["anomalous"] = [entry for entry in entries if entry["label"] == 1]
    Image.fromarray(np.full((64, 64), 255, np.uint8)).save(folder / "all.png")
    sections["covered"] = [entry | {"mask": "all.png"} for entry in sections["anomalous"]]
    sections["unmarked"] = [entry | {"mask": None} for entry in entries]
    datalist.write_text(json.dumps(sections))
    return folder


def of_folder(folder: Path) -> dict[str, Any]:
    return {"procedural": 0, "dataset_dir": str(folder)}


def test_the_prompts_learn_and_fit_their_detector(plain: Path) -> None:
    record = json.loads((plain / "training.json").read_text())
    first, last = losses(record)
    assert last < 0.95 * first
    assert record["settings"]["loss"] == "both"
    trained = create_model("untrained", plain / "prompts.safetensors")
    assert trained.prompts_trained
    assert trained.image_size == 70
    assert (plain / "checkpoint.pt").stat().st_size < 1 << 20  # no CLIP in it


@pytest.mark.parametrize("accumulate", [1, 2, 4])
def test_a_run_is_a_plain_loop_with_adam_and_a_cosine(tmp_path: Path, accumulate: int) -> None:
    """The last batch has three images: in pieces two and one, or one, one, one and none.

    The loop takes its gradients in the same pieces: those of the deep tokens are rounded to half precision each.
    """
    options = {"procedural": 7, "seed": 5, "loss": "local", "learning_rate": 0.01, "schedule": "cosine"}
    record = train(tmp_path, **options, accumulate=accumulate)

    detector = create_model("untrained", image_size=70, seed=5)
    images = ProceduralDataset(7, seed=5, size=70)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (detector.image_mean, detector.image_std))
    features = detector.encode_image((torch.stack([images[i]["image"] for i in range(7)]) - mean) / std)
    masks = torch.stack([images[i]["mask"][0] for i in range(7)])
    optimizer = torch.optim.Adam(detector.train().learned().values(), lr=0.01, betas=(0.5, 0.999))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 4)
    generator = torch.Generator().manual_seed(5)
    expected = []
    for _ in range(2):
        total = 0.0
        for chosen in torch.randperm(7, generator=generator).split(4):
            optimizer.zero_grad()
            for piece in filter(len, chosen.tensor_split(accumulate)):
                output = detector.training_output({name: f[piece] for name, f in features.items()})
                loss = 4 * local_loss(output.layer_maps, masks[piece])
                loss = loss * len(piece) / len(chosen)
                loss.backward()
                total += loss.item() / 2
            optimizer.step()
            schedule.step()
        expected.append(total)
    # Adam at this rate enlarges what the order of a sum leaves.
    assert losses(record) == pytest.approx(expected, rel=1e-4)


def test_a_killed_run_goes_on_to_the_same_prompts(plain: Path, tmp_path: Path) -> None:
    """Killed in the middle of an epoch of five steps."""
    process = subprocess.Popen(
        command(tmp_path, "--save_interval", "3"),
        env=ENVIRONMENT,
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    checkpoint = tmp_path / "checkpoint.pt"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    reached = torch.load(checkpoint, weights_only=True)["trainer"]["iteration"]
    assert reached % 5
    record = train(tmp_path, save_interval=3)
    assert losses(record) == pytest.approx(losses(json.loads((plain / "training.json").read_text())), rel=1e-6)
    assert furthest(plain, tmp_path) <= 1e-6


@pytest.mark.slow
def test_two_killed_ranks_go_on_to_the_same_prompts(tmp_path: Path) -> None:
    """Both and their launcher are killed in the middle of an epoch of five steps; neither sees the other's folder."""

    def start(output: Path) -> subprocess.Popen[bytes]:
        of_rank = f"$'{output}' + ('' if os.environ['RANK'] == '0' else '_of_second')"
        return subprocess.Popen(
            command(output, "--save_interval", "3", "--output_dir", of_rank, ranks=2),
            env=ENVIRONMENT,
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert start(whole).wait() == 0
    process = start(cut)
    while not (cut / "checkpoint.pt").exists() and process.poll() is None:
        time.sleep(0.005)
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(workers) == 2
    for pid in (process.pid, *map(int, workers)):
        os.kill(pid, signal.SIGKILL)
    process.wait()
    assert torch.load(cut / "checkpoint.pt", weights_only=True)["trainer"]["iteration"] % 5
    assert start(cut).wait() == 0
    assert list((tmp_path / "cut_of_second").iterdir()) == []
    one, other = (json.loads((folder / "training.json").read_text()) for folder in (whole, cut))
    assert losses(other) == pytest.approx(losses(one), rel=1e-6)
    assert furthest(whole, cut) <= 1e-6


def test_a_folder_of_another_run_is_not_gone_on_with(plain: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"other settings or images \(learning_rate, loss\)"):
        train(plain, learning_rate=0.5, loss="local")


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    for content in (b"", b"PK\x03\x04", b"text of some length"):
        (tmp_path / "checkpoint.pt").write_bytes(content)
        with pytest.raises(ConfigurationError, match=r"checkpoint\.pt is not a checkpoint of a training"):
            train(tmp_path)
    torch.save({"state_dict": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(ConfigurationError, match=r"checkpoint\.pt is not a checkpoint of a training"):
        train(tmp_path)


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_the_cache_changes_nothing(plain: Path, tmp_path: Path, where: str) -> None:
    cache = "memory" if where == "memory" else str(tmp_path / "features")
    record = train(tmp_path / "out", cache=cache)
    assert losses(record) == pytest.approx(losses(json.loads((plain / "training.json").read_text())), rel=1e-5)
    if where == "disk":
        made = {file: file.stat().st_mtime_ns for file in (tmp_path / "features").iterdir()}
        assert len(made) == 20
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(AnomalyCLIP, "encode_image", None)  # nothing is encoded any more
            again = train(tmp_path / "again", cache=cache)
        assert losses(again) == losses(record)
        assert {file: file.stat().st_mtime_ns for file in (tmp_path / "features").iterdir()} == made
        train(tmp_path / "half", cache=cache, cache_dtype="float16", epochs=1)
        assert len(list((tmp_path / "features").iterdir())) == 40


def test_a_cache_that_cannot_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, options = tmp_path / "features", {"procedural": 4, "epochs": 1, "cache": str(tmp_path / "features")}
    with monkeypatch.context() as patch:
        patch.setattr("anomalyclip_med.engines.feature_cache.save_file", full_disk)
        with pytest.raises(ConfigurationError, match=r"features: features cannot be kept there \(No space left"):
            train(tmp_path / "full", **options)
        assert list(folder.iterdir()) == []
    train(tmp_path / "whole", **options)
    damaged = sorted(folder.iterdir())[0]
    damaged.write_bytes(damaged.read_bytes()[:1000])
    with pytest.raises(ConfigurationError, match=f"{damaged.name}: kept features cannot be read"):
        train(tmp_path / "damaged", **options)


def full_disk(item: dict[str, torch.Tensor], path: Path) -> None:
    path.write_bytes(b"half of it")
    raise SafetensorError("No space left on device")


def test_accumulated_pieces_make_the_same_steps(plain: Path, tmp_path: Path) -> None:
    record = train(tmp_path, accumulate=2)
    assert losses(record) == pytest.approx(losses(json.loads((plain / "training.json").read_text())), rel=1e-5)


def test_two_ranks_make_the_same_steps_and_metrics(folder: Path, tmp_path: Path) -> None:
    """With sets that do not divide into equal parts, and a cache that both fill."""
    options = {"section": "odd", "validation_section": "odd", "metric": "pixel_aupro", **of_folder(folder)}
    one = train(tmp_path / "one", **options)
    typed = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    run = subprocess.run(
        command(tmp_path / "two", *typed, "--cache", str(tmp_path / "features"), ranks=2),
        env=ENVIRONMENT,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    two = json.loads((tmp_path / "two" / "training.json").read_text())
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    metrics = [[epoch["pixel_aupro"] for epoch in record["epochs"]] for record in (one, two)]
    assert metrics[0] == pytest.approx(metrics[1], abs=1e-4)
    assert two["best_epoch"] == one["best_epoch"]
    assert len(list((tmp_path / "features").iterdir())) == 7


def test_the_best_epoch_is_kept_and_training_ends_early(folder: Path, tmp_path: Path) -> None:
    """At a rate of 0 all epochs are equal: the first is the best, and two without a better one end training."""
    options = {"epochs": 9, "learning_rate": 0.0, "patience": 2, "cache": "memory", **of_folder(folder)}
    options |= {"validation_section": "validation", "metric": "pixel_auroc"}
    record = train(tmp_path, **options)
    assert [epoch["epoch"] for epoch in record["epochs"]] == [1, 2, 3]
    assert train(tmp_path, **options) == record  # started again, it has ended
    assert record["best_epoch"] == 1
    assert len({epoch["pixel_auroc"] for epoch in record["epochs"]}) == 1
    start = create_model("untrained", image_size=70).learned()
    for name, tensor in load_file(tmp_path / "prompts.safetensors").items():
        assert torch.equal(tensor, start[name])


def test_patience_waits_for_an_evaluation(folder: Path, tmp_path: Path) -> None:
    """Of epochs 3, 6, 9 only the first is evaluated as the best one; epoch 5 has no metric that could be better."""
    options = {"epochs": 9, "learning_rate": 0.0, "patience": 2, "val_interval": 3, "cache": "memory"}
    record = train(tmp_path, **options, validation_section="validation", metric="image_ap", **of_folder(folder))
    assert [epoch["epoch"] for epoch in record["epochs"] if "image_ap" in epoch] == [3, 6]
    assert len(record["epochs"]) == 6
    assert record["best_epoch"] == 3


def test_a_loss_that_is_no_number_ends_training(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="loss of step 2 is nan: lower learning_rate"):
        train(tmp_path, learning_rate=float("inf"), **of_folder(folder))
    assert not (tmp_path / "prompts.safetensors").exists()


def test_the_mask_of_a_normal_image_does_not_count(folder: Path) -> None:
    """As in an evaluation."""
    section = [{"image": "all.png", "mask": "all.png", "label": label} for label in (0, 1)]
    (folder / "masked.json").write_text(json.dumps({"training": section}))
    transform = Compose([LoadSliced("image"), LoadMaskd("mask", 70)])
    normal, anomalous = training_images(folder / "masked.json", folder, "training", transform)
    assert normal["known"]
    assert normal["mask"].sum() == 0
    assert anomalous["mask"].sum() == 70 * 70


def test_validation_is_the_evaluation_of_the_written_prompts(folder: Path, tmp_path: Path) -> None:
    record = train(tmp_path / "t", validation_section="validation", metric="image_ap", **of_folder(folder))
    run_bundle(
        "anomalyclip_zero_shot",
        ["inference.json", "evaluate.json"],
        dataset_dir=str(folder),
        section="validation",
        output_dir=tmp_path / "e",
        clip="untrained",
        prompts=str(tmp_path / "t" / "prompts.safetensors"),
        device="cpu",
    )
    best = record["epochs"][record["best_epoch"] - 1]["image_ap"]
    assert best == max(epoch["image_ap"] for epoch in record["epochs"])
    assert json.loads((tmp_path / "e" / "metrics.json").read_text())["mean"]["image_ap"] == pytest.approx(best)


def test_pixel_metrics_need_no_normal_images(folder: Path, tmp_path: Path) -> None:
    """But the global loss teaches nothing without them, and says so."""
    options = {"section": "anomalous", "validation_section": "anomalous", "metric": "pixel_ap", **of_folder(folder)}
    with pytest.warns(UserWarning, match="one-label"):
        record = train(tmp_path / "both", **options, epochs=1)
    assert record["settings"]["warnings"][0].startswith("one-label")
    record = train(tmp_path / "local", **options, loss="local")
    assert record["settings"]["warnings"] == []
    first, last = record["epochs"]
    assert last["loss"] < first["loss"]
    assert 0 < first["pixel_ap"] < last["pixel_ap"] < 1


def test_without_masks_only_the_global_loss_is_trained_and_told(folder: Path, tmp_path: Path) -> None:
    options = {**of_folder(folder), "section": "unmarked", "epochs": 1}
    with pytest.warns(UserWarning, match="no-masks"):
        record = train(tmp_path / "out", **options)
    assert record["settings"]["loss"] == "global"
    assert record["settings"]["warnings"][0].startswith("no-masks")
    with pytest.raises(ConfigurationError, match="no anomalous image has a mask"):
        train(tmp_path / "local", loss="local", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "dice"}, "loss='dice'"),
        ({"metric": "dice", "validation_section": "validation"}, "metric='dice'"),
        ({"metric": "image_ap", "validation_section": "normal"}, "needs normal and anomalous images"),
        ({"metric": "pixel_ap", "validation_section": "unmarked"}, "do not tell normal pixels from"),
        ({"metric": "pixel_ap", "validation_section": "normal"}, "do not tell normal pixels from"),
        ({"metric": "pixel_ap", "validation_section": "covered"}, "do not tell normal pixels from"),
        ({"train_layers": [5]}, "train_layers"),
        ({"few_shot": 0}, "few_shot=0 must be"),
        ({"few_shot": 2, "procedural": 8}, "few_shot chooses from a data list"),
        ({"mixed_precision": True}, "mixed_precision is for NVIDIA GPUs, the device is cpu"),
        ({"schedule": "step"}, "schedule='step'"),
        ({"accumulate": 5}, "does not divide"),
        ({"cache": "memory", "cache_dtype": "int8"}, "cache_dtype"),
        ({"patience": 2}, "validation_section"),
        ({"learning_rat": 2}, "did you mean learning_rate"),
    ],
)
def test_wrong_options_are_named(folder: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        train(tmp_path, **(of_folder(folder) | options))


def test_few_images_are_chosen_by_seed_of_each_class_and_label(folder: Path) -> None:
    entries = json.loads((folder / "datalist.json").read_text())
    section = [entry | {"class": f"c{n % 2}"} for n, entry in enumerate([*entries["training"], *entries["validation"]])]
    count = min(sum(e["class"] == c and e["label"] == label for e in section) for c in ("c0", "c1") for label in (0, 1))
    (folder / "classes.json").write_text(json.dumps({"training": section}))

    def choose(few_shot: int, seed: int) -> list[int]:
        images = training_images(folder / "classes.json", folder, "training", dict, few_shot=few_shot, seed=seed)
        chosen = images.describe()["chosen"]
        assert len(images) == images.describe()["images"] == len(chosen)
        return chosen

    choices = [choose(1, seed) for seed in range(8)]
    assert choices[0] == choose(1, 0)
    assert len({tuple(chosen) for chosen in choices}) > 1
    for chosen in [*choices, choose(count, 0)]:
        assert chosen == sorted(set(chosen))
        kinds = [(section[i]["class"], section[i]["label"]) for i in chosen]
        assert {kinds.count(kind) for kind in kinds} == {len(chosen) // 4}
        assert set(kinds) == {("c0", 0), ("c0", 1), ("c1", 0), ("c1", 1)}
    with pytest.raises(
        ConfigurationError, match=rf"has {count} \w+ images of 'c[01]', few_shot={count + 1} needs more"
    ):
        choose(count + 1, 0)


def test_fine_tuning_with_few_images_starts_from_given_prompts(plain: Path, folder: Path, tmp_path: Path) -> None:
    options = {**of_folder(folder), "few_shot": 2, "prompts": str(plain / "prompts.safetensors"), "learning_rate": 0.0}
    record = train(tmp_path, **options, epochs=1)
    assert len(record["settings"]["images"]["chosen"]) == 4
    assert furthest(plain, tmp_path) == 0
    with pytest.raises(ConfigurationError, match="other settings or images"):
        train(tmp_path, **(options | {"few_shot": 1}))


def test_the_scale_of_mixed_precision_is_saved_and_restored(tmp_path: Path) -> None:
    """A scaler of the CPU on a plain engine: the trainer itself has one on a GPU only."""
    network = PromptTraining(create_model("untrained", image_size=70)).train()
    optimizer = torch.optim.SGD(network.detector.learned().values(), lr=0.0)

    def run(scaler: torch.amp.GradScaler, epochs: int) -> None:
        def step(engine: Engine, batch: int) -> None:
            scaler.scale(network.detector.text_features.sum()).backward()
            scaler.step(optimizer)
            scaler.update()

        engine = Engine(step)
        engine.scaler = scaler
        Resume(network, optimizer, make_schedule("constant", optimizer, 1), tmp_path, {}).attach(engine)
        engine.run([0, 1, 2], max_epochs=epochs)

    first = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    run(first, 1)
    assert first.state_dict() | {"scale": 16.0, "_growth_tracker": 1} == first.state_dict()
    second = torch.amp.GradScaler("cpu")
    run(second, 1)  # which has nothing left to do
    assert second.state_dict() == first.state_dict()


def test_pieces_of_ranks_are_the_batches() -> None:
    """Whatever ranks and pieces, their union in order is the same batch, and every image counts once."""
    whole = BatchShares(10, 4, seed=3)
    whole.epoch = 2
    batches = list(whole)
    assert [len(b) for b in batches] == [4, 4, 2]
    assert sorted(chain(*batches)) == list(range(10))
    assert [whole.weight(n) for n in range(3)] == [1, 1, 1]
    shares = [BatchShares(10, 4, accumulate=2, seed=3, rank=rank, ranks=2) for rank in range(2)]
    for share in shares:
        share.epoch = 2
        assert len(share) == len(list(share)) == 6
    for n, batch in enumerate(batches):
        pieces = [(list(s)[2 * n + part], s.weight(2 * n + part)) for s in shares for part in range(2)]
        assert [i for piece, weight in pieces for i in piece if weight] == batch
        # The mean over the four pieces of their means, weighted, is the mean over the batch.
        mean = sum(weight * sum(piece) / len(piece) for piece, weight in pieces) / 4
        assert mean == pytest.approx(sum(batch) / len(batch))
    whole.start = 2
    assert list(whole) == batches[2:]
    whole.start, whole.epoch = 0, 3
    assert list(whole) != batches
    assert [len(b) for b in BatchShares(3, 8)] == [3]
