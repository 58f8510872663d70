"""The commands of docs/tuning.md run as printed, only shorter."""

import re
import shlex
from pathlib import Path

import pytest
from test_readme import commands, page_text

from vdt3d.cli import jobs, main

SHORT = ["train_cfg.max_epochs=1", "model.backbone.base_channels=4"]
SHORT += [f"{split}_dataloader.dataset.make.cases=60" for split in ("train", "val", "test")]
SHORTER = {
    "overfit": ["--steps", "5"],
    "lr_find": ["--steps", "10"],
    "kfold": ["--folds", "2"],
    "tune": ["--trials", "1"],
}


def test_the_commands_of_the_guide_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "configs").symlink_to(Path(__file__).parents[1] / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jobs, "execute", lambda job, *_: job.run() or 0)
    (space,) = re.findall(r"```yaml\n(.*?)```", page_text("docs/tuning.md"), re.DOTALL)
    Path("space.yaml").write_text(space.replace("low: 8, high: 32", "low: 4, high: 8").replace("step: 8", "step: 4"))
    found = commands("docs/tuning.md")
    assert len(found) == 4
    for command in found:
        name = Path(shlex.split(command)[1]).stem
        words = [name.replace("_", "-"), *shlex.split(command)[2:], *SHORTER[name], "--cfg-options", *SHORT]
        if name == "overfit":  # five steps do not do
            with pytest.raises(SystemExit, match="1"):
                main(words)
        else:
            main(words)
    for path in (
        "classify/lr_find.png",
        "classify/overfit.json",
        "classify_kfold/kfold.json",
        "classify_tune/tune.png",
    ):
        assert Path(f"work_dirs/{path}").exists()
