"""Initialisations of the hippocampus U-Net on 10 % and 100 % of 150 labelled cases, six minutes of a CPU a run.

VDT3D_REAL_DATA=... python benchmarks/experiments/compare_hippocampus.py WORK_DIR --weights-2d FILE --weights-vdt FILE
Every arm does the steps that scratch does in the minutes, measured once. The checkpoint is chosen on 30 cases and
reported once on 40, both with left-right flips.
"""

import compare
import hippocampus
import record

CONFIG = hippocampus.CONFIG
EXPERIMENT = "compare_hippocampus"


def main() -> None:
    args = compare.arguments(__doc__.partition("\n")[0], [0.1, 1.0], 6, "steps")
    data = record.real_data("msd_task04_hippocampus")
    options = hippocampus.data_options(data)
    steps = args.budget or next((line["steps"] for line in compare.finished(EXPERIMENT)), None)
    if steps is None:
        per_step = hippocampus.seconds_per_step(CONFIG, args.work_dir / "clock", options)
        steps = int(hippocampus.RESERVE * 60 * args.minutes / per_step)
    interval = steps // hippocampus.VALIDATIONS
    steps = interval * hippocampus.VALIDATIONS
    options += [
        f"train_cfg.max_iters={steps}",
        f"train_cfg.val_interval={interval}",
        f"default_hooks.checkpoint.interval={interval}",
        f"model.test_cfg.inferer.flips={hippocampus.FLIPS}",
    ]
    compare.compare(EXPERIMENT, CONFIG, args, {"steps": steps}, options)


if __name__ == "__main__":
    main()
