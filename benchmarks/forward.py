"""A detector's forward pass beside the authors' way to compute it, and beside what the machine can do.

Usage: python benchmarks/forward.py [--clip NAME] [--image-size PIXELS] [--batch-size N] [--runs N] [--device NAME]
       [--dtype bfloat16]

Both sides have the same seeded weights and run in turn, so that a machine that becomes slower does so for both. The
peak is that of the fastest of several matrix products, measured in turn with them. Operations are counted by PyTorch: a
multiplication and an addition are two. Peak memory is what the process (on a GPU: PyTorch) held at most during the
forward pass, beyond what it held before, which is mostly weights; Linux only.
"""

from __future__ import annotations

import argparse
import ctypes
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from plain_forward import plain_forward
from tabulate import tabulate
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from anomalyclip_med import create_model
from anomalyclip_med.networks import AnomalyCLIP

_OF_THE_CPU = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # which PyTorch's counter does not know


def main() -> None:
    """Time both forward passes in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", default="ViT-L-14-336/untrained")
    parser.add_argument("--image-size", type=int, default=518)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32", help="ours, on a GPU")
    arguments = parser.parse_args()

    device = torch.device(arguments.device)
    torch.manual_seed(0)
    # Settings of the paper, whatever the backbone's own prompts were learned in.
    detector = create_model(arguments.clip, image_size=arguments.image_size, dpam="vv", score="class_token")
    assert isinstance(detector, AnomalyCLIP)
    detector.to(device)
    images = torch.randn(arguments.batch_size, 3, arguments.image_size, arguments.image_size, device=device)
    dtype = getattr(torch, arguments.dtype)

    def ours() -> tuple[Tensor, Tensor]:
        with torch.autocast(device.type, dtype, enabled=dtype is not torch.float32):
            return detector(images)

    def theirs() -> tuple[Tensor, Tensor]:
        return plain_forward(detector, images)

    sides = {"the authors' way": theirs, "this package": ours}
    with torch.inference_mode():
        results = {name: run() for name, run in sides.items()}
        flops = {name: count_flops(run) for name, run in sides.items()}
        memory = {name: peak_memory(run, device) for name, run in sides.items()}
        products = matrix_products(device, dtype)
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        rates: dict[str, list[float]] = {name: [] for name in products}
        for _ in range(arguments.runs):
            for name, run in sides.items():
                seconds[name].append(timed(run, device))
            for name, (count, run) in products.items():
                rates[name].append(count / timed(run, device))
    fastest = max(rates, key=lambda name: statistics.median(rates[name]))
    peak = statistics.median(rates[fastest])

    rows = []
    for name in sides:
        middle = statistics.median(seconds[name])
        rows.append(
            (
                name,
                f"{len(images) / middle:.3f}",
                f"{middle:.3g} ({min(seconds[name]):.3g} to {max(seconds[name]):.3g})",
                f"{flops[name] / 1e12:.3f}",
                f"{flops[name] / middle / peak:.0%}",
                f"{memory[name] / 2**20:.0f}",
            )
        )
    headers = ("", "images/s", "s, median (range)", "TFLOP", "of the peak", "MiB")
    print(f"{arguments.clip}, {arguments.image_size} px, batch {len(images)}, {arguments.dtype}, {described(device)}\n")
    print(tabulate(rows, headers, tablefmt="pipe", disable_numparse=True))
    ratios = [a / b for a, b in zip(seconds["the authors' way"], seconds["this package"], strict=True)]
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    furthest = [(a.float() - b.float()).abs().max().item() for a, b in zip(*results.values(), strict=True)]
    print(f"\n- Times as fast, run by run: {spread}")
    low, high = min(rates[fastest]) / 1e9, max(rates[fastest]) / 1e9
    print(f"- Peak: {peak / 1e9:.0f} GFLOP/s ({low:.0f} to {high:.0f}), {fastest}")
    print(f"- Furthest apart: scores {furthest[0]:.1e}, maps {furthest[1]:.1e}")


def matrix_products(device: torch.device, dtype: torch.dtype) -> dict[str, tuple[int, Callable[[], Tensor]]]:
    """Products with memory of their own, and their operations: large squares, and the network's largest."""
    shapes = [(2048, 2048, 2048), (4096, 4096, 4096), (1370, 1024, 4096)]
    if device.type == "cuda":
        shapes.append((16384, 8192, 8192))
    products = {}
    for m, k, n in shapes:
        a, b = torch.randn(m, k, device=device, dtype=dtype), torch.randn(k, n, device=device, dtype=dtype)
        out = torch.empty(m, n, device=device, dtype=dtype)
        products[f"({m}, {k}) x ({k}, {n})"] = 2 * m * k * n, lambda a=a, b=b, out=out: torch.mm(a, b, out=out)
    return products


def count_flops(run: Callable[[], object]) -> int:
    """Operations of matrix products, convolutions and attention."""

    def attention(query: list[int], key: list[int], value: list[int], *_: object, **__: object) -> int:
        return int(sdpa_flop_count(query, key, value))

    with FlopCounterMode(display=False, custom_mapping={_OF_THE_CPU: attention}) as counter:
        run()
    return int(counter.get_total_flops())


def peak_memory(run: Callable[[], object], device: torch.device) -> float:
    """Bytes held at most during a call, beyond those held before it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    ctypes.CDLL(None).malloc_trim(0)  # else memory that is kept for later would be taken unseen
    Path("/proc/self/clear_refs").write_text("5")  # the highest value begins anew
    before = _status("VmRSS")
    run()
    return _status("VmHWM") - before


def _status(name: str) -> float:
    match = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(match[1]) * 1024 if match else float("nan")


def timed(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call, with all that the device has to do for it."""
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def described(device: torch.device) -> str:
    """The device and its threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{torch.get_num_threads()} threads, PyTorch {torch.__version__}"


if __name__ == "__main__":
    main()
