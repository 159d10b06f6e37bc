"""The official prompt checkpoints: what there is, where it lies, and how it gets there.

Nothing is downloaded unless `fetch` is called, and what was downloaded counts only once its Git blob id (the
name that the publisher's repository itself gives those bytes) is the registered one.
"""

from __future__ import annotations

import difflib
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

from anomalyclip_med.errors import WeightsError

_RAW_GITHUB = "https://raw.githubusercontent.com"
_CHUNK = 2**20
_MAX_CHECKPOINT = 2**28  # the published ones have about a tenth of it
_TIMEOUT_SECONDS = 30  # without an answer, after which the server counts as unreachable
_OPENAI_VIT_L_14_336 = "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02"
SHIPPED = "offline"
"""Name of the prompts that the package brings; `tools/train_offline_prompts.py` makes them."""

_LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class PromptCheckpoint:
    """A published prompt checkpoint.

    Attributes:
        name: What the package calls it, after the data set that it was *trained* on.
        repository: "OWNER/NAME" on GitHub.
        path: Path in that repository.
        blob_id: Git's id of the file: SHA-1 of its header and content.
        trained_on: The data set whose masks trained the prompts.
        backbone: The CLIP that the prompts belong to, as `load_clip` names it.
        backbone_sha256: Of that CLIP's file as its publisher gives it.
        description: One sentence for a list.
    """

    name: str
    repository: str
    path: str
    blob_id: str
    trained_on: str
    backbone: str
    backbone_sha256: str
    description: str

    def url(self, base_url: str = _RAW_GITHUB) -> str:
        """The address of the file, on GitHub or on a mirror with the same layout."""
        return f"{base_url.rstrip('/')}/{self.repository}/main/{self.path}"

    def cached_path(self, directory: Path | None = None) -> Path:
        """Where the file lies once fetched."""
        return (directory or cache_dir() / "prompts") / f"{self.name}.pth"


# The folder names in the authors' repository say the data set of the test, not of the training.
_REGISTRY = {
    checkpoint.name: checkpoint
    for checkpoint in (
        PromptCheckpoint(
            name="anomalyclip-mvtec",
            repository="zqhang/AnomalyCLIP",
            path="checkpoints/9_12_4_multiscale_visa/epoch_15.pth",
            blob_id="72adc786e031b49ea288ba5f815f0d38cf158708",
            trained_on="MVTec AD",
            backbone="ViT-L-14-336/openai",
            backbone_sha256=_OPENAI_VIT_L_14_336,
            description="Trained on MVTec AD, for everything else: the authors' choice for medical images.",
        ),
        PromptCheckpoint(
            name="anomalyclip-visa",
            repository="zqhang/AnomalyCLIP",
            path="checkpoints/9_12_4_multiscale/epoch_15.pth",
            blob_id="c90f1d9d92d158b436a8fc193f984d4cec8b1fc8",
            trained_on="VisA",
            backbone="ViT-L-14-336/openai",
            backbone_sha256=_OPENAI_VIT_L_14_336,
            description="Trained on VisA, to be tested on MVTec AD.",
        ),
    )
}


class FileState(StrEnum):
    """What `verify` finds."""

    OK = "ok"
    MISSING = "missing"
    WRONG = "wrong"


@dataclass(frozen=True)
class Verification:
    """The outcome of `verify`.

    Attributes:
        state: Whether the file is there and is what it should be.
        path: The file.
        checkpoint: The registry's entry that was asked for or recognised, if any.
        detail: One sentence: what was found and, where it is not in order, what to do.
    """

    state: FileState
    path: Path
    checkpoint: PromptCheckpoint | None
    detail: str


def list_weights() -> tuple[PromptCheckpoint, ...]:
    """The registered prompt checkpoints."""
    return tuple(_REGISTRY.values())


