"""Tutorials are followed as printed, only shorter; what the migration guide names exists; quoted messages are said."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.registry import DefaultScope
from PIL import Image
from test_readme import SHORT, commands, page_text, shortened

from medseg.datasets import VolumeSegmentation
from vdt3d.cli import COMMANDS, main
from vdt3d.datasets.prepare.lesion_scans import _listed
from vdt3d.datasets.synthetic import write_nodule_volumes
from vdt3d.engine.config import read_config
from vdt3d.io import read_label_map, read_volume
from vdt3d.models.weights.files import read_any, write_checkpoint
from vdt3d.models.weights.load import load_weights
from vdt3d.registry import DATASETS, METRICS, MODELS, TASK_UTILS, TRANSFORMS

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = (
    "first_hour",
    "own_data",
    "own_detection_data",
    "segmentation",
    "migration",
    "troubleshooting",
    "multi_gpu",
)
ELSEWHERE = ("vdt3d demo", "vdt3d doctor")  # test_demo.py and test_doctor.py run these


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, from which the package's own configs are found."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def beside_configs(folder: Path) -> Path:
    """The same with ``configs`` in it, as own configs want it."""
    (folder / "configs").symlink_to(ROOT / "configs")
    return folder


def blocks(page: str, language: str = "") -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```", page_text(page), re.DOTALL | re.MULTILINE)
    return [block for name, block in found if name == language]


def follow(command: str) -> None:
    name, *words = shortened(command)
    assert name == "vdt3d", command
    main(words)


def save(array: np.ndarray, path: Path, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> None:
    """Write (x, y, z) voxels of these millimetres."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([*spacing, 1.0])), path)


def write_untrained(config: str, classes: tuple[str, ...], path: Path, data: dict | None = None) -> None:
    """A checkpoint of the model of a config, as its training would leave it, only that nothing was learnt."""
    settings = read_config(Path(config))
    with DefaultScope.overwrite_default_scope("vdt3d"):
        model = MODELS.build(settings.model)
        metainfo = {"classes": list(classes)} if data is None else DATASETS.build(data).metainfo
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = {"dataset_meta": json.loads(json.dumps(dict(metainfo)))}
    write_checkpoint({"state_dict": model.state_dict(), "meta": meta}, path)


# ---- tutorials -------------------------------------------------------------------------------------------------------


def test_the_first_hour(folder: Path):
    found = commands("docs/first_hour.md")
    assert len(found) == 13 and set(ELSEWHERE) < set(found)
    for command in found:
        if command not in ELSEWHERE:
            follow(command)
    for made in (
        "classify/inputs/train_01.png",
        "segment/labels/organs_000.nii.gz",
        "segment/scores.json",
        "segment/report.html",
    ):
        assert (folder / "work_dirs" / made).stat().st_size > 0, made
    scan, labels = nib.load(next(folder.rglob("images/*_000*"))), nib.load(next(folder.rglob("segment/labels/*_000*")))
    assert labels.shape == scan.shape and np.array_equal(labels.affine, scan.affine)


def test_own_detection_data_takes_these_steps(beside_configs: Path, monkeypatch: pytest.MonkeyPatch):
    for number in range(7):
        lesion = np.zeros((40, 40, 12), np.uint8)
        lesion[15:22, 18:25, 5:8] = 1
        if number == 0:
            lesion[2:6, 30:33, 9:11] = 2
        save((40 + 80 * (lesion > 0)).astype(np.int16), Path(f"my_scans/{number}.nii.gz"), (0.8, 0.8, 2.5))
        save(lesion, Path(f"my_labels/{number}.nii.gz"), (0.8, 0.8, 2.5))
    Path("new_scans").mkdir()
    Path("new_scans/a.nii.gz").symlink_to(beside_configs / "my_scans/0.nii.gz")
    from_labels, config = blocks("docs/own_detection_data.md", "python")
    exec(from_labels, {})
    cases = json.loads(Path("my_boxes.json").read_text())["cases"]
    # x, y, z from the first voxel of each piece to behind its last, as the arrays above were filled.
    first, second = [15, 18, 5, 22, 25, 8], [2, 30, 9, 6, 33, 11]
    assert cases[1] == {"scan": "my_scans/1.nii.gz", "boxes": [first]}
    assert sorted(cases[0]["boxes"]) == [second, first]
    Path("my_detector.py").write_text(config)
    monkeypatch.setitem(SHORT, "my_detector.py", SHORT["p3d18ba.py"])
    found = commands("docs/own_detection_data.md")
    assert len(found) == 5, found
    for command in found:
        follow(command)
    assert set(json.loads(Path("data/my_lesions/annotations/train.json").read_text())) >= {"images", "annotations"}
    assert Path("work_dirs/my_detector/inputs/train_01.png").exists()
    assert Path("findings/findings.html").exists()


