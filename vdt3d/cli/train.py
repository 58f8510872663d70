"""Train the model of a config."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from vdt3d.cli.config import add_run_arguments, load_run_config

EXAMPLE = """vdt3d train configs/debug/classify.py --work-dir work_dirs/classify
vdt3d train configs/debug/classify.py --work-dir work_dirs/classify --resume
vdt3d train configs/debug/classify.py --cfg-options optim_wrapper.optimizer.lr=1e-3"""


def add_arguments(parser: ArgumentParser) -> None:
    add_run_arguments(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="continue the run in --work-dir from its last checkpoint, or from this one",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="delete the run that --work-dir contains, and train from the beginning"
    )
    parser.add_argument("--amp", action="store_true", help="mixed precision: bf16 on the CPU, bf16 or fp16 on the GPU")
    parser.add_argument("--auto-scale-lr", action="store_true", help="scale the learning rate with the real batch size")


def run(args: Namespace) -> None:
    if args.resume not in (None, "auto") and not Path(args.resume).is_file():
        raise FileNotFoundError(f"--resume {args.resume}: there is no such checkpoint")
    config = load_run_config(args, "train_dataloader")
    from vdt3d.engine import Runner, distributed_left_after
    from vdt3d.engine.distributed import require_launcher
    from vdt3d.engine.work_dir import require_free

    if args.resume is not None:
        config.resume = True if args.resume == "auto" else args.resume
    config.overwrite = args.overwrite or config.get("overwrite", False)
    if require_launcher(config.launcher) == 0:  # before a model is built; the runner checks again when it trains
        require_free(Path(config.work_dir), resume=config.get("resume", False), overwrite=config.overwrite)
    if args.amp:
        config.optim_wrapper.type = "AmpOptimWrapper"
    if args.auto_scale_lr:
        if "auto_scale_lr" not in config:
            raise ValueError(f"--auto-scale-lr: {args.config} says no auto_scale_lr = dict(base_batch_size=...)")
        config.auto_scale_lr.enable = True
    with distributed_left_after():
        Runner.from_cfg(config).train()