def cache_dir() -> Path:
    """The folder for downloads: ``ANOMALYCLIP_MED_CACHE``, or the user's cache folder (XDG)."""
    if own := os.environ.get("ANOMALYCLIP_MED_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "anomalyclip_med"


def git_blob_id(path: Path) -> str:
    """The id that Git gives a file's content: SHA-1 of "blob", the size, a zero byte and the content."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fetch(name: str, directory: Path | None = None, *, base_url: str = _RAW_GITHUB) -> Path:
    """Download a registered checkpoint, unless the verified file is there already.

    Args:
        name: A name in the registry.
        directory: Where to keep it; ``cache_dir()/prompts`` by default.
        base_url: GitHub's raw files, or a mirror with the same layout.

    Returns:
        The path of the verified file.

    Raises:
        WeightsError: The name is unknown, the download fails, or what came is not the registered file.
    """
    checkpoint = _registered(name)
    target = checkpoint.cached_path(directory)
    if target.is_file() and git_blob_id(target) == checkpoint.blob_id:
        return target
    return download(
        checkpoint.url(base_url),
        target,
        verify=lambda path: _require_blob(path, checkpoint),
        max_bytes=_MAX_CHECKPOINT,
    )


def verify(name_or_path: str | Path, directory: Path | None = None) -> Verification:
    """Check a registered checkpoint's cached file, or any file against the registry.

    Args:
        name_or_path: A name in the registry, or the path of a file.
        directory: Where `fetch` kept the files; ``cache_dir()/prompts`` by default.

    Returns:
        ``ok`` for a registered checkpoint's own bytes, ``missing`` where there is no file, ``wrong`` for
        anything else (a damaged file, or one that the registry does not know).
    """
    checkpoint = _REGISTRY.get(str(name_or_path))
    path = checkpoint.cached_path(directory) if checkpoint else Path(name_or_path).expanduser()
    if not path.is_file():
        advice = f"; get it with: {_fetch_command(checkpoint)}" if checkpoint else ""
        return Verification(FileState.MISSING, path, checkpoint, f"{path}: no such file{advice}")
    blob_id = git_blob_id(path)
    known = [checkpoint] if checkpoint else list(_REGISTRY.values())
    for entry in known:
        if blob_id == entry.blob_id:
            return Verification(FileState.OK, path, entry, f"{path}: {entry.name}, trained on {entry.trained_on}")
    if checkpoint:
        return Verification(FileState.WRONG, path, checkpoint, _mismatch(path, blob_id, checkpoint))
    what = "a Git LFS pointer, not the file itself" if _is_lfs_pointer(path) else f"Git blob id {blob_id}"
    detail = f"{path}: {what}: none of the registered checkpoints ({', '.join(_REGISTRY)})"
    return Verification(FileState.WRONG, path, None, detail)


def resolve_prompts(source: str | Path) -> Path:
    """Find the file that a user means by a prompt checkpoint; never download it.

    Args:
        source: A name in the registry, "offline" for the embeddings that the package brings for the offline backbone,
            or the path of a file.

    Returns:
        The path of the cached and verified file, or of the given one.

    Raises:
        WeightsError: The registered file was not fetched or is wrong, or there is no such name or file.
    """
    if str(source) in _REGISTRY:
        found = verify(source)
        if found.state is not FileState.OK:
            raise WeightsError(found.detail)
        return found.path
    if str(source) == SHIPPED:
        return Path(__file__).with_name("prompts") / "offline.safetensors"
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise WeightsError(f"{path}: a folder; give the path of the prompt checkpoint in it.")
    raise WeightsError(_unknown(str(source)))


def download(
    url: str,
    target: Path,
    *,
    verify: Callable[[Path], None],
    max_bytes: int = 2**32,
) -> Path:
    """Download a file, whole and verified or not at all.

    The bytes go to ``TARGET.part``, which a later call resumes where the server can; the target appears in
    one step, after verification. Progress is shown on a terminal's standard error.

    Args:
        url: An http or https address.
        target: The file to write; its folder is made.
        verify: Raises a WeightsError for a file that is not the wanted one; that file is then deleted.
        max_bytes: The most that is accepted.

    Returns:
        The target.

    Raises:
        WeightsError: The address is not http(s), the server cannot be reached or refuses, the connection
            breaks, there is too much, or `verify` raises.
    """
    _require_http(url)
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _receive(url, part, max_bytes)
    except urllib.error.HTTPError as error:
        raise WeightsError(f"{url}: the server answers {error.code} ({error.reason}); {_by_hand(target)}") from error
    except (OSError, http.client.HTTPException) as error:
        raise WeightsError(f"{url}: could not be downloaded ({error}); {_by_hand(target)}") from error
    try:
        verify(part)
    except WeightsError:
        part.unlink()
        raise
    return part.replace(target)


def _receive(url: str, part: Path, max_bytes: int) -> None:
    """Bring the rest, or all, of an address into the partial file."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
            raise
        # The partial file is no beginning of this one, or already whole: cheaper to start again than to tell.
        part.unlink()
        _receive(url, part, max_bytes)
        return
    with response:
        _require_http(response.url)  # it may have been redirected
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        if resumed and not (response.headers["Content-Range"] or "").startswith(f"bytes {have}-"):
            raise http.client.HTTPException("the server sends another range than asked for")
        have = have if resumed else 0
        length = response.headers["Content-Length"]
        total = have + int(length) if length else None
        with (
            part.open("ab" if resumed else "wb") as output,
            # disable=None: no bar where standard error is no terminal.
            tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=None) as bar,
        ):
            while chunk := response.read(_CHUNK):
                have += len(chunk)
                if have > max_bytes:
                    break
                output.write(chunk)
                bar.update(len(chunk))
    if have > max_bytes:
        part.unlink()
        raise WeightsError(f"{url}: more than the {max_bytes} bytes expected; nothing was kept.")
    if total is not None and have < total:
        raise OSError(f"the connection broke after {have} of {total} bytes; run it again to resume")