def test_the_list_of_boxes_that_is_shown_is_one(tmp_path: Path):
    (shown,) = blocks("docs/own_detection_data.md", "json")
    path = tmp_path / "boxes.json"
    path.write_text(shown)
    entries, in_mm = _listed(path)
    assert list(entries) == ["a", "b"] and not in_mm


def test_a_classifier_of_own_data_answers_for_new_scans(beside_configs: Path):
    write_nodule_volumes(beside_configs / "my_data", cases=3)
    config = blocks("docs/own_data.md", "python")[0]
    Path("my_config.py").write_text(config.replace("depth_stride=True", "depth_stride=True, base_channels=4"))
    Path("new_scans").symlink_to(next(Path("my_data").rglob("*.nii.gz")).parent)
    write_untrained("my_config.py", ("benign", "malignant"), Path("work_dirs/mine/best_auc.pth"))
    (command,) = re.findall(r"`(vdt3d predict .+?)`", page_text("docs/own_data.md"))
    main(shlex.split(command)[1:])
    assert len(Path("answers/predictions.csv").read_text().splitlines()) == 1 + 3


def test_an_installed_package_lends_its_configs(folder: Path):
    build = ["setup.py", "-q", "build_py", "--build-lib", str(folder / "lib")]
    subprocess.run([sys.executable, *build], cwd=ROOT, check=True, capture_output=True)
    (line,) = [block for block in blocks("docs/own_data.md") if "copytree" in block]
    words = [sys.executable, *shlex.split(line)[1:]]
    subprocess.run(words, check=True, env=os.environ | {"PYTHONPATH": str(folder / "lib")})
    Path("my_config.py").write_text(blocks("docs/own_data.md", "python")[0])
    assert read_config(Path("my_config.py")).model.backbone.type == "ResNet3D"


def test_the_slurm_script_queues_itself_again_when_it_was_asked_to_stop(tmp_path: Path):
    (script,) = [block for block in blocks("docs/multi_gpu.md") if "requeue" in block]
    for name, text in {
        "scontrol": 'if [[ $1 == show ]]; then echo node7; echo node8; else echo "$@" >> said; fi',
        "srun": 'echo "$MASTER_ADDR:$MASTER_PORT $*" >> said; exit "$CODE"',
    }.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    said = []
    for code in ("143", "0"):
        job = {"SLURM_JOB_ID": "42", "SLURM_JOB_NODELIST": "node[7-8]", "CODE": code}
        path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        subprocess.run(["bash", "-c", script], cwd=tmp_path, env=path | job, check=False)
        said += [(tmp_path / "said").read_text().splitlines()]
        (tmp_path / "said").unlink()
    started = "node7:29500 python tools/train.py CONFIG --launcher slurm --resume"
    assert said == [[started, "requeue 42"], [started]]


# ---- migration -------------------------------------------------------------------------------------------------------


def test_from_nnunets_raw_data_to_the_labels_of_its_test_cases(beside_configs: Path, monkeypatch: pytest.MonkeyPatch):
    raw, rng = Path("nnUNet_raw/Dataset001_Two"), np.random.default_rng(0)
    for part, names in {"Tr": "abcde", "Ts": "f"}.items():
        for name in names:
            for channel in range(2):
                voxels = rng.normal(size=(24, 20, 18)).astype(np.float32)
                save(voxels, raw / f"images{part}/{name}_000{channel}.nii.gz", (2.0, 2.0, 3.0))
    for name in "abcde":
        labels = np.zeros((24, 20, 18), np.uint8)
        labels[5:12, 5:12, 5:12], labels[7:9, 7:9, 7:9] = 1, 2
        save(labels, raw / f"labelsTr/{name}.nii.gz", (2.0, 2.0, 3.0))
    said = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "tumour": 1, "core": 2},
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(said))
    config = blocks("docs/segmentation.md", "python")[0]
    for long, short in {
        'data_root="my_task"': 'data_root="nnUNet_raw/Dataset001_Two"',
        "model = dict(\n": "model = dict(\n    backbone=dict(in_channels=2, base_channels=4),\n",
        "patch = (64, 128, 128)": "patch = (16, 32, 32)",
        "num_workers=4": "num_workers=0",
        "num_workers=2": "num_workers=0",
        'load_from = "zoo:vdt-resnet3d-18"': "",
    }.items():
        assert long in config
        config = config.replace(long, short)
    Path("my_segmentation.py").write_text(config)
    prepare, test = commands("docs/migration.md")
    follow(prepare)
    data = dict(type="VolumeSegmentation", data_root=str(raw), prepared="prepared")
    write_untrained("my_segmentation.py", (), Path("work_dirs/my_segmentation/best_dice.pth"), data)
    monkeypatch.setitem(SHORT, "my_segmentation.py", [])
    follow(test)
    assert [path.name for path in Path("labels").glob("*.nii.gz")] == ["f.nii.gz"]
    assert read_label_map("labels/f.nii.gz").same_grid(read_volume(raw / "imagesTs/f_0000.nii.gz"))
    # The command for any scans joins the files of a case, too.
    main(
        ["predict", "my_segmentation.py", "work_dirs/my_segmentation/best_dice.pth", str(raw / "imagesTs"), "-o", "out"]
    )
    assert [path.name for path in Path("out").glob("*.nii.gz")] == ["f.nii.gz"]
    assert np.array_equal(read_label_map("out/f.nii.gz").array, read_label_map("labels/f.nii.gz").array)


