"""Fit a temperature on validation, so that probabilities mean what they say, and tell what it does in the test.

For classifiers, and for segmentors voxel by voxel; of several checkpoints, or draws of dropout, their mean is
calibrated. Written are temperature.json and reliability.png.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

from vdt3d.cli.config import (
    CHECKPOINT,
    add_dropout_argument,
    add_run_arguments,
    answer_with,
    load_run_config,
    test_on_validation,
)
from vdt3d.cli.outputs import add_overwrite_argument

EXAMPLE = "vdt3d calibrate configs/debug/classify.py work_dirs/classify/epoch_15.pth"
SHOWN = ("ece", "ece_equal_mass", "brier", "log_loss", "accuracy", "confidence")


def add_arguments(parser: ArgumentParser) -> None:
    add_run_arguments(parser)
    parser.add_argument("checkpoint", nargs="+", help=f"{CHECKPOINT}; several: ensemble")
    add_dropout_argument(parser)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="of the two files (default: the work directory)")
    add_overwrite_argument(parser)


def run(args: Namespace) -> None:
    from vdt3d.utils.outputs import check_outputs

    if args.out is not None:
        check_outputs([args.out / "temperature.json", args.out / "reliability.png"], overwrite=args.overwrite)
    config = load_run_config(args, "test_dataloader")
    from mmengine.dist import is_main_process
    from rich.console import Console
    from scipy.special import softmax

    from vdt3d.engine import distributed_left_after
    from vdt3d.evaluation import calibration_scores, fit_temperature, reliability
    from vdt3d.experiments.calibration import gather_answers
    from vdt3d.utils.files import write_json
    from vdt3d.visualization import reliability_diagram, save

    answer_with(config, args.checkpoint, args.mc_dropout)
    validation = deepcopy(config)
    test_on_validation(validation)
    with distributed_left_after():
        fitted_on, tested_on = gather_answers(validation), gather_answers(config)
        if not is_main_process():
            return
    temperature = fit_temperature(fitted_on.logits, fitted_on.truth)
    probabilities = {
        "before": softmax(tested_on.logits.astype(float), axis=1),
        "after": softmax(tested_on.logits.astype(float) / temperature, axis=1),
    }
    scores = {when: calibration_scores(said, tested_on.truth) for when, said in probabilities.items()}
    out = args.out or Path(config.work_dir)
    report = {"temperature": temperature, "fitted_on": _told(fitted_on), "tested_on": _told(tested_on), **scores}
    write_json(out / "temperature.json", report)
    curves = {when: reliability(said, tested_on.truth) for when, said in probabilities.items()}
    notes = {when: f"ECE {of_these['ece']:.3f}" for when, of_these in scores.items()}
    save(reliability_diagram(curves, notes), out / "reliability.png")
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(table(scores))
    console.print(
        f"fitted on {fitted_on.cases} validation cases; for the config: "
        f"model = dict(test_cfg=dict(inferer=dict(temperature={temperature:.4f})))"
    )


def _told(answers) -> dict[str, int]:
    return {"cases": answers.cases, "answers": len(answers.truth)}


def table(scores: Mapping[str, Mapping[str, float]]):
    """A row per score of the test cases, before and after."""
    from rich.table import Table

    rows = Table("test", *scores, box=None, pad_edge=False)
    for name in SHOWN:
        rows.add_row(name, *(f"{of_these[name]:.4f}" for of_these in scores.values()))
    return rows
