"""The zoo: published weights by name, as the model index lists them, fetched once and checked before every use."""

import logging
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import torch
import yaml
from mmengine.logging import print_log

from vdt3d.models.weights.download import DownloadError, download, verify
from vdt3d.models.weights.sources import find_in_package
from vdt3d.utils.files import package_roots, write_aside

INDEX = "model-index.yml"
_RESTRICTIONS = {
    r"\bNC\b|non-?commercial": "no commercial use",
    r"\bND\b|no-?deriv": "no derivatives, which fine-tuned weights may be",
}


@dataclass(frozen=True)
class Entry:
    """What the index says of one file of weights.

    Args:
        name: behind ``zoo:`` in a config.
        task, data: what it was trained for, and on what.
        metrics: its scores as published, by name; they are of the data set ``scored``.
        licence: of the weights, or 'unknown'.
        file: its name in the cache.
        url: where it is downloaded from; None if it must be fetched by hand.
        page: where a person finds it.
        sha256: its hash, or the first 8 digits of it; None if not known.
        size: in bytes, or in the words of its source; None if not known.
        config: the config that trained it, where it is one of ours.
        paper: the address of its description.
        remark: what to know before using it.
        package: for pip, that contains the file.
        network: of timm, whose tensors the file has in its order under other names.
    """

    name: str
    task: str
    data: str
    metrics: Mapping[str, float]
    scored: str
    licence: str
    file: str
    url: str | None = None
    page: str | None = None
    sha256: str | None = None
    size: int | str | None = None
    config: str | None = None
    paper: str | None = None
    remark: str = ""
    package: str | None = None
    network: str | None = None

    @property
    def path(self) -> Path:
        """Where the file is once it is fetched."""
        return cache_folder() / self.file

    @property
    def restrictions(self) -> list[str]:
        """What the licence forbids that users might expect."""
        return [text for pattern, text in _RESTRICTIONS.items() if re.search(pattern, self.licence, re.IGNORECASE)]


def cache_folder() -> Path:
    """Where downloaded weights are kept: torch's own cache, which ``TORCH_HOME`` moves."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def hash_in(name: str) -> str | None:
    """The beginning of a hash that a file name bears by the custom ``name-0123abcd.pth``."""
    found = re.search(r"-([0-9a-f]{8,64})\.", name)
    return found and found.group(1)


def entries() -> list[Entry]:
    """All weights of the index and the metafiles it imports.

    Raises:
        FileNotFoundError: there is no index, or a metafile is missing.
        ValueError: an entry without name, licence or results.
    """
    root = next((root for root in package_roots() if (root / INDEX).is_file()), None)
    if root is None:
        raise FileNotFoundError(f"{INDEX} is neither beside the package nor in it; install vdt3d again")
    found = []
    for file in _read(root / INDEX)["Import"]:
        content = _read(root / file)
        collections = {collection["Name"]: collection for collection in content.get("Collections", ())}
        for number, model in enumerate(content.get("Models", ())):
            try:
                found.append(_entry(model, collections.get(model.get("In Collection"), {})))
            except (KeyError, IndexError) as error:
                name = model.get("Name", f"model {number}")
                raise ValueError(f"{root / file}: {name} has no {error}; docs/zoo.md shows an entry") from error
    return found


def find(name: str) -> Entry:
    """The entry of this name.

    Raises:
        ValueError: there is none; the message has the nearest names.
    """
    known = {entry.name: entry for entry in entries()}
    if name in known:
        return known[name]
    near = get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(map(repr, near))}" if near else ""
    raise ValueError(f"no weights '{name}' in the zoo{hint}; `vdt3d download --list` shows all")


def fetch(name: str, *, source: Path | None = None) -> Path:
    """The file of these weights, from the cache or else from its address.

    Args:
        source: a file fetched by hand, which is checked and copied into the cache.

    Raises:
        ValueError: no such weights, or no address to fetch them from.
        DownloadError: what is in the cache, behind the address or at ``source`` is not the published file.
        OSError: there is no ``source``, or no space in the cache.
    """
    entry = find(name)
    if entry.package and source is None:
        path = find_in_package(entry.package, entry.file)
        verify(path, sha256=entry.sha256)
        return path
    expected = {"sha256": entry.sha256, "size": entry.size if isinstance(entry.size, int) else None}
    new = source is not None or not entry.path.exists()
    if source is not None:
        verify(source, **expected)
        entry.path.parent.mkdir(parents=True, exist_ok=True)
        write_aside(entry.path, lambda aside: shutil.copyfile(source, aside))
    elif not new:
        try:
            verify(entry.path, **expected)
        except DownloadError as error:
            raise DownloadError(f"{entry.path}: {error}; delete it, and it is fetched again") from error
    elif entry.url is None:
        known = f"; its SHA-256 hash begins with {entry.sha256[:8]}" if entry.sha256 else ""
        raise ValueError(
            f"zoo:{name} has no address to download from: fetch it by hand ({entry.page}{known}), then "
            f"`vdt3d download {name} --from FILE`"
        )
    else:
        download(entry.url, entry.path, **expected)
    if new:
        _tell(entry)
    return entry.path


def described(entry: Entry) -> str:
    """A metafile with this entry alone, to be put among the models of another, or imported as it is."""
    about = {
        "Training Data": entry.data,
        "License": entry.licence,
        "File": entry.file,
        "SHA256": entry.sha256,
        "Size": entry.size,
        "Page": entry.page,
        "Package": entry.package,
        "Network": entry.network,
        "Remark": entry.remark or None,
    }
    model = {
        "Name": entry.name,
        "Config": entry.config,
        "Weights": entry.url,
        "Metadata": {key: value for key, value in about.items() if value is not None},
        "Results": [{"Task": entry.task, "Dataset": entry.scored, "Metrics": dict(entry.metrics)}],
    }
    return yaml.safe_dump({"Models": [model]}, sort_keys=False)


def _tell(entry: Entry) -> None:
    """Log under which terms the file has come, how far it could be checked, and what to know of it."""
    checked = "" if entry.sha256 else "; its hash is not known, so it was not checked"
    text = f"zoo:{entry.name}: licence {entry.licence}{checked}. {entry.remark}"
    print_log(text.rstrip(), logger="current", level=logging.INFO)
    if entry.restrictions:
        terms = " and ".join(entry.restrictions)
        print_log(f"zoo:{entry.name}: the licence allows {terms}", logger="current", level=logging.WARNING)


def _read(path: Path) -> dict:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such metafile, though {INDEX} names it")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _entry(model: dict, collection: dict) -> Entry:
    of_all, own = collection.get("Metadata", {}), model.get("Metadata", {})
    about, result, url = {**of_all, **own}, model["Results"][0], model.get("Weights")
    file = about.get("File") or (url and url.rpartition("/")[2])
    sha256 = about.get("SHA256") or (file and hash_in(file))
    return Entry(
        name=model["Name"],
        task=result["Task"],
        data=about["Training Data"],
        metrics=result["Metrics"],
        scored=result["Dataset"],
        licence=about["License"],
        file=file or "-".join(filter(None, (model["Name"], sha256 and sha256[:8]))) + ".pth",
        url=url,
        page=about.get("Page"),
        sha256=sha256,
        size=about.get("Size"),
        config=model.get("Config"),
        paper=collection.get("Paper", {}).get("URL"),
        package=about.get("Package"),
        network=about.get("Network"),
        remark=" ".join(part["Remark"] for part in (own, of_all) if "Remark" in part),
    )
