"""Loaders whose every sample depends on (seed, epoch, index) alone: not on the worker, the process or a resume."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import zip_longest

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.dist import get_dist_info
from mmengine.registry import FUNCTIONS
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

from vdt3d.registry import DATA_SAMPLERS, DATASETS
from vdt3d.utils.random import SampleKey, keyed


class KeyedDataset(Dataset):
    """A data set behind keys: what happens while sample ``key`` is prepared depends on the key alone.

    Raises:
        RuntimeError: the pipeline returned None (mmengine would silently hand out another sample).
    """

    def __init__(self, dataset: Dataset):
        self.dataset = dataset
        _forbid_stand_ins(dataset)

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def metainfo(self) -> dict:
        return getattr(self.dataset, "metainfo", {})

    def __getitem__(self, key: SampleKey) -> object:
        with keyed(key):
            read = self.dataset.prepare_data if isinstance(self.dataset, BaseDataset) else self.dataset.__getitem__
            sample = read(key.index)
        if sample is None:
            raise RuntimeError(f"the pipeline of {type(self.dataset).__name__} returned None for sample {key.index}")
        return sample


def _forbid_stand_ins(dataset: Dataset) -> None:
    """Let mmengine's data sets, those in wrappers too, raise for a dropped sample instead of fetching another."""
    for inner in (getattr(dataset, "dataset", None), *getattr(dataset, "datasets", ())):
        if inner is not None:
            _forbid_stand_ins(inner)
    if isinstance(dataset, BaseDataset):
        dataset.max_refetch = 0


