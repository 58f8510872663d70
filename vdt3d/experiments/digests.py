"""Digests that identify a study: of its config and of its data."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope

from vdt3d.engine.run_record import fingerprint
from vdt3d.registry import DATASETS

OWN_PLACE = ("work_dir", "launcher", "resume", "overwrite")  # where and how it runs


def config_digest(config: Config) -> str:
    """Return 16 characters that follow from all settings of a config."""
    return _digest(config.to_dict())


def data_digest(config: Config, splits: Sequence[str]) -> str:
    """Return 16 characters that follow from the cases of some splits: names, labels and sizes of files, not places.

    Args:
        splits: those of ``train``, ``val`` and ``test`` that the study reads.

    Raises:
        FileNotFoundError, ValueError: a data set cannot be built.
    """
    init_default_scope("vdt3d")
    known = {}
    for split in splits:
        if loader := config.get(f"{split}_dataloader"):
            dataset = DATASETS.build(loader.dataset)
            if hasattr(dataset, "full_init"):
                dataset.full_init()
            known[split] = fingerprint(dataset)
    return _digest(known)


def study_digests(config: Config, score: str) -> dict[str, str]:
    """Return what identifies a search, wherever it runs: ``score``, and digests of ``config`` and ``data``."""
    settings = {key: value for key, value in config.to_dict().items() if key not in OWN_PLACE}
    return {"score": score, "config": _digest(settings), "data": data_digest(config, ("train", "val"))}


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()[:16]
