"""Choose, on the validation cases, the probability above which a voxel belongs to a region, for each region.

For models whose head has regions. Of 0.05, 0.10, ... 0.95 the threshold with the best mean Dice is taken. Labels are
not cleaned up (post_process) meanwhile, and the test cases are not looked at.
"""

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path

from vdt3d.cli.config import CHECKPOINT, add_run_arguments, load_run_config, test_on_validation
from vdt3d.cli.outputs import add_overwrite_argument

EXAMPLE = "vdt3d choose-thresholds my_slices.py work_dirs/my_slices/best_dice.pth --out thresholds.json"


def add_arguments(parser: ArgumentParser) -> None:
    add_run_arguments(parser)
    parser.add_argument("checkpoint", help=CHECKPOINT)
    parser.add_argument("--out", type=Path, required=True, help="json file for the thresholds and what they give")
    add_overwrite_argument(parser)


def run(args: Namespace) -> None:
    from medseg.evaluation.report import check_suffix
    from vdt3d.utils.outputs import check_outputs

    check_suffix(args.out, (".json",))
    check_outputs([args.out], overwrite=args.overwrite)
    config = load_run_config(args)
    from mmengine.dist import is_main_process
    from rich.console import Console

    from vdt3d.engine import distributed_left_after
    from vdt3d.utils.files import write_aside

    config.load_from, config.resume = args.checkpoint, False
    with distributed_left_after():
        chosen, cases = survey(config)
        if not is_main_process():
            return
    thresholds = {name: choice.threshold for name, choice in chosen.items()}
    report = {
        "thresholds": thresholds,
        "dice": {name: choice.dice for name, choice in chosen.items()},
        "dice_at_0.5": {name: choice.dice_at_half for name, choice in chosen.items()},
        "cases": cases,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_aside(args.out, lambda aside: aside.write_text(json.dumps(report, indent=2) + "\n"))
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(table(chosen))
    console.print(f"chosen on {cases} cases; for the config: model = dict(test_cfg=dict(thresholds={thresholds}))")


def survey(config) -> tuple[dict, int]:
    """The ``Choice`` of each region, and how many cases the validation has.

    Raises:
        ValueError: the model has no regions or no inferer, or the cases tell no threshold.
    """
    from mmengine.dist import all_gather_object
    from mmengine.model import is_model_wrapper

    from medseg.evaluation.thresholds import ThresholdSurvey, choose
    from vdt3d.engine import Runner
    from vdt3d.inference import PostProcess

    test_on_validation(config)
    config.test_evaluator = []
    # Nothing is scored, so the run's records of scores stay as they are.
    hooks = config.get("default_hooks", {})
    config.default_hooks = {name: hook for name, hook in hooks.items() if name not in ("scores", "record")}
    runner = Runner.from_cfg(config)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    inferer, labels = getattr(model, "inferer", None), getattr(model, "labels", None)
    if inferer is None or labels is None:
        raise ValueError(
            f"{type(model).__name__} labels no whole scans; wanted is a segmentor with regions and "
            "test_cfg=dict(inferer=dict(type=...))"
        )
    inferer.post_process = PostProcess()
    model.inferer = ThresholdSurvey(inferer, labels.regions, labels.table)
    runner.test()
    counts: dict = {}
    for of_process in all_gather_object(model.inferer.counts):
        counts |= of_process
    if len(counts) < (cases := len(runner.test_dataloader.dataset)):
        raise ValueError(f"{cases} cases have only {len(counts)} names among them; each needs its own")
    return choose(counts, list(labels.regions)), len(counts)


def table(chosen: Mapping):
    """A row per region: its threshold and the mean Dice, beside that at 0.5."""
    from rich.table import Table

    rows = Table("region", "threshold", "dice", "dice at 0.5", box=None, pad_edge=False)
    for name, choice in chosen.items():
        rows.add_row(name, f"{choice.threshold:.2f}", f"{choice.dice:.4f}", f"{choice.dice_at_half:.4f}")
    return rows
