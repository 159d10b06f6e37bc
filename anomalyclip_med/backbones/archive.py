"""A reader for PyTorch's zip files (``torch.save`` and TorchScript) that never runs what they contain.

OpenAI publishes its CLIP weights as TorchScript archives. ``torch.jit.load`` hands such a file's program to
the interpreter; ``torch.load`` refuses it. Both formats are the same zip: a pickle, ``data.pkl``, that names
tensors, and one stored entry per tensor storage. Here the pickle may name nothing but tensors and plain
containers; TorchScript modules become bags of attributes; and no tensor may claim more than its entry holds.

Layout (``torch/csrc/jit/serialization`` in PyTorch): ``NAME/data.pkl``, ``NAME/data/KEY`` for the storages,
and for TorchScript also ``NAME/constants.pkl``, ``NAME/constants/KEY`` and ``NAME/code/...``.
"""

from __future__ import annotations

import contextlib
import io
import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anomalyclip_med.backbones.activation import Activation, Evidence
from anomalyclip_med.errors import WeightsError

_MAX_TEXT = 64 * 2**20  # bytes of pickle or program; a ViT-L archive has less than 2 MiB of both
_QUICK_GELU_FACTOR = 1.702

_DTYPES = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


class TorchArchive:
    """A PyTorch zip file, opened for reading tensors and nothing else.

    Valid once constructed: the entries add up to no more than the file, and there is one ``data.pkl``.

    Raises:
        WeightsError: The file is damaged, or its directory claims more than the file can hold.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise WeightsError(f"{path}: a damaged or truncated PyTorch file ({error}); download it again.") from error
        self._entries = {entry.filename: entry for entry in self._zip.infolist()}
        roots = [n.removesuffix("data.pkl") for n in self._entries if n.count("/") == 1 and n.endswith("/data.pkl")]
        if len(roots) != 1:
            raise WeightsError(f"{path}: a zip file, but not one that PyTorch wrote (no single data.pkl).")
        self._root = roots[0]
        if sum(entry.compress_size for entry in self._entries.values()) > path.stat().st_size:
            raise WeightsError(f"{path}: the entries of this zip file claim more than the file holds.")

    def __enter__(self) -> TorchArchive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    @property
    def is_torchscript(self) -> bool:
        """Whether the archive holds a TorchScript program, not only tensors."""
        return self._root + "constants.pkl" in self._entries

    def load(self) -> Any:
        """Read ``data.pkl``.

        Returns:
            What was saved, of dictionaries, lists, numbers, strings and CPU tensors; a TorchScript module
            comes as a flat dictionary from dotted names to its tensors.

        Raises:
            WeightsError: The file is damaged, or names anything but tensors and plain containers.
        """
        content = self._unpickle("data")
        return _flatten(content) if isinstance(content, _Module) else content

    def activation(self) -> Evidence | None:
        """What the archive's program says about the activation; None without a program that does.

        A scripted module writes QuickGELU's factor 1.702 into its code; a traced one, as OpenAI's, keeps it
        as a constant tensor.
        """
        if not self.is_torchscript:
            return None
        code = [n for n in self._entries if n.startswith(self._root + "code/") and n.endswith(".py")]
        program = "\n".join(self._read_text(name).decode("utf-8", "replace") for name in code)
        numbers = (
            float(value) for value in self._unpickle("constants") if isinstance(value, Tensor) and value.numel() == 1
        )
        # float16 holds the factor to three decimals.
        in_constants = any(math.isclose(n, _QUICK_GELU_FACTOR, abs_tol=5e-4) for n in numbers)
        if in_constants or str(_QUICK_GELU_FACTOR) in program:
            return Evidence(Activation.QUICK_GELU, "the program in the file")
        if "gelu(" in program:
            return Evidence(Activation.GELU, "the program in the file")
        return None

    def _unpickle(self, stem: str) -> Any:
        """Unpickle ``STEM.pkl``, whose storages are ``STEM/KEY``."""
        content = self._read_text(f"{self._root}{stem}.pkl")
        with self._damage_named():
            for opcode, argument, _ in pickletools.genops(content):
                # The memo is an array: one index near 2**32 would ask for gigabytes.
                if "PUT" in opcode.name and isinstance(argument, int) and argument > len(content):
                    raise pickle.UnpicklingError("impossible memo index")
            return _TensorUnpickler(content, lambda key: self._read_storage(f"{self._root}{stem}/{key}")).load()

    def _read_text(self, name: str) -> bytes:
        """Read a pickle or a piece of program, which may be compressed."""
        with self._damage_named(), self._zip.open(self._entries[name]) as stream:
            content = stream.read(_MAX_TEXT + 1)
        if len(content) > _MAX_TEXT:
            raise WeightsError(f"{self._path}: its entry {name!r} is larger than any of a CLIP's; not read.")
        return content

    def _read_storage(self, name: str) -> bytearray:
        entry = self._entries[name]
        if entry.file_size != entry.compress_size:
            raise pickle.UnpicklingError(f"{name!r} is compressed, which PyTorch never does")
        content = bytearray(entry.file_size)
        with self._zip.open(entry) as stream:
            if stream.readinto(content) != len(content):  # type: ignore[attr-defined]
                raise pickle.UnpicklingError(f"{name!r} is cut short")
        return content

    @contextlib.contextmanager
    def _damage_named(self) -> Iterator[None]:
        """Turn whatever a damaged or hostile file can raise into one error that names it."""
        try:
            yield
        except Exception as error:
            raise WeightsError(
                f"{self._path}: not read as weights ({error}): the file is damaged, or holds more than "
                "tensors. Download it again, or save its state dict alone as .safetensors."
            ) from error


class _Module:
    """What becomes of a TorchScript module: its attributes, without its class."""

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.attributes = state if isinstance(state, dict) else {}


class _TensorUnpickler(pickle.Unpickler):
    """An unpickler that knows tensors and plain containers, and refuses every other name."""

    def __init__(self, content: bytes, read_storage: Callable[[str], bytearray]) -> None:
        super().__init__(io.BytesIO(content))
        self._read_storage = read_storage

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return _Module
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if module == "torch.jit._pickle" and name.startswith("build_") and name.endswith("list"):
            return list
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): self._rebuild_tensor,
            ("torch._utils", "_rebuild_parameter"): self._rebuild_parameter,
            ("torch.jit._pickle", "restore_type_tag"): self._restore_type_tag,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is no tensor")
        return known[module, name]

    def persistent_load(self, pid: Any) -> Tensor:
        """Read the storage that ``("storage", type, key, device, number of elements)`` names."""
        kind, dtype, key, *_ = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError(f"it asks for {kind!r}, which is no tensor storage")
        content = self._read_storage(key)
        return torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)

    def _rebuild_tensor(
        self, storage: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *_: Any
    ) -> Tensor:
        # torch would enlarge the storage to whatever the sizes ask for.
        elements = math.prod(size)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if min(offset, *size, *stride, 0) < 0 or elements > len(storage) or (elements and last >= len(storage)):
            raise pickle.UnpicklingError(f"a tensor of the size {tuple(size)} exceeds its storage")
        return storage.as_strided(tuple(size), tuple(stride), offset)

    def _rebuild_parameter(self, data: Tensor, *_: Any) -> Tensor:
        return data

    def _restore_type_tag(self, value: Any, _: Any) -> Any:
        return value


def _flatten(root: _Module) -> dict[str, Tensor]:
    """Collect the tensors of a module and its submodules under their dotted names."""
    tensors = {}
    waiting, seen = [("", root)], {id(root)}
    while waiting:
        prefix, module = waiting.pop()
        for name, value in module.attributes.items():
            if isinstance(value, Tensor):
                tensors[f"{prefix}{name}"] = value
            elif isinstance(value, _Module) and id(value) not in seen:  # a hostile file may hold cycles
                seen.add(id(value))
                waiting.append((f"{prefix}{name}.", value))
    return tensors