def _require_http(url: str) -> None:
    if urlsplit(url).scheme not in ("http", "https"):
        raise WeightsError(f"{url}: only http and https addresses are downloaded.")


def _registered(name: str) -> PromptCheckpoint:
    if name not in _REGISTRY:
        raise WeightsError(_unknown(name))
    return _REGISTRY[name]


def _unknown(source: str) -> str:
    near = difflib.get_close_matches(source, _REGISTRY, n=2, cutoff=0.4) or list(_REGISTRY)
    return (
        f"{source}: neither a file nor a registered prompt checkpoint; did you mean {' or '.join(near)}? "
        "Give a name or the path of a checkpoint."
    )


def _require_blob(path: Path, checkpoint: PromptCheckpoint) -> None:
    blob_id = git_blob_id(path)
    if blob_id != checkpoint.blob_id:
        raise WeightsError(_mismatch(path, blob_id, checkpoint))


def _mismatch(path: Path, blob_id: str, checkpoint: PromptCheckpoint) -> str:
    pointer = "a Git LFS pointer, not the file itself; " if _is_lfs_pointer(path) else ""
    return (
        f"{path}: {pointer}not the registered {checkpoint.name}: its Git blob id is {blob_id}, expected "
        f"{checkpoint.blob_id}; get it anew with: {_fetch_command(checkpoint)}"
    )


def _is_lfs_pointer(path: Path) -> bool:
    """Whether a file only names its content, which Git LFS has not brought yet."""
    with path.open("rb") as stream:
        return stream.read(len(_LFS_POINTER)) == _LFS_POINTER


def _fetch_command(checkpoint: PromptCheckpoint) -> str:
    return f"anomalyclip-med weights fetch {checkpoint.name}"


def _by_hand(target: Path) -> str:
    return f"download it by any other means and save it as {target}"
