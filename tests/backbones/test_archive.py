"""The zip reader against files that are damaged or meant to harm."""

import io
import pickle
import zipfile
from collections import OrderedDict

import pytest
import torch
from torch import nn

from anomalyclip_med.backbones import load_clip
from anomalyclip_med.backbones.archive import TorchArchive
from anomalyclip_med.errors import WeightsError


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.arange(6.0).reshape(2, 3).T)  # not contiguous

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x @ self.weight)


class Outer(nn.Module):
    """Attributes of every kind that TorchScript saves beside tensors."""

    names: list[str]

    def __init__(self):
        super().__init__()
        self.inner = Inner()
        self.blocks = nn.ModuleList([Inner()])
        self.register_buffer("count", torch.tensor(7))
        self.register_buffer("empty", torch.zeros(0, 3))
        self.sizes = [1, 2]
        self.names = ["a", "b"]
        self.table = {"a": 1.5}
        self.nothing = None
        self.flag = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks[0](self.inner(x)[:, :3])


def read(path):
    with TorchArchive(path) as archive:
        return archive.load()


@pytest.mark.filterwarnings("ignore")
def test_reads_what_torch_wrote(tmp_path):
    module = Outer()
    torch.jit.save(torch.jit.script(module), tmp_path / "module.pt")
    found, expected = read(tmp_path / "module.pt"), module.state_dict()
    assert found.keys() == expected.keys()
    for key, value in found.items():
        assert torch.equal(value, expected[key])
    with TorchArchive(tmp_path / "module.pt") as archive:
        assert archive.is_torchscript
        assert archive.activation() is None


@pytest.mark.parametrize("protocol", [2, 4])
def test_reads_tensors_of_every_type(tmp_path, protocol):
    dtypes = (
        torch.float16,
        torch.bfloat16,
        torch.float32,
        torch.float64,
        torch.int64,
        torch.uint8,
        torch.bool,
    )
    content = OrderedDict((str(dtype), torch.tensor([0, 1, 1]).to(dtype)) for dtype in dtypes)
    content["view"] = torch.arange(12).reshape(3, 4)[1:, ::2]
    torch.save(content, tmp_path / "tensors.pt", pickle_protocol=protocol)
    found = read(tmp_path / "tensors.pt")
    assert list(found) == list(content)
    for key, value in found.items():
        assert value.dtype == content[key].dtype
        assert torch.equal(value, content[key])


def write_zip(path, pickled, storages=(b"\0" * 16,), compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("clip/data.pkl", pickled)
        for number, content in enumerate(storages):
            archive.writestr(f"clip/data/{number}", content, compress_type=compression)
    return path


class Storage:
    def __init__(self, *pid):
        self.pid = pid


class Call:
    """Pickles as a call of any importable function."""

    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


class StoragePickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.pid if isinstance(value, Storage) else None


def pickled(value):
    stream = io.BytesIO()
    StoragePickler(stream, protocol=2).dump(value)
    return stream.getvalue()


def tensor(size, stride, offset=0, key="0", kind="storage"):
    storage = Storage(kind, torch.FloatStorage, key, "cpu", 4)
    return {"weight": Call(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, OrderedDict())}


def test_the_forgery_itself_is_readable(tmp_path):
    """The refusals below are for what they say, not because these files could never be read."""
    path = write_zip(tmp_path / "clip.pt", pickled(tensor((2, 2), (2, 1))))
    assert torch.equal(read(path)["weight"], torch.zeros(2, 2))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tensor((2**40,), (1,)), "exceeds its storage"),
        (tensor((2**40,), (0,)), "exceeds its storage"),
        (tensor((4,), (2,)), "exceeds its storage"),
        (tensor((4,), (1,), offset=1), "exceeds its storage"),
        (tensor((4,), (1,), offset=-1), "exceeds its storage"),
        (tensor((4,), (-1,)), "exceeds its storage"),
        (tensor((-4,), (1,)), "exceeds its storage"),
        (tensor((4,), (1,), key="../1"), "clip/data/../1"),
        (tensor((4,), (1,), kind="module"), "no tensor storage"),
        ({"weight": Call(eval, "1 / 0")}, "asks for __builtin__.eval"),
        ({"weight": Call(print, "run")}, "asks for __builtin__.print"),
        ({"weight": Call(torch.zeros, 2**40)}, "no tensor"),
        ({"weight": Call(pickle.loads, b"")}, "asks for pickle.loads|asks for _pickle.loads"),
    ],
)
def test_hostile_pickles(tmp_path, capsys, content, message):
    path = write_zip(tmp_path / "clip.pt", pickled(content))
    with pytest.raises(WeightsError, match=message) as caught:
        load_clip(path)
    assert str(path) in str(caught.value)
    assert capsys.readouterr().out == ""


