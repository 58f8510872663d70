"""Several processes on one machine, over gloo: they train, resume and test as one process does."""

import json
import os
import socket
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import processes
import pytest
import test_models_contract
import tiny
import torch
from torch.nn.parallel import DistributedDataParallel

from vdt3d.cli import main
from vdt3d.cli.config import load_run_config
from vdt3d.engine import Preempted, Runner, runner
from vdt3d.engine.distributed import (
    GROUPS,
    _read_slurm,
    distributed_left_after,
    init_distributed,
    require_launcher,
)
from vdt3d.engine.hooks import checkpoint as checkpoint_hook
from vdt3d.models import PictureEncoder

ROOT = Path(__file__).parents[1]
# Each of two processes draws dropout of its own, keeps running statistics of its own and accumulates over three steps.
EXACT = dict(
    batch_size=1,
    ema=True,
    epochs=3,
    launcher="pytorch",
    optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9), accumulative_counts=3),
)
# A network whose result does not depend on how a batch is shared out.
SHARED = dict(
    norm="GN", batch_size=1, epochs=2, launcher="pytorch", optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1))
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def train_rank(folder: Path, settings: dict, resume: bool = False, stop_rank: int | None = None) -> None:
    """Train as one of several processes; ``stop_rank`` alone is asked to stop, in its seventh iteration."""
    os.chdir(folder)
    rank = int(os.environ["RANK"])
    if rank:
        runner.write_checkpoint = checkpoint_hook.write_aside = forbidden
    hooks = (dict(type="SignalHook", at=6, name="SIGTERM"),) if rank == stop_rank else ()
    tiny.train(tiny.config(folder, hooks=hooks, **settings), resume)


def forbidden(*args: object) -> None:
    raise AssertionError("only the first process may write")


def run_ranks(folder: Path, settings: dict, *args: object) -> list[int]:
    """Train on two processes; their exit codes."""
    folder.mkdir(exist_ok=True)
    return [outcome.code for outcome in processes.ranks(train_rank, (folder, settings, *args), free_port())]


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    """A run on two processes of one sample each."""
    folder = tmp_path_factory.mktemp("shared")
    assert run_ranks(folder, SHARED) == [0, 0]
    return folder


def test_two_processes_train_as_one_with_their_batches_together(shared, tmp_path):
    alone = tiny.train(tiny.config(tmp_path, **{**SHARED, "batch_size": 2, "launcher": "none"}))
    together = tiny.saved(shared / "epoch_2.pth")
    assert together["meta"]["iter"] == alone.iter == 8
    for key, value in alone.model.state_dict().items():
        torch.testing.assert_close(together["state_dict"][key], value, rtol=0, atol=1e-6, msg=key)
    start = tiny.saved(shared / "epoch_1.pth")["state_dict"]
    assert max((start[key] - together["state_dict"][key]).abs().max() for key in start) > 1e-3  # it did train


ENCODERS = ("timm.test_efficientnet", "timm.ghostnet_050", "timm.test_byobnet", "timm.rexnet_100")


def step_backbones() -> list[str]:
    """Let every registered backbone, and encoders of timm, take two steps on two processes; return their names."""
    init_distributed("pytorch", timeout_s=60)
    volumes = {name: test_models_contract.build(name) for name in test_models_contract.BACKBONES}
    pictures = {name: PictureEncoder(name, in_channels=1) for name in ENCODERS}
    for name, backbone in (volumes | pictures).items():
        x = torch.randn(2, 1, 64, 64) if name in pictures else torch.randn(2, 1, 3, 64, 64)
        network = DistributedDataParallel(backbone)
        for _ in range(2):  # a parameter without gradient is refused in the step after
            sum(feature.square().mean() for feature in network(x)).backward()
    return [*volumes, *pictures]


def test_two_processes_train_every_backbone():
    one, other = processes.ranks(step_backbones, (), free_port())
    assert one == other and set(ENCODERS) < set(one.result) and one.code == 0


