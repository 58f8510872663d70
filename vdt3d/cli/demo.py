"""From pictures to a tested 3D classifier on made-up data, in minutes; each step is a command you can type yourself.

Given again, it skips the trainings that are finished and resumes the one that was stopped.
"""

import json
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path

from vdt3d.cli.config import quiet_imports
from vdt3d.cli.jobs import say

EXAMPLE = "vdt3d demo --out work_dirs/demo"
PRETRAIN, CLASSIFY = "configs/debug/pretrain.py", "configs/debug/classify.py"
CASES = 8  # test cases on the page of predictions


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("work_dirs/demo"), help="where everything but the data goes")


def run(args: Namespace) -> None:
    out = args.out
    runs = {"from VDT": out / "from_vdt", "from scratch": out / "from_scratch"}
    say("1/5  Making fractal pictures and CT phantoms, and drawing what the networks are fed", "bold")
    command("browse", PRETRAIN, "--out", out / "pictures", "--overwrite")
    command("browse", CLASSIFY, "--out", out / "phantoms", "--overwrite")
    say("2/5  Pre-training a 3D network on the pictures, whose colours become slices (VDT)", "bold")
    command("train", PRETRAIN, "--resume", "--work-dir", out / "pretrain")
    say("3/5  Fine-tuning it to tell smooth nodules from spiculated ones", "bold")
    weights = f"load_from={last_checkpoint(out / 'pretrain')}"
    command("train", CLASSIFY, "--resume", "--work-dir", runs["from VDT"], "--cfg-options", weights)
    say("4/5  Training the same network from scratch", "bold")
    command("train", CLASSIFY, "--resume", "--work-dir", runs["from scratch"])
    say("5/5  Testing both", "bold")
    for folder in runs.values():
        table = f"test_evaluator.out={folder / 'predictions.csv'}"
        files = ("--work-dir", folder, "--out", folder / "test.json", "--overwrite", "--cfg-options", table)
        command("test", CLASSIFY, last_checkpoint(folder), *files)
    command("report", *runs.values(), "-o", out / "report.html", "--overwrite")
    draw(runs, out)
    report(runs, out)


def command(*words: object) -> None:
    """Run one ``vdt3d`` command in a process of its own, and leave with its exit code if it fails."""
    words = [str(word) for word in words]
    say(f"vdt3d {' '.join(words)}", "dim")
    if code := subprocess.run([sys.executable, "-m", "vdt3d.cli", *words], check=False).returncode:
        raise SystemExit(code)


def last_checkpoint(folder: Path) -> Path:
    """The checkpoint that a training wrote last."""
    quiet_imports()
    from vdt3d.engine.work_dir import latest_checkpoint

    return latest_checkpoint(folder)


def draw(runs: Mapping[str, Path], out: Path) -> None:
    """Draw the learning curves of all runs, and what the first of them said of some test cases."""
    import pandas as pd
    from mmengine.config import Config

    from vdt3d.registry import DATASETS
    from vdt3d.visualization import learning_curves, predictions_page, save

    save(learning_curves(runs), out / "learning_curves.png")
    folder = next(iter(runs.values()))
    said = pd.read_csv(folder / "predictions.csv", index_col="name")
    config = Config.fromfile(folder / Path(CLASSIFY).name, lazy_import=False)  # as the run kept it
    dataset = DATASETS.build(config.test_dataloader.dataset)
    cases = [dataset[index] for index in range(min(CASES, len(dataset)))]
    names = [case["data_samples"].sample_name for case in cases]
    page = predictions_page(
        [case["inputs"] for case in cases],
        said.truth[names].tolist(),
        said.loc[names, ["p0", "p1"]].to_numpy(),
        dataset.metainfo["classes"],
        names=names,
    )
    save(page, out / "predictions.png")


def report(runs: Mapping[str, Path], out: Path) -> None:
    """Say how both did on the test cases, whatever it is, where to look, and what to run next."""
    say("\nOn the test cases, at the end of the last epoch:")
    for name, folder in runs.items():
        scores = json.loads((folder / "test.json").read_text())
        auc, low, high = (scores[key] for key in ("auc", "auc_low", "auc_high"))
        say(f"  {name:14}AUC {auc:.3f} (95 % interval {low:.3f} to {high:.3f})  accuracy {scores['accuracy']:.3f}")
    cases = sum(scores[key] for key in ("tp", "fp", "tn", "fn"))
    say(f"{cases} made-up cases and one seed: a look at the machinery, no evidence for either.")
    say("\nWhere to look", "bold")
    say(f"""  {out}/report.html            both tests side by side, and every case to scroll through
  {out}/predictions.png        test cases, and what the network says of them
  {out}/learning_curves.png    both trainings
  {out}/pictures, phantoms     what the networks are fed
  {out}/from_vdt/*/*.log       everything, as text""")
    say("What to run next (source .venv/bin/activate puts vdt3d on the path)", "bold")
    say(f"""  tensorboard --logdir {out}
  vdt3d print-config {CLASSIFY}
  vdt3d test {CLASSIFY} {last_checkpoint(runs["from VDT"])}
  vdt3d train {CLASSIFY} --cfg-options load_from={last_checkpoint(out / "pretrain")} randomness.seed=1""")
