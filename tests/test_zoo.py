"""The zoo: what the index lists holds true, and a name leads to the published file or to a reason why not."""

import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse

import pytest
import torch
import torchvision
import yaml
from web import Served, Web, serving

import vdt3d
from vdt3d.models.weights import zoo
from vdt3d.models.weights.download import DownloadError
from vdt3d.models.weights.files import CheckpointError, read_any

ROOT = Path(__file__).resolve().parents[1]
LISTED = zoo.entries()
CONTENT = b"some weights" * 100
SHA256 = hashlib.sha256(CONTENT).hexdigest()


# ---- the index that ships ----


def test_the_index_lists_what_others_rely_on():
    names = [entry.name for entry in LISTED]
    assert len(set(names)) == len(names) >= 40, "too few found: is the search looking in the right place?"
    assert {"vdt-resnet3d-18", "kinetics-r3d-18-km", "medicalnet-resnet-18", "genesis-chest-ct"} <= set(names)
    texts = [path.read_text() for path in (ROOT / "configs").rglob("*.py")]
    assert {name for text in texts for name in re.findall(r"zoo:([\w.-]+)", text)} <= set(names)


@pytest.mark.parametrize("entry", LISTED, ids=lambda entry: entry.name)
def test_an_entry_is_complete(entry: zoo.Entry):
    assert re.fullmatch(r"[\w.-]+", entry.name) and re.fullmatch(r"[\w.-]+", entry.file)
    assert entry.licence and entry.task and entry.data and entry.scored
    assert entry.config is None or (ROOT / entry.config).is_file()
    assert entry.sha256 is None or re.fullmatch(r"[0-9a-f]{8}|[0-9a-f]{64}", entry.sha256)
    assert isinstance(entry.size, int | None) or re.fullmatch(r"[\d.]+ (MB|MiB|GB)", entry.size)
    assert all(0 < value <= 100 for value in entry.metrics.values())
    for address in filter(None, (entry.url, entry.page, entry.paper)):
        assert urlparse(address).scheme == "https" and urlparse(address).netloc
    assert entry.url or entry.page, "neither an address nor a page where it can be had"


def test_no_two_entries_share_a_file():
    files = [entry.file for entry in LISTED]
    assert len(set(files)) == len(files)


def test_what_is_said_of_torchvision_is_what_it_says_of_itself():
    ours = {entry.name.removeprefix("torchvision-"): entry for entry in LISTED if "torchvision-" in entry.name}
    assert len(ours) == 8
    for name, entry in ours.items():
        weights = next(w for w in torchvision.models.get_model_weights(name) if w.url == entry.url)
        (scores,) = weights.meta["_metrics"].values()
        assert entry.metrics == {"Top 1 Accuracy": scores["acc@1"]}
        size = entry.size / 2**20 if isinstance(entry.size, int) else float(entry.size.removesuffix(" MiB"))
        assert size == pytest.approx(weights.meta["_file_size"], abs=0.06)
        assert entry.sha256.startswith(zoo.hash_in(entry.url))


def test_the_page_in_the_docs_lists_what_the_index_lists():
    """Where this fails, the text below is what belongs between the two comments of docs/zoo.md."""
    text = (ROOT / "docs/zoo.md").read_text()
    rows = ["| name | trained on | published score | licence |", "|---|---|---|---|"]
    for entry in LISTED:
        scores = ", ".join(f"{name} {value:g}" for name, value in entry.metrics.items())
        rows.append(f"| `{entry.name}` | {entry.data} | {scores} | {entry.licence} |")
    assert text.partition("<!-- the index -->\n")[2].partition("<!-- its end -->")[0] == "\n".join(rows) + "\n"


def test_an_installed_package_has_its_index(tmp_path, monkeypatch):
    inside = tmp_path / "lib/vdt3d/.mim"
    for file in ["model-index.yml", *(str(path.relative_to(ROOT)) for path in ROOT.glob("configs/*/metafile.yml"))]:
        (inside / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, inside / file)
    monkeypatch.setattr(vdt3d, "__file__", str(tmp_path / "lib/vdt3d/__init__.py"))
    assert zoo.entries() == LISTED
    shutil.rmtree(inside / "configs")
    with pytest.raises(FileNotFoundError, match=r"metafile.yml: there is no such metafile, though model-index.yml"):
        zoo.entries()
    shutil.rmtree(inside)
    with pytest.raises(FileNotFoundError, match=r"model-index.yml is neither beside the package nor in it"):
        zoo.entries()


# ---- a small zoo of our own ----


@pytest.fixture
def web(monkeypatch) -> Iterator[Web]:
    with serving() as server:
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        server.files["/first.pth"] = Served(CONTENT)
        yield server


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """What is logged."""
    lines: list[str] = []
    monkeypatch.setattr(zoo, "print_log", lambda text, **_: lines.append(text))
    return lines