def test_slices_become_scans_with_their_spacing(folder: Path):
    for kind, value in (("img_dir", 100), ("ann_dir", 1)):
        for number in range(3):
            path = Path(kind, "case1", f"slice_{number:03d}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((4, 5), value + number, np.uint8)).save(path)
    (code,) = [block for block in blocks("docs/migration.md", "python") if "img_dir" in block]
    exec(code, {})
    for kind, value in (("imagesTr", 100), ("labelsTr", 1)):
        image = nib.load(f"my_task/{kind}/case1.nii.gz")
        assert image.shape == (5, 4, 3) and np.allclose(image.header.get_zooms(), (0.8, 0.8, 5.0))
        assert sorted(np.unique(np.asanyarray(image.dataobj))) == [value, value + 1, value + 2]


def test_a_checkpoint_of_mmsegmentation_answers_as_25d(folder: Path):
    """Equal slices are answered as the 2D network of mmsegmentation answers the grey picture."""
    from mmseg.registry import MODELS as MMSEG

    said: dict = {}
    exec(blocks("docs/slice_windows.md", "python")[1], said)
    ours = said["model"]
    ours["backbone"].update(depth=18, base_channels=8, stem_channels=8, norm_cfg=dict(type="BN"))
    ours["neck"].update(out_channels=16)
    ours["decode_head"].update(channels=16)
    theirs = dict(
        type="EncoderDecoder",
        backbone=ours["backbone"],
        neck=ours["neck"] | {"in_channels": [8, 16, 32, 64]},
        decode_head=ours["decode_head"] | {"in_channels": [16] * 4, "num_classes": 4},
        test_cfg=dict(mode="whole"),
    )
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmseg"):
        picture_network = MMSEG.build(theirs).eval()
    with DefaultScope.overwrite_default_scope("vdt3d"):
        window_network = MODELS.build(ours).eval()
    kept = {"state_dict": picture_network.state_dict()}
    log = {"message_hub": {"log_scalars": {"loss": HistoryBuffer([1.0], [1])}}}  # as mmengine writes it
    torch.save(kept | log, "iter_40000.pth")
    with pytest.raises(ValueError, match="refused, because it holds 'mmengine"):
        read_any("iter_40000.pth")
    (code,) = [block for block in blocks("docs/migration.md", "python") if "iter_40000" in block]
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)  # without vdt3d, as where it was made

    from vdt3d.models.weights.adapt import adapt

    state = adapt(read_any("weights.pth")["state_dict"], window_network, how=None, name="weights.pth").state
    assert not load_weights(window_network, state, min_matched=1.0, heads=True).missing
    grey = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        wanted = picture_network.encode_decode(grey.expand(-1, 3, -1, -1), [dict(img_shape=(32, 32))])
        got = window_network(grey[:, :, None].expand(-1, -1, 5, -1, -1), mode="tensor")
    assert torch.allclose(got[:, :, 0], wanted, atol=1e-5)


def test_what_the_migration_guide_maps_to_exists():
    text = page_text("docs/migration.md")
    right = " ".join(line.split(" | ")[1] for line in text.splitlines() if line.startswith("| ") and " | " in line)
    names = set(re.findall(r"\b([A-Z][A-Za-z0-9]+)\b", " ".join(re.findall(r"`([^`]+)`", right))))
    names = {name for name in names if not name.isupper()} - {"True", "False", "None", "SyncBN"}
    assert len(names) >= 15, names
    for name in names:
        assert any(name in registry for registry in (DATASETS, TRANSFORMS, MODELS, TASK_UTILS, METRICS)), name
    for function in re.findall(r'post_process=\[dict\(type="(\w+)"', text):
        assert function in TASK_UTILS
    for path in re.findall(r"\b((?:configs|medseg|tools)/[\w./-]+\.(?:py|sh))\b", text):
        assert (ROOT / path).exists(), path
    transseg = text[text.index("## TransSeg") :]
    stems = [path.stem for path in ROOT.glob("configs/transseg/*.py")]
    for start in re.findall(r"`(\w[\w-]*_)\.\.\.`", transseg):
        assert any(stem.startswith(start) for stem in stems), start
    for end in re.findall(r"`(?:\.\.\.)?(_[\w-]+)`", transseg):
        assert any(stem.endswith(end) for stem in stems), end


