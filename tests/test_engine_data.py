"""Samples keyed by (seed, epoch, index): the same batches whoever reads them, and samplers worked out by hand."""

import numpy as np
import pytest
import tiny
import torch
import torch.multiprocessing
from mmengine.dataset import BaseDataset, ConcatDataset
from torch.utils.data import Dataset

from vdt3d.engine import BalancedSampler, DefaultSampler, KeyedDataset
from vdt3d.engine.data import build_dataloader
from vdt3d.utils.random import SampleKey


class Items(Dataset):
    """``count`` samples with the given targets."""

    def __init__(self, targets: list[int]):
        self._targets = targets

    def __len__(self) -> int:
        return len(self._targets)

    def __getitem__(self, index: int) -> int:
        return index

    def targets(self) -> list[int]:
        return self._targets


class Dropping(BaseDataset):
    """Its pipeline drops every sample but the first."""

    def load_data_list(self) -> list[dict]:
        return [{"index": index} for index in range(3)]

    def prepare_data(self, idx: int) -> dict | None:
        return {"index": idx} if idx == 0 else None


def passes(workers: int, persistent: bool = True, epochs: int = 2, **options) -> list[torch.Tensor]:
    """All voxels of some epochs, as a training would be fed."""
    loader = build_dataloader(
        dict(type="TinyVolumes", length=5),
        dict(type="DefaultSampler"),
        2,
        seed=3,
        num_workers=workers,
        persistent_workers=persistent,
        **options,
    )
    voxels = []
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        voxels += [torch.stack(batch["inputs"]) for batch in loader]
    return voxels


def equal(one: list[torch.Tensor], two: list[torch.Tensor]) -> bool:
    return len(one) == len(two) and all(map(torch.equal, one, two))


@pytest.fixture(scope="module")
def reference() -> list[torch.Tensor]:
    return passes(workers=0)


@pytest.mark.parametrize("persistent", [True, False])
def test_workers_change_nothing(reference, persistent):
    assert equal(reference, passes(workers=2, persistent=persistent))


def test_spawned_workers_change_nothing(reference):
    before = torch.multiprocessing.get_start_method(allow_none=True)
    torch.multiprocessing.set_start_method("spawn", force=True)
    try:
        assert equal(reference[:3], passes(workers=1, epochs=1))
    finally:
        torch.multiprocessing.set_start_method(before, force=True)


def test_what_others_draw_changes_nothing_and_epochs_differ(reference):
    torch.rand(7), np.random.rand(7)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    assert equal(reference, passes(workers=0))
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()
    assert not equal(reference[:3], reference[3:])


def test_augmentations_of_mmpretrain_are_keyed_too(tmp_path):
    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        pixels = np.random.default_rng(ord(name)).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / name / "1.png")
    pipeline = [
        dict(type="mmpretrain.LoadImageFromFile"),
        dict(type="mmpretrain.RandomResizedCrop", scale=16),
        dict(type="mmpretrain.RandomFlip", prob=0.5),
        dict(type="mmpretrain.ColorJitter", brightness=0.4, contrast=0.4),
        dict(type="mmpretrain.PackInputs"),
    ]
    folder = dict(type="mmpretrain.CustomDataset", data_root=str(tmp_path), pipeline=pipeline, _scope_="mmpretrain")

    def epoch(number: int, workers: int) -> list[torch.Tensor]:
        loader = build_dataloader(folder, dict(type="DefaultSampler"), 1, seed=0, num_workers=workers)
        loader.sampler.set_epoch(number)
        return [batch["inputs"][0] for batch in loader]

    assert equal(epoch(0, workers=0), epoch(0, workers=2))
    assert not equal(epoch(0, workers=0), epoch(1, workers=0))


# ---- samplers ----


def indices(sampler: DefaultSampler | BalancedSampler) -> list[int]:
    return [key.index for key in sampler]


def test_an_epoch_holds_every_sample_once_in_an_order_of_its_own():
    sampler = DefaultSampler(Items([0] * 50), seed=1)
    first = indices(sampler)
    sampler.set_epoch(1)
    second = indices(sampler)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert next(iter(sampler)) == SampleKey(1, 1, second[0])
    assert indices(DefaultSampler(Items([0] * 3), shuffle=False)) == [0, 1, 2]


