"""Weights that other libraries provide: timm's, files on the Hugging Face Hub, files in installed packages."""

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from vdt3d.models.weights.errors import CheckpointError

HUB_FILES = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors")  # in the order of preference


def read_timm(name: str) -> dict[str, Tensor]:
    """Return the pretrained tensors of a timm network, downloaded by timm to the cache of the Hugging Face Hub.

    Args:
        name: as ``timm.create_model`` takes it: 'resnet50.a1_in1k'.

    Raises:
        CheckpointError: no such network, no weights for it, or the download failed.
    """
    import timm

    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # of the network: requests', huggingface_hub's and timm's own have no common class
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"timm://{name}: not loaded ({reason}); timm.list_pretrained() lists names") from error


def fetch_from_hub(name: str) -> Path:
    """Return the file of ``hf://OWNER/REPO[@REVISION][/FILE]``, downloaded to the Hub's cache.

    Without FILE the first of ``HUB_FILES`` that the repository has is taken.

    Raises:
        CheckpointError: the name has another form, or no such repository or file can be fetched.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    found = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+?))?(?:/(.+))?", name)
    if found is None:
        raise CheckpointError(f"{name}: not of the form hf://OWNER/REPO or hf://OWNER/REPO/FILE")
    repository, revision, file = found.groups()
    files = [file] if file else list(HUB_FILES)
    try:
        for candidate in files:
            try:
                return Path(hf_hub_download(repository, candidate, revision=revision))
            except EntryNotFoundError:
                continue
    except Exception as error:  # whatever the Hub, the network or the cache raise
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"{name}: not fetched ({reason}); check the name, your token and the network") from error
    raise CheckpointError(f"{name}: the repository has none of {', '.join(files)}; name a file: hf://OWNER/REPO/FILE")


def find_in_package(package: str, file: str) -> Path:
    """Return a file that an installed package contains.

    Args:
        package: its name for pip.

    Raises:
        CheckpointError: the package is not installed or does not have the file.
    """
    spec = find_spec(package.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise CheckpointError(f"{file} comes with {package}, which is not installed: pip install {package}")
    path = next(Path(spec.origin).parent.rglob(file), None)
    if path is None:
        raise CheckpointError(f"{package} has no {file}; install it again: pip install --force-reinstall {package}")
    return path


def rename_by_order(state: Mapping[str, Tensor], network: str, name: str) -> dict[str, Tensor]:
    """Return tensors that are a timm network's, in its order, under timm's names.

    Args:
        network: for ``timm.create_model``.
        name: of the file, for messages.

    Raises:
        CheckpointError: the number of tensors or one of the shapes is another.
    """
    import timm

    with torch.device("meta"):
        wanted = timm.create_model(network, pretrained=False).state_dict()
    given = list(state.items())
    pairs = [(key, old) for key, old in zip(wanted, given, strict=False) if wanted[key].shape == old[1].shape]
    if not len(wanted) == len(given) == len(pairs):
        raise CheckpointError(f"{name}: its {len(given)} tensors are not the {len(wanted)} of timm.{network}, in order")
    return {key: value for key, (_, value) in pairs}