@pytest.fixture
def cache(web, said, tmp_path, monkeypatch) -> Path:
    """The folder of downloads; the index lists a file behind an address, and one to be fetched by hand."""
    models = [
        {"Name": "first", "Weights": f"{web.url}/first.pth", "Metadata": {"SHA256": SHA256, "Size": 1200}},
        {
            "Name": "by-hand",
            "Metadata": {"License": "CC BY-NC-ND 4.0", "Page": "https://host/page", "Remark": "Not by us."},
        },
    ]
    collection = {"Name": "C", "Metadata": {"License": "MIT", "Training Data": "scans", "Remark": "For all."}}
    result = {"Task": "Image Classification", "Dataset": "scans", "Metrics": {"Top 1 Accuracy": 50.0}}
    content = {
        "Collections": [collection],
        "Models": [{**model, "In Collection": "C", "Results": [result]} for model in models],
    }
    (tmp_path / "metafile.yml").write_text(yaml.safe_dump(content))
    (tmp_path / "model-index.yml").write_text("Import: [metafile.yml]\n")
    monkeypatch.setattr(zoo, "package_roots", lambda: (tmp_path / "nowhere", tmp_path))
    before = torch.hub.get_dir()
    torch.hub.set_dir(tmp_path / "hub")
    yield tmp_path / "hub/checkpoints"
    torch.hub.set_dir(before)


def test_a_name_leads_to_the_file_which_is_fetched_once(cache, web, said):
    assert [zoo.fetch("first"), zoo.fetch("first")] == [cache / "first.pth"] * 2
    assert (cache / "first.pth").read_bytes() == CONTENT and len(web.asked) == 1
    assert said == ["zoo:first: licence MIT. For all."]


def test_a_file_that_went_bad_in_the_cache_is_not_used(cache):
    zoo.fetch("first").write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(DownloadError, match=rf"first.pth: .*instead of {SHA256}.*delete it, and it is fetched again"):
        zoo.fetch("first")


def test_what_others_serve_under_the_name_is_refused(cache, web):
    web.files["/first.pth"].content = CONTENT[::-1]
    with pytest.raises(CheckpointError, match=f"first.pth: not fetched .*instead of {SHA256}"):
        read_any("zoo:first")
    assert list(cache.glob("[!.]*")) == []


def test_a_file_fetched_by_hand_is_checked_and_kept(cache, web, tmp_path):
    mine = tmp_path / "Downloads (1).pth"
    mine.write_bytes(CONTENT + b"more")
    with pytest.raises(DownloadError, match=r"Downloads \(1\).pth has 1204 bytes instead of 1200"):
        zoo.fetch("first", source=mine)
    assert not cache.exists()
    mine.write_bytes(CONTENT)
    assert zoo.fetch("first", source=mine).read_bytes() == CONTENT
    assert zoo.fetch("first") == cache / "first.pth" and web.asked == []
    with pytest.raises(FileNotFoundError, match=r"gone.pth"):
        zoo.fetch("first", source=tmp_path / "gone.pth")


def test_what_has_no_address_says_where_it_is_had(cache, said, tmp_path):
    with pytest.raises(ValueError, match=r"by hand \(https://host/page\), then `vdt3d download by-hand --from FILE`"):
        zoo.fetch("by-hand")
    page = tmp_path / "page.pth"
    page.write_bytes(b"<html>Sign in</html>")
    with pytest.raises(DownloadError, match=r"in place of page.pth there is a web page"):
        zoo.fetch("by-hand", source=page)
    torch.save({"weight": torch.ones(2)}, tmp_path / "good.pth")
    zoo.fetch("by-hand", source=tmp_path / "good.pth")
    assert read_any("zoo:by-hand")["weight"].tolist() == [1, 1]
    assert said == [
        "zoo:by-hand: licence CC BY-NC-ND 4.0; its hash is not known, so it was not checked. Not by us. For all.",
        "zoo:by-hand: the licence allows no commercial use and no derivatives, which fine-tuned weights may be",
    ]


@pytest.mark.parametrize(
    ("licence", "forbidden"), [("MIT", 0), ("CC-BY-NC-4.0", 1), ("non-commercial research", 1), ("CC BY-NC-ND 4.0", 2)]
)
def test_what_a_licence_forbids_is_read_from_its_name(licence, forbidden):
    entry = zoo.Entry("a", "task", "data", {}, "data", licence, "a.pth")
    assert len(entry.restrictions) == forbidden


def test_an_unknown_name_is_answered_with_the_nearest(cache):
    with pytest.raises(ValueError, match=r"no weights 'frist' in the zoo; did you mean 'first'; .*--list"):
        zoo.find("frist")
    with pytest.raises(CheckpointError, match=r"no weights 'xyz' in the zoo; `vdt3d download --list`"):
        read_any("zoo:xyz")
    with pytest.raises(CheckpointError, match="torchvision://resnet19: no weights of torchvision"):
        read_any("torchvision://resnet19")


def test_an_entry_without_licence_is_refused(cache, tmp_path):
    file = tmp_path / "metafile.yml"
    file.write_text(file.read_text().replace("License: MIT", "Owner: me"))
    with pytest.raises(ValueError, match=r"metafile.yml: first has no 'License'"):
        zoo.entries()


def test_an_entry_is_read_as_it_was_described(cache, tmp_path):
    entry = zoo.Entry(
        name="ours",
        task="Image Segmentation",
        data="bcv",
        metrics={"dice": 0.8},
        scored="bcv",
        licence="Apache-2.0",
        file="ours-01234567.safetensors",
        sha256="01234567" * 8,
        size=1234,
        config="configs/a.py",
        remark="Good.",
    )
    (tmp_path / "metafile.yml").write_text(zoo.described(entry))
    assert zoo.entries() == [entry]