class KeyedSampler(Sampler):
    """Hands the keys of one epoch to one process out of many.

    All processes agree on one order of the epoch (``order``) and take every ``world_size``-th entry of it, so a batch
    of B on one process and of B/2 on two hold the same samples.

    Args:
        dataset: anything with a length.
        seed: the run's seed.
        round_up: repeat the first entries so that all processes get equally many.
    """

    def __init__(self, dataset: Dataset, seed: int = 0, round_up: bool = True):
        self.dataset, self.seed, self.round_up = dataset, seed, round_up
        self.rank, self.world_size = get_dist_info()
        self.epoch, self._start = 0, 0

    def order(self) -> np.ndarray:
        """The indices of this epoch, in order, for all processes together."""
        raise NotImplementedError

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def start_at(self, position: int) -> None:
        """Let the next pass begin after this process's first ``position`` samples: the way back into an epoch."""
        self._start = position

    def __iter__(self) -> Iterator[SampleKey]:
        order = self.order()
        if self.round_up and len(order) % self.world_size:
            order = np.resize(order, len(self) * self.world_size)
        start, self._start = self._start, 0
        return (SampleKey(self.seed, self.epoch, int(index)) for index in order[self.rank :: self.world_size][start:])

    def __len__(self) -> int:
        total = len(self.dataset)
        return -(-total // self.world_size) if self.round_up else len(range(self.rank, total, self.world_size))


@DATA_SAMPLERS.register_module()
class DefaultSampler(KeyedSampler):
    """Every sample once an epoch, shuffled or in order."""

    def __init__(self, dataset: Dataset, shuffle: bool = True, seed: int = 0, round_up: bool = True):
        super().__init__(dataset, seed, round_up)
        self.shuffle = shuffle

    def order(self) -> np.ndarray:
        count = len(self.dataset)
        return np.random.default_rng((self.seed, self.epoch)).permutation(count) if self.shuffle else np.arange(count)


@DATA_SAMPLERS.register_module()
class BalancedSampler(KeyedSampler):
    """As many draws of one class as of another; an epoch is as long as the data set, and small classes repeat.

    Within a class no sample is drawn a second time before all were drawn once.

    Raises:
        ValueError: the data set has no ``targets()``.
    """

    def __init__(self, dataset: Dataset, seed: int = 0, round_up: bool = True):
        super().__init__(dataset, seed, round_up)
        if not hasattr(dataset, "targets"):
            raise ValueError(f"BalancedSampler needs a data set with targets(), {type(dataset).__name__} has none")
        self.targets = np.asarray(dataset.targets())

    def order(self) -> np.ndarray:
        rng = np.random.default_rng((self.seed, self.epoch))
        classes = np.unique(self.targets)
        share = np.full(len(classes), len(self.targets) // len(classes))
        share[rng.permutation(len(classes))[: len(self.targets) % len(classes)]] += 1
        drawn = [
            self._draw(rng, np.flatnonzero(self.targets == name), count)
            for name, count in zip(classes, share, strict=True)
        ]
        return rng.permutation(np.concatenate(drawn))

    @staticmethod
    def _draw(rng: np.random.Generator, members: np.ndarray, count: int) -> np.ndarray:
        rounds = -(-count // len(members))
        return np.concatenate([rng.permutation(members) for _ in range(rounds)])[:count]


def build_dataloader(
    dataset: dict | Dataset,
    sampler: dict,
    batch_size: int,
    *,
    seed: int,
    num_workers: int = 0,
    drop_last: bool = False,
    pin_memory: bool = True,
    persistent_workers: bool = True,
    collate_fn: dict | None = None,
    prefetch_factor: int | None = None,
) -> DataLoader:
    """A loader from its config.

    The loader owns its generator: torch would otherwise draw from the global stream whenever a pass begins, and a run
    resumed in the middle of an epoch would go on with other dropout masks.

    Args:
        pin_memory, persistent_workers: used where they mean something (CUDA; ``num_workers`` > 0).

    Raises:
        FileNotFoundError: the data set's files are not there.
        ValueError: the data set is empty, or too small for a single batch.
    """
    try:
        if isinstance(dataset, dict):
            dataset = DATASETS.build(dataset)
        if hasattr(dataset, "full_init"):
            dataset.full_init()
    except FileNotFoundError as error:
        if error.filename is None:  # one of ours, which says what to do
            raise
        what = f"there is no {error.filename}; put the data there (data/README.md) or change data_root"
        raise FileNotFoundError(what) from error
    if len(dataset) == 0:
        raise ValueError(f"{type(dataset).__name__} is empty; look at its data_root and split")
    loader = DataLoader(
        KeyedDataset(dataset),
        batch_size=batch_size,
        sampler=DATA_SAMPLERS.build(dict(sampler), default_args={"dataset": dataset, "seed": seed}),
        num_workers=num_workers,
        drop_last=drop_last,
        pin_memory=pin_memory and torch.cuda.is_available(),
        persistent_workers=persistent_workers and num_workers > 0,
        prefetch_factor=prefetch_factor,
        collate_fn=_collate(collate_fn or {"type": "pseudo_collate"}),
        worker_init_fn=_obey_the_parent_alone,
        generator=torch.Generator().manual_seed(seed),
    )
    if drop_last and len(loader) == 0:
        raise ValueError(
            f"{len(loader.sampler)} samples of {type(dataset).__name__} for each process are no batch of {batch_size}, "
            "and drop_last leaves out what is less; take a smaller batch_size or drop_last=False"
        )
    return loader


def _obey_the_parent_alone(worker: int) -> None:
    """Let a worker outlive the SIGTERM that a scheduler sends to every process of a job.

    The main process needs its workers while it finishes the step and saves the state; then it ends them itself.
    """

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
            pass
        os._exit(0)

    if hasattr(signal, "sigwaitinfo"):  # not on macOS and Windows
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=wait, daemon=True).start()


def _collate(config: dict) -> Callable:
    config = dict(config)
    return partial(FUNCTIONS.get(config.pop("type")), **config)


def require_two_classes(dataset: KeyedDataset) -> None:
    """Raise ValueError for a training set of a classifier whose cases all have one class: there is nothing to learn."""
    cases = getattr(dataset, "dataset", dataset)
    listed = getattr(cases, "targets", None) or getattr(cases, "get_gt_labels", None)
    if not callable(listed):
        return
    found = np.unique(listed())
    if len(found) == 1:
        classes = dataset.metainfo.get("classes") or ()
        name = f"'{classes[found[0]]}'" if found[0] < len(classes) else str(found[0])
        raise ValueError(
            f"{type(cases).__name__}: all {len(cases)} training cases have class {name}; training takes cases of two "
            "classes or more. Add cases, or correct the column or list that divides them"
        )


def same_classes(known: Sequence[str], dataset: KeyedDataset, model: nn.Module) -> tuple[str, ...]:
    """Return the class names of a run, once the next data set is found to have the same ones.

    A class folder that the validation data lack would move the numbers of all classes after it.

    Args:
        known: class names of the run's data sets before this one; empty for the first.
        dataset: the next data set; without ``classes`` in its ``metainfo`` it is not checked.
        model: the run's model, whose ``head.num_classes`` must be large enough.

    Raises:
        ValueError: the head has fewer classes than the data set, or a class number has two names.
    """
    classes = tuple(dataset.metainfo.get("classes") or ())
    if not classes:
        return tuple(known)
    scores = getattr(getattr(model, "head", None), "num_classes", len(classes))
    if scores < len(classes):
        raise ValueError(
            f"{type(dataset.dataset).__name__} has {len(classes)} classes, but the model's head has {scores}; "
            f"set model.head.num_classes={len(classes)}"
        )
    for number, (one, other) in enumerate(zip_longest(known or classes, classes)):
        if one != other:
            raise ValueError(
                f"class {number} is {one!r} in one part of the data and {other!r} in another; "
                "name the same classes in the same order (an empty folder is one too)"
            )
    return classes
