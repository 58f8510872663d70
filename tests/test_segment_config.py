"""configs/debug/segment.py from start to end: it learns, its labels lie on the scans, every road scores them alike."""

import json
import shutil
import traceback
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tiny
import torch
from mmengine.config import Config

from medseg.datasets import write_organs_msd
from vdt3d.cli import main
from vdt3d.engine import Runner

ROOT = Path(__file__).resolve().parents[1]
CONFIG = str(ROOT / "configs/debug/segment.py")
SPLITS = ("train", "val", "test")
EPOCHS, INTERVAL = 30, 10  # of two steps each
LEARNT = 0.4  # of the organs' mean Dice; the whole run comes to 0.95


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantoms of the config, fewer, as a tilted scanner whose origin is elsewhere would have seen them."""
    folder = write_organs_msd(tmp_path_factory.mktemp("segment") / "organs", cases=6)
    angle = np.radians(10)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    for path in folder.glob("*/*.nii.gz"):
        scan = nib.load(path)
        affine = scan.affine.copy()
        affine[:3, :3], affine[:3, 3] = turn @ affine[:3, :3], (-120, 40, 1000)
        array = np.asanyarray(scan.dataobj)
        nib.save(nib.Nifti1Image(array, affine, dtype=array.dtype), path)
    return folder


def overrides(data: Path) -> list[str]:
    """What makes the run short; ``make`` must be what the folder was made with."""
    places = [f"{split}_dataloader.dataset.{s}" for split in SPLITS for s in (f"data_root={data}", "make.cases=6")]
    return [
        *places,
        f"train_cfg.max_epochs={EPOCHS}",
        f"train_cfg.val_interval={INTERVAL}",
        f"default_hooks.checkpoint.interval={INTERVAL}",
        f"param_scheduler.milestones=[{EPOCHS - 6}]",
    ]


@pytest.fixture(scope="module")
def run(data: Path) -> Path:
    """The folder of a run by the command."""
    folder = data.parent / "run"
    main(["train", CONFIG, "--work-dir", str(folder), "--cfg-options", *overrides(data)])
    return folder


def test_it_learns(run: Path):
    lines = [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [10, 20, 30]
    first, _, last = (line["dice"] for line in lines)
    assert max(first + 0.1, LEARNT) < last
    assert {path.name for path in run.glob("*.pth")} == {"best_dice.pth", *(f"epoch_{n}.pth" for n in (10, 20, 30))}
    assert tiny.saved(run / "best_dice.pth")["meta"]["epoch"] == EPOCHS


def test_predictions_lie_on_the_scans_and_are_scored_alike_by_every_road(run: Path, data: Path, capsys):
    checkpoint, options = str(run / "best_dice.pth"), ["--work-dir", str(run), "--cfg-options", *overrides(data)]
    predictions, truths = run / "predictions", run / "truths"
    main(["test", CONFIG, checkpoint, "--out", str(run / "tested.json"), *options])
    main(["test", CONFIG, checkpoint, "--format-only", str(predictions), *options])
    assert str(predictions) in capsys.readouterr().out.splitlines()[-1]

    truths.mkdir()
    names = sorted(path.name for path in predictions.iterdir())
    assert len(names) == 2  # of 6 cases in 5 parts, the largest
    for name in names:
        shutil.copy(data / "labels" / name, truths)
        guess, scan = nib.load(predictions / name), nib.load(data / "images" / name)
        np.testing.assert_allclose(guess.affine, scan.affine, atol=1e-5)  # spacing, direction, origin
        assert guess.shape == scan.shape
        assert guess.get_data_dtype() == np.uint8

    organs = ["spine=1", "liver=2", "spleen=3", "right_kidney=4", "left_kidney=5"]
    main(["evaluate", str(predictions), str(truths), "--labels", *organs, "--out", str(run / "evaluated.json")])
    tested, evaluated = (json.loads((run / name).read_text()) for name in ("tested.json", "evaluated.json"))
    mean = evaluated["summary"]["mean"]
    assert tested["dice"] == mean["dice"]["mean"] > LEARNT
    assert tested["dice_pooled"] == mean["dice_pooled"]
    for organ, entry in evaluated["summary"]["labels"].items():
        assert tested[f"dice_{organ}"] == entry["dice"]["mean"]


def train(folder: Path, data: Path, *, resume: bool = False, stop_at: int | None = None) -> Path:
    """Three epochs of two steps, two workers, a validation after two; ``stop_at``: SIGTERM comes within that step."""
    config = Config.fromfile(CONFIG, lazy_import=False)
    config.merge_from_dict(dict(option.split("=", 1) for option in overrides(data)[:6]))
    for split in SPLITS:
        config[f"{split}_dataloader"].dataset.make.cases = 6
    config.train_dataloader.update(num_workers=2)
    config.train_cfg.update(max_epochs=3, val_interval=2)
    config.default_hooks.checkpoint.interval = 2
    config.merge_from_dict(dict(work_dir=str(folder), resume=resume, visualizer=None))
    if stop_at is not None:
        config.custom_hooks = [dict(type="SignalHook", at=stop_at, name="SIGTERM")]
    Runner.from_cfg(config).train()
    return folder / "epoch_3.pth"


def test_a_run_that_was_stopped_and_resumed_equals_the_one_that_was_not(data: Path, tmp_path: Path):
    whole = train(tmp_path / "whole", data)
    with pytest.raises(SystemExit) as stopped:
        train(tmp_path / "stopped", data, stop_at=4)
    traceback.clear_frames(stopped.tb)  # they hold the loader's workers
    assert tiny.saved(tmp_path / "stopped/preempted.pth")["meta"]["iter"] == 5
    resumed = train(tmp_path / "stopped", data, resume=True)
    assert tiny.same_run(whole, resumed) == []
    first, last = tiny.saved(tmp_path / "whole/epoch_2.pth"), tiny.saved(whole)
    assert tiny.differences(first["state_dict"], last["state_dict"])  # it did train