def test_every_command_in_the_tutorials_is_one():
    found = {page: re.findall(r"\bvdt3d ([a-z][a-z-]+)", code_of(f"docs/{page}.md")) for page in TUTORIALS}
    assert not [(page, name) for page, names in found.items() for name in names if name not in COMMANDS]


def code_of(page: str) -> str:
    """Whatever a page shows as code, in lines or in blocks."""
    return "\n".join(re.findall(r"^```\w*\n.*?^```|`[^`\n]+`", page_text(page), re.DOTALL | re.MULTILINE))


# ---- troubleshooting -------------------------------------------------------------------------------------------------


def quoted() -> list[str]:
    """What troubleshooting says VDT3D says: the bold ones."""
    return re.findall(r"\*\*`([^`]+)`\*\*", page_text("docs/troubleshooting.md"))


def said_in_code() -> str:
    """All string constants of the packages, with … for what is put into them, and the launchers as they are."""
    texts = [path.read_text(encoding="utf-8") for path in ROOT.glob("tools/*.sh")]
    for path in (*ROOT.glob("vdt3d/**/*.py"), *ROOT.glob("medseg/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
                texts.append("".join(parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def test_quoted_messages_are_those_of_the_code():
    code, messages = said_in_code(), quoted()
    assert len(messages) > 25
    for message in messages:
        if message.startswith("mmengine and"):  # names of packages, which the code has in a table
            message = message.removeprefix("mmengine and onedl-mmengine")
        for part in re.split("…|; ", message):
            assert part.strip(" '") in code, f"nobody says '{part}' of '{message}'"


def refusals() -> dict[str, Callable[[Path], object]]:
    """Ways into the messages that need no training."""

    def build(**config):
        with DefaultScope.overwrite_default_scope("vdt3d"):
            return MODELS.build(config)

    def nifti(folder: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
        path = folder / "scan.nii.gz"
        nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
        return path

    def cut_short(folder: Path) -> object:
        path = nifti(folder, np.random.default_rng(0).normal(size=(8, 8, 8)).astype(np.float32))
        path.write_bytes(path.read_bytes()[:600])
        return read_volume(path)

    def web_page(folder: Path) -> object:
        (folder / "weights.pth").write_text("<!DOCTYPE html><html>log in</html>")
        return read_any(str(folder / "weights.pth"))

    def first_version(folder: Path) -> object:
        """nnU-Net's first layout: the json lists a.nii.gz, the file is a_0000.nii.gz."""
        for kind in ("imagesTr/a_0000", "labelsTr/a"):
            save(np.zeros((4, 4, 4), np.uint8), folder / f"{kind}.nii.gz")
        entry = {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}
        content = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver"}, "training": [entry]}
        (folder / "dataset.json").write_text(json.dumps(content))
        return VolumeSegmentation(folder, split="trainval")

    sheared, empty, nan = np.eye(4), *np.zeros((2, 4, 4, 4), np.float32)
    sheared[0, 1], nan[0, 0, 0] = 0.3, np.nan
    return {
        "did you mean": lambda _: build(type="Resnet3D"),
        "so nothing was loaded": lambda _: load_weights(torch.nn.Linear(2, 2), {"other": torch.zeros(3)}),
        "is a web page": web_page,
        "its axes are sheared": lambda folder: read_volume(nifti(folder, empty, sheared)),
        "channels or frames": lambda folder: read_volume(nifti(folder, np.zeros((4, 4, 4, 3), np.float32))),
        "NaN or infinite": lambda folder: read_volume(nifti(folder, nan)),
        "truncated or damaged": cut_short,
        "no whole numbers": lambda folder: read_label_map(nifti(folder, empty + 0.5)),
        "a file of case": first_version,
    }


@pytest.mark.parametrize("part", refusals())
def test_quoted_messages_are_given(part: str, tmp_path: Path):
    (message,) = [message for message in quoted() if part in message]
    pattern = ".*".join(re.escape(piece) for piece in message.split("…"))
    with pytest.raises((ValueError, KeyError)) as caught:
        refusals()[part](tmp_path)
    assert re.search(pattern, str(caught.value), re.DOTALL), str(caught.value)
