"""Weights of timm, of the Hugging Face Hub and of installed packages."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image
from torch import nn

from vdt3d.models.weights.files import CheckpointError, read_any
from vdt3d.models.weights.load import load_pretrained
from vdt3d.models.weights.sources import find_in_package, rename_by_order
from vdt3d.registry import MODELS

COMMIT = "0123456789" * 4
WEIGHTS = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.zeros(2)}


class Hub(BaseHTTPRequestHandler):
    """The part of the Hub's interface that a download uses, for OWNER/REPO with ``files``."""

    files: dict[str, bytes] = {}

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        owner, _, rest = self.path.lstrip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        content = self.files.get(name) if owner == "owner/repo" and revision in ("main", COMMIT) else None
        self.send_response(404 if content is None else 200)
        if content is None:
            known = owner == "owner/repo" and revision in ("main", COMMIT)
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
            content = b""
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """The files of owner/repo on a Hub of this machine."""
    monkeypatch.setattr(Hub, "files", {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    for name, value in {"ENDPOINT": address, "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": False}.items():
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    yield Hub.files
    server.shutdown()


@pytest.mark.parametrize("name", ["hf://owner/repo", "hf://owner/repo/model.safetensors", "hf://owner/repo@main"])
def test_a_file_of_the_hub_is_read(hub: dict[str, bytes], name: str):
    hub["model.safetensors"] = safetensors.torch.save(WEIGHTS)
    model = nn.Linear(3, 2)
    assert load_pretrained(model, name).matched == 1
    assert torch.equal(model.weight, WEIGHTS["weight"])


def test_the_next_usual_file_is_taken(hub: dict[str, bytes], tmp_path: Path):
    torch.save(WEIGHTS, tmp_path / "a.bin")
    hub["pytorch_model.bin"] = (tmp_path / "a.bin").read_bytes()
    assert torch.equal(read_any("hf://owner/repo")["weight"], WEIGHTS["weight"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf://owner/repo", "model.safetensors"),
        ("hf://owner/repo/other.pth", "other.pth"),
        ("hf://owner/nothing", "owner/nothing"),
        ("hf://owner", "hf://owner"),
    ],
)
def test_what_the_hub_does_not_have_is_refused_by_name(hub: dict[str, bytes], name: str, message: str):
    with pytest.raises(CheckpointError, match=message):
        read_any(name)


def test_a_network_of_timm_is_read_with_the_weights_that_timm_loads(monkeypatch: pytest.MonkeyPatch):
    made = timm.create_model

    def create_model(name: str, *, pretrained: bool) -> nn.Module:
        assert pretrained
        return made(name, pretrained=False)

    monkeypatch.setattr(timm, "create_model", create_model)
    state = read_any("timm://test_resnet.r160_in1k")["state_dict"]
    assert list(state) == list(made("test_resnet").state_dict())


def test_a_network_that_timm_does_not_have_is_refused_by_name():
    with pytest.raises(CheckpointError, match="resnet51"):
        read_any("timm://resnet51")


def test_a_file_of_a_package_is_found_or_the_package_is_named():
    assert find_in_package("timm", "version.py").is_file()
    with pytest.raises(CheckpointError, match="pip install no-such-package"):
        find_in_package("no-such-package", "a.pth")
    with pytest.raises(CheckpointError, match=r"nothing\.pth"):
        find_in_package("timm", "nothing.pth")


def test_tensors_in_the_order_of_a_network_get_its_names():
    wanted = timm.create_model("test_resnet").state_dict()
    given = {f"layer_{number}": value for number, value in enumerate(wanted.values())}
    renamed = rename_by_order(given, "test_resnet", "a.pth")
    assert list(renamed) == list(wanted)
    assert all(torch.equal(renamed[key], wanted[key]) for key in wanted)
    given.pop("layer_3")
    with pytest.raises(CheckpointError, match=r"a\.pth.*test_resnet"):
        rename_by_order(given, "test_resnet", "a.pth")


def test_weights_that_pip_installs():
    state = read_any("zoo:efficientnet-lite0-in1k")["state_dict"]
    wanted = timm.create_model("tf_efficientnet_lite0").state_dict()
    assert {key: value.shape for key, value in state.items()} == {key: value.shape for key, value in wanted.items()}
    assert state["bn1.weight"].std() > 0.1  # a fresh norm has ones


def test_these_weights_tell_ants_from_bees_and_fill_a_3d_backbone(real_data: Path):
    network = timm.create_model("tf_efficientnet_lite0").eval()
    load_pretrained(network, "zoo:efficientnet-lite0-in1k", heads=True)
    right = 0
    for name, number in {"ants": 310, "bees": 309}.items():  # of ImageNet's classes
        paths = sorted((real_data / "hymenoptera_256/val" / name).iterdir())[:40]
        images = torch.stack([centre_of(path) for path in paths])
        with torch.no_grad():
            right += int((network(images).argmax(1) == number).sum())
    assert right >= 60  # of 80, at top 1 of 1,000

    volume = MODELS.build(dict(type="Convert2d", model="timm.tf_efficientnet_lite0", how="i3d")).eval()
    report = load_pretrained(volume, "zoo:efficientnet-lite0-in1k")
    assert report.matched == 1


def centre_of(path: Path) -> torch.Tensor:
    """The middle 224 x 224 pixels of an image (3, H, W), scaled to -1..1 as these weights take it."""
    image = np.asarray(Image.open(path).convert("RGB"), dtype=np.float32) / 127.5 - 1
    top, left = ((side - 224) // 2 for side in image.shape[:2])
    return torch.from_numpy(image[top : top + 224, left : left + 224]).permute(2, 0, 1)