def test_a_pass_can_begin_anywhere_once():
    sampler = DefaultSampler(Items([0] * 5), seed=1)
    whole = indices(sampler)
    sampler.start_at(3)
    assert indices(sampler) == whole[3:]
    assert indices(sampler) == whole
    sampler.start_at(5)
    assert indices(sampler) == []


def shards(count: int, world_size: int, **options) -> list[list[int]]:
    samplers = [DefaultSampler(Items([0] * count), shuffle=False, **options) for _ in range(world_size)]
    for rank, sampler in enumerate(samplers):
        sampler.rank, sampler.world_size = rank, world_size
        assert len(indices(sampler)) == len(sampler)
    return [indices(sampler) for sampler in samplers]


def test_processes_share_an_epoch():
    assert shards(6, 2) == [[0, 2, 4], [1, 3, 5]]  # side by side: the batches (0 1), (2 3), (4 5) of one process
    assert shards(7, 2) == [[0, 2, 4, 6], [1, 3, 5, 0]]  # rounded up with the first
    assert shards(7, 2, round_up=False) == [[0, 2, 4, 6], [1, 3, 5]]
    assert shards(2, 5) == [[0], [1], [0], [1], [0]]


def test_classes_are_balanced():
    targets = [0] * 9 + [1] * 3  # twelve draws: six of each class, so each of class 1 twice
    sampler = BalancedSampler(Items(targets), seed=0)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        drawn = indices(sampler)
        counts = np.bincount(drawn, minlength=12)
        assert len(drawn) == len(sampler) == 12
        assert counts[:9].sum() == 6
        assert counts[:9].max() == 1
        assert counts[9:].tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match=r"targets\(\), KeyedDataset has none"):
        BalancedSampler(KeyedDataset(Items(targets)))


def test_a_draw_that_does_not_divide_goes_to_changing_classes():
    sampler = BalancedSampler(Items([0, 0, 1, 1, 1, 1, 1]), seed=0)  # of seven draws three or four
    extra = set()
    for epoch in range(12):
        sampler.set_epoch(epoch)
        of_class_0 = sum(index < 2 for index in indices(sampler))
        extra.add(of_class_0)
    assert extra == {3, 4}


# ---- refusals ----


def test_nothing_stands_in_for_a_sample_the_pipeline_dropped():
    assert KeyedDataset(Dropping())[SampleKey(0, 0, 0)]["index"] == 0
    with pytest.raises(RuntimeError, match="Dropping returned None for sample 2"):
        KeyedDataset(Dropping())[SampleKey(0, 0, 2)]
    with pytest.raises(Exception, match="Cannot find valid image after 0"):  # mmengine's words
        KeyedDataset(ConcatDataset([Dropping(), Dropping()]))[SampleKey(0, 0, 5)]


def test_an_empty_data_set_is_refused():
    with pytest.raises(ValueError, match="Items is empty; look at its data_root"):
        build_dataloader(Items([]), dict(type="DefaultSampler"), 2, seed=0)


def test_too_few_samples_for_a_batch_are_refused_where_the_rest_is_dropped():
    with pytest.raises(ValueError, match=r"3 samples of Items .* are no batch of 4, .*drop_last=False"):
        build_dataloader(Items([0, 0, 1]), dict(type="DefaultSampler"), 4, seed=0, drop_last=True)
    assert len(build_dataloader(Items([0, 0, 1]), dict(type="DefaultSampler"), 3, seed=0, drop_last=True)) == 1


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("bright", "dark"), "class 0 .*'dark'.*'bright'"),
        (("dark",), "class 1 .*'bright'.*None"),
        (("dark", "bright", "grey"), "3 classes.*2.*model.head.num_classes=3"),
    ],
    ids=str,
)
def test_classes_that_change_their_numbers_or_have_no_place_are_refused(tmp_path, classes, message):
    settings = tiny.config(tmp_path, epochs=1)
    settings.val_dataloader.dataset.metainfo = {"classes": classes}
    with pytest.raises(ValueError, match=message):
        tiny.train(settings)


def test_the_tiny_set_is_found():
    assert tiny.TinyVolumes(length=3).targets().tolist() == [0, 1, 0]