@pytest.mark.filterwarnings("ignore")
def test_code_in_an_old_pickle(tmp_path, capsys):
    (tmp_path / "clip.pt").write_bytes(pickle.dumps({"weight": Call(print, "run")}))
    with pytest.raises(WeightsError, match="run code"):
        load_clip(tmp_path / "clip.pt")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02]r\xff\xff\xff\xff.",  # a memo index that would ask for 64 GiB
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x00.",  # a string longer than the file
        b"\x80\x02}q\x00",
        b"no pickle",
        b"",
    ],
    ids=["memo", "string", "cut", "text", "empty"],
)
def test_damaged_pickles(tmp_path, content):
    with pytest.raises(WeightsError, match="not read as weights"):
        load_clip(write_zip(tmp_path / "clip.pt", content))


def test_compressed_storages_are_refused(tmp_path):
    size = 2**24
    path = write_zip(tmp_path / "clip.pt", pickled(tensor((2, 2), (2, 1))), [b"\0" * size], zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < size / 100
    with pytest.raises(WeightsError, match="compressed"):
        load_clip(path)


def test_entries_that_share_bytes_are_refused(tmp_path):
    """Two directory entries for the same bytes: the way in which small zip files claim to be huge."""
    path = write_zip(tmp_path / "clip.pt", pickled({}), [b"\0" * 4096, b""])
    content = path.read_bytes()
    directory = content.index(b"PK\x01\x02")
    first = content.index(b"clip/data/0", directory) - 46
    second = content.index(b"clip/data/1", directory) - 46
    forged = bytearray(content)
    forged[second : second + 46] = content[first : first + 46]  # sizes and offset; the names stay
    path.write_bytes(forged)
    with pytest.raises(WeightsError, match="claim more than the file holds"):
        load_clip(path)


def test_tensors_that_share_a_storage_are_refused(tmp_path):
    shared = torch.zeros(1000)
    torch.save({f"weight{i}": shared for i in range(100)}, tmp_path / "clip.pt")
    with pytest.raises(WeightsError, match="claim more than the file holds"):
        load_clip(tmp_path / "clip.pt")


def test_flipped_byte(tmp_path):
    torch.save({"weight": torch.ones(1000)}, tmp_path / "clip.pt")
    content = (tmp_path / "clip.pt").read_bytes()
    where = content.index(b"\0\0\x80\x3f" * 10) + 20
    (tmp_path / "clip.pt").write_bytes(content[:where] + b"\x55" + content[where + 1 :])
    with pytest.raises(WeightsError, match="CRC"):
        load_clip(tmp_path / "clip.pt")


def test_other_zip_files(tmp_path):
    with zipfile.ZipFile(tmp_path / "clip.pt", "w") as archive:
        archive.writestr("word/document.xml", "<xml/>")
    with pytest.raises(WeightsError, match="not one that PyTorch wrote"):
        load_clip(tmp_path / "clip.pt")


@pytest.mark.filterwarnings("ignore")
def test_module_that_contains_itself(tmp_path):
    """A cycle, as only a forged file has, ends."""
    module = b"c__torch__\nM\n"
    cycle = b"\x80\x02" + module + b")\x81q\x00}X\x04\0\0\0selfh\x00sb."
    assert read(write_zip(tmp_path / "clip.pt", cycle)) == {}
