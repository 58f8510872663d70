"""Initialisations of a classifier on 5 %, 20 % and 100 % of the labels of AdrenalMNIST3D, two minutes of a CPU a run.

VDT3D_REAL_DATA=... python benchmarks/experiments/compare_adrenal.py WORK_DIR --weights-2d FILE --weights-vdt FILE
Every arm does the epochs that scratch does in the minutes, measured once. The epoch is chosen by the AUC on the
validation split; that checkpoint is tested once.
"""

from pathlib import Path

import compare
import hippocampus
import numpy as np
import record

CONFIG = "configs/medmnist/resnet3d-18w16_scratch_1xb32-cos-30e_adrenalmnist3d.py"
EXPERIMENT = "compare_adrenal"
TIMED = 3  # epochs while the clock is read


def main() -> None:
    args = compare.arguments(__doc__.partition("\n")[0], [0.05, 0.2, 1.0], 2, "epochs")
    data = record.real_data("adrenalmnist3d")
    options = [f"{part}_dataloader.dataset.data_root={data}" for part in ("train", "val", "test")]
    epochs = args.budget or next((line["epochs"] for line in compare.finished(EXPERIMENT)), None)
    if epochs is None:
        epochs = int(hippocampus.RESERVE * 60 * args.minutes / seconds_per_epoch(args.work_dir / "clock", options))
    compare.compare(EXPERIMENT, CONFIG, args, {"epochs": epochs}, [*options, f"train_cfg.max_epochs={epochs}"])


def seconds_per_epoch(folder: Path, options: list[str]) -> float:
    """The steps of an epoch times their mean time, the first steps left out."""
    record.train(CONFIG, folder, *options, f"train_cfg.max_epochs={TIMED}", "default_hooks.logger.interval=1")
    times = hippocampus.step_seconds(folder)
    return len(times) / TIMED * float(np.mean(times[hippocampus.WARM_UP :]))


if __name__ == "__main__":
    main()
