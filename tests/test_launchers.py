"""The shell launchers: what they start, with which place in the group, and one real run of two processes."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAUNCHERS = sorted(path.name for path in (ROOT / "tools").glob("[!_]*.sh"))
PARROT = '#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n'  # says its arguments, one on a line


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The launchers beside a fake .venv whose python says what it was asked to do."""
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    shutil.copy(ROOT / "pre_train.sh", tmp_path)
    (tmp_path / "medseg").mkdir()
    for script in (ROOT / "medseg").glob("*.sh"):
        shutil.copy(script, tmp_path / "medseg")
    executable(tmp_path / ".venv/bin/python", PARROT)
    return tmp_path


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def launch(script: Path, *words: str, **environment: str) -> subprocess.CompletedProcess:
    """Run a launcher from the root folder, in an environment that knows of no cluster but the one given."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    plain = {"PATH": path, "HOME": os.environ.get("HOME", "/"), "PORT": str(free_port())}
    words = ["bash", str(script), *words]
    return subprocess.run(words, capture_output=True, text=True, cwd="/", env=plain | environment, check=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("name", LAUNCHERS)
def test_too_few_words_are_answered_with_the_usage(name: str):
    done = launch(ROOT / "tools" / name, "configs/debug/classify.py")
    assert done.returncode == 2
    assert done.stderr.startswith(f"usage: bash tools/{name} ")


def test_dist_train_is_one_node_by_default(checkout: Path):
    port = str(free_port())
    words = ["--amp", "--cfg-options", "init=i3d"]
    said = launch(checkout / "tools/dist_train.sh", "c.py", "2", *words, PORT=port).stdout.splitlines()
    assert said[0] == f"{checkout}/tools/_torchrun.py"
    places = dict(zip(said[1:11:2], said[2:11:2], strict=True))
    assert places == {
        "--nnodes": "1",
        "--node_rank": "0",
        "--nproc_per_node": "2",
        "--master_addr": "127.0.0.1",
        "--master_port": port,
    }
    assert said[11:] == [f"{checkout}/tools/train.py", "c.py", *words, "--launcher", "pytorch"]


def test_dist_test_respects_the_place_among_nodes(checkout: Path):
    place = {"NNODES": "3", "NODE_RANK": "1", "MASTER_ADDR": "10.0.0.7", "PORT": "4321"}
    said = launch(
        checkout / "tools/dist_test.sh", "c.py", "e.pth", "8", "--out", "a b.json", **place
    ).stdout.splitlines()
    assert said[2:11:2] == ["3", "1", "8", "10.0.0.7", "4321"]
    assert said[11:] == [f"{checkout}/tools/test.py", "c.py", "e.pth", "--out", "a b.json", "--launcher", "pytorch"]


def test_a_taken_port_is_said(checkout: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = launch(checkout / "tools/dist_train.sh", "c.py", "2", PORT=str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "is taken" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("words", "place", "said"),
    [
        (["2", "c.py"], {}, "GPUS is 'c.py', but should be a whole number from 1 to 9999"),
        (["c.py", "0"], {}, "GPUS is '0', but should be a whole number from 1 to 9999"),
        (["c.py", "2"], {"NNODES": "two"}, "NNODES is 'two', but should be a whole number from 1 to 9999"),
        (["c.py", "2"], {"NODE_RANK": "1"}, "NODE_RANK is '1', but should be a whole number from 0 to 0"),
        (["c.py", "2"], {"PORT": "70000"}, "PORT is '70000', but should be a whole number from 1 to 65535"),
    ],
)
def test_a_wrong_place_is_said_in_a_line(words: list[str], place: dict[str, str], said: str, checkout: Path):
    done = launch(checkout / "tools/dist_train.sh", *words, **place)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said + "\n")


def test_nodes_without_the_address_of_the_first_look_for_it_here_and_say_so(checkout: Path):
    done = launch(checkout / "tools/dist_train.sh", "c.py", "2", NNODES="2")
    assert done.stdout.splitlines()[7:9] == ["--master_addr", "127.0.0.1"]
    assert done.stderr.startswith("MASTER_ADDR is not set") and done.stderr.count("\n") == 1


def test_processes_that_fail_pass_their_exit_code_on_without_a_traceback(tmp_path: Path):
    settings = ("--work-dir", str(tmp_path), "--cfg-options", "train_dataloader.dataset.type=Nothing")
    done = launch(ROOT / "tools/dist_train.sh", "configs/debug/classify.py", "2", *settings, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 2
    assert done.stderr.count("no dataset is registered as 'Nothing'") == 1  # not once for each process
    assert "Traceback" not in done.stderr


def test_pre_train_is_the_released_recipe_on_eight(checkout: Path):
    said = launch(checkout / "pre_train.sh").stdout.splitlines()
    assert said[6] == "8"
    config = said[12]
    assert (ROOT / config).is_file(), config
    assert launch(checkout / "pre_train.sh", "4", "--amp").stdout.splitlines()[13] == "--amp"


# Processes when none are named: what the scripts of the original release had.
SEGMENTATION = {"bcv": "4", "lidc": "4", "LiTS": "8"}


@pytest.mark.parametrize("data", SEGMENTATION)
def test_the_released_segmentation_trains_both_arms_alike(data: str, checkout: Path):
    said = launch(checkout / f"medseg/{data}_train.sh").stdout.splitlines()
    first, second = said[: len(said) // 2], said[len(said) // 2 :]
    for arm, weights in ((first, "vdt"), (second, "scratch")):
        assert arm[6] == SEGMENTATION[data]
        assert arm[11] == f"{checkout}/tools/train.py"
        assert f"_{weights}_" in arm[12] and (ROOT / arm[12]).is_file(), arm[12]
        assert arm[13:] == ["--auto-scale-lr", "--launcher", "pytorch"]  # the schedules are told for eight processes
    assert first[12].replace("_vdt_", "_scratch_") == second[12]
    fewer = launch(checkout / f"medseg/{data}_train.sh", "2", "--amp").stdout.splitlines()
    assert fewer[6] == "2"
    assert fewer[13:15] == ["--auto-scale-lr", "--amp"]


@pytest.mark.parametrize(
    "words", [("--work-dir", "my runs"), ("--work-dir=my runs",), ("--cfg-options", "work_dir=my runs")]
)
def test_each_arm_has_a_work_directory_of_its_own(words: tuple[str, ...], checkout: Path):
    said = launch(checkout / "medseg/bcv_train.sh", "2", "--resume", *words, "--amp").stdout.splitlines()
    first, second = said[: len(said) // 2], said[len(said) // 2 :]
    for arm, weights in ((first, "vdt"), (second, "scratch")):
        assert arm[14:-3] == ["--resume", *words[:-1], f"{words[-1]}/{weights}"]
        assert arm[-3] == "--amp"


@pytest.mark.parametrize("data", SEGMENTATION)
def test_the_released_segmentation_tests_a_checkpoint(data: str, checkout: Path):
    script = checkout / f"medseg/{data}_test.sh"
    said = launch(script, "best.pth").stdout.splitlines()
    assert said[6] == SEGMENTATION[data]
    assert said[11] == f"{checkout}/tools/test.py"
    assert (ROOT / said[12]).is_file(), said[12]
    assert said[13:] == ["best.pth", "--launcher", "pytorch"]
    said = launch(script, "best.pth", "1", "--format-only", "a b").stdout.splitlines()
    assert said[6] == "1"
    assert said[13:16] == ["best.pth", "--format-only", "a b"]
    done = launch(script)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"usage: bash medseg/{data}_test.sh CHECKPOINT ")


@pytest.mark.parametrize("data", SEGMENTATION)
def test_a_failed_arm_ends_the_comparison(data: str, checkout: Path):
    executable(checkout / ".venv/bin/python", PARROT + "exit 3\n")
    done = launch(checkout / f"medseg/{data}_train.sh")
    assert done.returncode == 3
    assert done.stdout.count("_torchrun.py") == 1


def test_no_script_ends_the_processes_of_others():
    scripts = [path for folder in (ROOT, ROOT / "tools", ROOT / "medseg") for path in folder.glob("*.sh")]
    assert len(scripts) == 14
    for path in scripts:
        words = set(path.read_text().replace("$(", " ").split())
        assert not words & {"kill", "pkill", "killall", "fuser", "sleep", "rm", "sudo"}, path


def fake_slurm(checkout: Path) -> dict[str, str]:
    """srun says its options and runs the command as the task of a job on two nodes would; scontrol lists the nodes."""
    executable(
        checkout / "bin/srun",
        "#!/usr/bin/env bash\n"
        'while [[ $1 != bash ]]; do echo "$1"; shift; done\n'
        'SLURM_STEP_NODELIST="node[7-8]" SLURM_PROCID=3 "$@"\n',
    )
    executable(
        checkout / "bin/scontrol",
        '#!/usr/bin/env bash\n[[ "$*" == "show hostnames node[7-8]" ]] && printf "node7\\nnode8\\n"\n',
    )
    executable(checkout / ".venv/bin/python", PARROT + 'echo "at $MASTER_ADDR:$MASTER_PORT"\n')
    return {"PATH": f"{checkout / 'bin'}:{os.environ['PATH']}", "PORT": "4321"}


def test_slurm_train_asks_for_the_nodes_and_finds_the_first(checkout: Path):
    wishes = {"GPUS": "16", "CPUS_PER_TASK": "3", "SRUN_ARGS": "--time 10 --exclusive"}
    script = checkout / "tools/slurm_train.sh"
    said = launch(script, "gpu", "my job", "c.py", "--amp", **fake_slurm(checkout), **wishes).stdout.splitlines()
    options, task = said[: said.index("-u")], said[said.index("-u") :]
    pairs = dict(zip(options[:12:2], options[1:12:2], strict=True))
    assert pairs == {
        "--partition": "gpu",
        "--job-name": "my job",
        "--gres": "gpu:8",
        "--ntasks": "16",
        "--ntasks-per-node": "8",
        "--cpus-per-task": "3",
    }
    assert options[12:] == ["--kill-on-bad-exit=1", "--time", "10", "--exclusive"]
    assert task == ["-u", f"{checkout}/tools/train.py", "c.py", "--amp", "--launcher", "slurm", "at node7:4321"]


def test_slurm_test_on_few_gpus_takes_one_node_of_them(checkout: Path):
    script = checkout / "tools/slurm_test.sh"
    said = launch(script, "gpu", "job", "c.py", "e.pth", GPUS="2", **fake_slurm(checkout)).stdout.splitlines()
    assert said[said.index("--gres") + 1] == "gpu:2"
    assert said[said.index("--ntasks-per-node") + 1] == "2"
    assert said[said.index("-u") + 1 :][:3] == [f"{checkout}/tools/test.py", "c.py", "e.pth"]


def test_two_processes_train_and_write_one_set_of_checkpoints(tmp_path: Path):
    data = [
        f"{split}_dataloader.dataset.{setting}"
        for split in ("train", "val", "test")
        for setting in (f"data_root={tmp_path / 'nodules'}", "make.cases=40")
    ]
    done = launch(
        ROOT / "tools/dist_train.sh",
        *("configs/debug/classify.py", "2", "--work-dir", str(tmp_path / "run")),
        *("--cfg-options", "train_cfg.max_epochs=1", *data),
        CUDA_VISIBLE_DEVICES="",
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert [path.name for path in (tmp_path / "run").glob("*.pth")] == ["epoch_1.pth"]
    assert len(list((tmp_path / "run").glob("*/*.log"))) == 1
    assert len((tmp_path / "run" / "scores.jsonl").read_text().splitlines()) == 1
