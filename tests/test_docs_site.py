"""The documentation as a site: built without a warning, complete, and loading nothing from elsewhere."""

import json
import re
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import torch
from mkdocs.commands.build import build
from mkdocs.config import load_config

from vdt3d.cli import COMMANDS
from vdt3d.models.weights.zoo import entries
from vdt3d.registry import HOOKS, METRICS, MODELS, TRANSFORMS

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole site. It is built strictly: a warning (of a link, an anchor, a page outside the navigation) raises."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # mkdocstrings looks for the packages from here
        config = load_config("mkdocs.yml", site_dir=str(folder))
        assert config.strict
        build(config)
    return folder


def page(site: Path, name: str) -> str:
    """The text of a page, tags left out."""
    return unescape(re.sub(r"<[^>]+>", "", (site / name).read_text(encoding="utf-8")))


def test_every_page_is_there_and_in_the_navigation(site):
    home = (site / "index.html").read_text(encoding="utf-8")
    written = {path.stem for path in ROOT.glob("docs/*.md")} - {"README"}
    assert len(written) >= 20
    missing = [name for name in written if f'href="{name}.html"' not in home or not (site / f"{name}.html").is_file()]
    assert missing == []


def test_links_out_of_the_folder_lead_to_pages(site):
    """docs/zoo.md links to ../README.md#what-it-promises, which the site has as project.html."""
    assert 'href="project.html#what-it-promises"' in (site / "zoo.html").read_text(encoding="utf-8")
    assert 'id="what-it-promises"' in (site / "project.html").read_text(encoding="utf-8")
    assert 'src="images/predictions.png"' in (site / "project.html").read_text(encoding="utf-8")
    assert 'href="notebooks/index.html"' in (site / "cli.html").read_text(encoding="utf-8")
    assert 'href="slice_windows.html"' in (site / "configs.html").read_text(encoding="utf-8")


def test_every_registered_part_is_on_a_page(site):
    assert "ResNet3D" in page(site, "reference/config/models.html")
    for registry, name in ((MODELS, "models"), (TRANSFORMS, "transforms"), (METRICS, "metrics"), (HOOKS, "hooks")):
        text = page(site, f"reference/config/{name}.html")
        registry.import_from_location()
        ours = [key for key, part in registry.module_dict.items() if part.__module__.startswith(("vdt3d.", "medseg."))]
        assert [key for key in ours if f"{key}(" not in text] == []
    # A part says where it lives, and leads to what its settings mean.
    models = (site / "reference/config/models.html").read_text(encoding="utf-8")
    assert re.search(r"vdt3d/models/backbones/resnet3d\.py:\d+", models)
    assert 'href="../api/vdt3d.models.html#vdt3d.models.backbones.resnet3d.ResNet3D"' in models


def test_the_python_reference_shows_docstrings(site):
    text = page(site, "reference/api/vdt3d.io.html")
    assert "Read an image as float32, on its own grid" in text
    assert "(z, y, x) in mm of formats that carry none" in text  # from the table of its arguments


def test_every_command_and_all_weights_are_listed(site):
    text = page(site, "reference/commands.html")
    assert [name for name in COMMANDS if f"usage: vdt3d {name} " not in text] == []
    text = page(site, "reference/weights.html")
    listed = [entry.name for entry in entries()]
    assert len(listed) > 10
    assert [name for name in listed if f"zoo:{name}" not in text] == []


def test_a_reader_loads_nothing_from_elsewhere(site):
    loaded = re.compile(r"<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=\"?(https?:)?//", re.IGNORECASE)
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 50
    assert [path.name for path in pages if loaded.search(path.read_text(encoding="utf-8"))] == []


def test_the_search_knows_the_pages(site):
    index = json.loads((site / "search/search_index.json").read_text(encoding="utf-8"))
    found = {entry["location"] for entry in index["docs"]}
    assert {"vdt.html", "project.html", "reference/commands.html"} <= found


def blocks(name: str) -> dict:
    """What is left after the Python blocks of a page ran one after another."""
    found: dict = {}
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(block, found)
    return found


def test_the_snippets_of_the_transform_hold():
    found = blocks("vdt.md")
    assert found["volumes"].shape == (2, 1, 3, 64, 64)
    assert torch.equal(found["volumes"][0, 0, 1], found["pictures"][0, 1])  # the second slice is the second colour
    assert found["features"].shape == (2, 512, 3, 2, 2)
    assert found["scan_features"].shape == (1, 512, 2, 2, 2)


def test_the_snippets_of_geometry_hold():
    found = blocks("geometry.md")
    assert found["scan"].spacing == (5.0, 0.8, 0.8)
    np.testing.assert_allclose(found["place"], (16, 8, 10, 1))  # 20 x 0.8, 10 x 0.8, 2 x 5
    assert found["sample"].image.shape == (60, 64, 64)  # 30 x 5 / 2.5, 128 x 0.8 / 1.6
    assert found["back"].same_grid(found["scan"])


def test_the_snippets_of_randomness_hold():
    found = blocks("randomness.md")
    once, again = found["once"].image.array, found["again"].image.array
    np.testing.assert_array_equal(once, again)
    assert 0 < once.min() == once.max() < 10