def test_the_first_process_alone_writes(shared):
    lines = [json.loads(line) for line in (shared / "scores.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert len(list(shared.glob("*/*.log"))) == 1
    assert sorted(path.name for path in shared.glob("*.pth")) == ["epoch_1.pth", "epoch_2.pth"]


def test_a_stop_one_process_hears_of_stops_and_resumes_all(tmp_path):
    whole = tmp_path / "whole"
    assert run_ranks(whole, EXACT) == [0, 0]
    assert run_ranks(tmp_path, EXACT, False, 1) == [143, 143]
    states = tiny.saved(tmp_path / "preempted.pth")["processes"]
    gradients = [state["gradients"]["head.fc.weight"] for state in states]
    assert not torch.equal(*gradients)  # of different samples, not yet shared
    assert run_ranks(tmp_path, EXACT, True) == [0, 0]
    assert tiny.same_run(whole / "epoch_3.pth", tmp_path / "epoch_3.pth") == []


def test_another_number_of_processes_is_said_and_goes_on(shared, tmp_path):
    alone = tiny.train(
        tiny.config(tmp_path, norm="GN", batch_size=2, epochs=3, optim_wrapper=SHARED["optim_wrapper"]),
        resume=str(shared / "epoch_2.pth"),
    )
    assert (alone.epoch, alone.iter) == (3, 12)
    log = next(tmp_path.glob("*/*.log")).read_text()
    assert "The checkpoint comes from 2 processes and this run has 1" in log


def test_parts_that_join_and_averaged_weights_are_those_of_one_process(tmp_path):
    norm = dict(type="GN", num_groups=2)
    model = tiny.config(tmp_path).model.to_dict()
    model["backbone"] = dict(type="ResNet3D", depth=10, base_channels=4, norm_cfg=norm, zero_init_residual=False)
    model["head"]["in_channels"] = 32
    hooks = [dict(type="UnfreezeHook", every=1), dict(type="SWAHook", begin_epoch=2)]
    settings = {**SHARED, "model": model, "custom_hooks": hooks}
    assert run_ranks(tmp_path / "refused", settings) == [1, 1]  # without find_unused_parameters
    settings["find_unused_parameters"] = True
    assert run_ranks(tmp_path / "two", settings) == [0, 0]
    tiny.train(tiny.config(tmp_path / "one", **{**settings, "batch_size": 2, "launcher": "none"}))
    two, one = (tiny.saved(tmp_path / name / "epoch_2.pth")["state_dict"] for name in ("two", "one"))
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=0, atol=1e-5, msg=key)
    start = tiny.saved(tmp_path / "one/epoch_1.pth")["state_dict"]
    moved = {key.split(".")[1] for key in start if not torch.equal(start[key], one[key])}
    assert moved == {"layer4", "fc"}  # in the second epoch


def score(folder: Path, checkpoint: Path, launcher: str) -> dict:
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    hooks = (dict(type="ReportHook"),)
    return Runner.from_cfg(tiny.config(folder, hooks=hooks, launcher=launcher, load_from=str(checkpoint))).test()


def reported(folder: Path) -> list[tuple[str, float]]:
    """Case by case name and score, of those with pictures that are there."""
    cases = json.loads((folder / "test/cases.json").read_text())["cases"]
    return [
        (case["name"], case["score"])
        for case in cases
        if (folder / "test/cases" / case["pictures"]["files"]["image"]).is_file()
    ]


def test_seven_cases_on_two_processes_score_as_on_one(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    tiny.train(tiny.config(folder, epochs=1))
    checkpoint = folder / "epoch_1.pth"
    one = processes.call(score, tmp_path / "one", checkpoint, "none")
    two = processes.ranks(score, (tmp_path / "two", checkpoint, "pytorch"), free_port())
    assert [outcome.code for outcome in (one, *two)] == [0, 0, 0]
    assert one.result["tp"] + one.result["fp"] + one.result["tn"] + one.result["fn"] == 7
    assert two[0].result == one.result
    assert reported(tmp_path / "two") == reported(tmp_path / "one") and len(reported(tmp_path / "two")) == 7
    assert len(list((tmp_path / "two/test/cases").iterdir())) == 7  # the eighth, which fills the round, left nothing


def is_left(end: str) -> bool:
    """Whether the process group is gone after a block that ends so."""
    init_distributed("pytorch", timeout_s=60)
    torch.distributed.barrier()  # lest one that fails at once resets the connections the other is still making
    try:
        with distributed_left_after():
            if end != "done":
                raise {"preempted": Preempted, "failed": KeyError}[end]
    except (Preempted, KeyError):
        pass
    return not torch.distributed.is_initialized()


@pytest.mark.parametrize(("end", "left"), [("done", True), ("preempted", True), ("failed", False)])
def test_the_process_group_is_left_in_order_and_never_waited_for_after_an_error(end, left):
    assert [outcome.result for outcome in processes.ranks(is_left, (end,), free_port())] == [left, left]


def test_two_nodes_of_torchrun_train_together(shared, tmp_path):
    config, port = tmp_path / "config.py", free_port()
    tiny.config(tmp_path, **SHARED).dump(config)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}

    def start(node: int) -> subprocess.Popen:
        launch = ["-m", "torch.distributed.run", "--nnodes=2", f"--node-rank={node}", "--nproc-per-node=1"]
        where = ["--master-addr=127.0.0.1", f"--master-port={port}"]
        script = [str(ROOT / "tools/train.py"), str(config), "--launcher", "pytorch", "--work-dir", str(tmp_path)]
        return subprocess.Popen([sys.executable, *launch, *where, *script], env=environment, cwd=tmp_path)

    nodes = [start(0), start(1)]
    assert [node.wait(timeout=300) for node in nodes] == [0, 0]
    assert tiny.same_run(shared / "epoch_2.pth", tmp_path / "epoch_2.pth") == []


def test_what_slurm_says_is_what_torchrun_would(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")  # so that what is set below is taken back
        monkeypatch.delenv(name)
    for name, value in (("PROCID", "5"), ("LOCALID", "1"), ("NTASKS", "8"), ("NNODES", "1")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    _read_slurm()
    assert [os.environ[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")] == ["5", "1", "8"]
    assert os.environ["MASTER_ADDR"] == socket.gethostname()
    assert os.environ["MASTER_PORT"].isdigit()


# ---- refusals ----


@pytest.mark.parametrize(
    ("size", "remedy"),
    [
        ("WORLD_SIZE", "--launcher pytorch"),
        ("SLURM_STEP_NUM_TASKS", "--launcher slurm"),
        ("OMPI_COMM_WORLD_SIZE", "tools/dist_train.sh"),
    ],
)
def test_processes_without_a_launcher_are_refused(size, remedy, tmp_path, monkeypatch, capsys):
    for names in GROUPS.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RANK", "1")
    assert (require_launcher("none"), require_launcher("pytorch")) == (0, 1)
    monkeypatch.setenv(size, "2")
    path = tmp_path / "tiny_config.py"
    tiny.config(tmp_path).dump(path)
    for words in (["train", str(path)], ["test", str(path), "none.pth"]):
        with pytest.raises(SystemExit, match="2"):
            main([*words, "--work-dir", str(tmp_path / "run")])
        said = capsys.readouterr().err
        assert f"2 processes were started ({size})" in said and remedy in said
    assert not (tmp_path / "run").exists()


def test_the_launcher_of_a_config_is_kept_unless_the_command_names_one(tmp_path):
    path = tmp_path / "tiny_config.py"
    tiny.config(tmp_path, launcher="pytorch").dump(path)
    args = Namespace(config=path, cfg_options=[], work_dir=None, launcher=None)
    assert load_run_config(args).launcher == "pytorch"
    args.launcher = "none"
    assert load_run_config(args).launcher == "none"


def test_a_wrapper_that_would_not_be_used_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"model_wrapper_cfg=.*FSDP"):
        Runner.from_cfg(tiny.config(tmp_path, model_wrapper_cfg=dict(type="MMFullyShardedDataParallel_FSDP")))


def test_a_used_directory_is_refused_by_every_process(shared):
    before = {path: path.stat().st_mtime_ns for path in shared.iterdir()}
    found = processes.ranks(train_rank, (shared, SHARED), free_port())
    assert all(one.code == 1 and one.result.startswith("WorkDirError") for one in found)
    assert {path: path.stat().st_mtime_ns for path in shared.iterdir()} == before


@pytest.mark.parametrize(
    ("launcher", "message"),
    [
        ("mpi", "launcher 'mpi' is unknown; there are none, pytorch, slurm"),
        ("pytorch", "RANK, LOCAL_RANK, .* not set: start with tools/dist_train.sh"),
        ("slurm", "SLURM_PROCID is not set: start with tools/slurm_train.sh"),
    ],
)
def test_a_process_nobody_launched_is_told_how(monkeypatch, launcher, message):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=message):
        init_distributed(launcher, timeout_s=5)
