"""The slice viewer in a real browser, opened from disk: Debian's chromium, headless."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vdt3d.structures import Boxes, LabelMap, Volume, affine_from_spacing
from vdt3d.visualization.report import ReportRun, case_sprites, label_codes, write_report

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install vdt3d[tests]")
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
AXE = Path(os.environ.get("VDT3D_AXE", ROOT / "node_modules/axe-core/axe.min.js"))
SHAPE, SPACING = (10, 24, 20), (4.0, 1.0, 1.0)
REGIONS = {"liver": 1, "tumour": 2}
ENDS = np.array([-2000.0, 4000.0])  # HU that stand for themselves


def scan(number: int) -> tuple[Volume, LabelMap, LabelMap]:
    """A block of 100 HU in air, a smaller one of -600 within it; both predicted a slice higher than they are."""
    values, truth = np.full((1, *SHAPE), -1000, np.float32), np.zeros((1, *SHAPE), np.uint8)
    affine = np.diag([-1.0, -1, 1, 1]) @ affine_from_spacing(SPACING)  # as the viewer has its axes
    values[0, 2:8, 4:20, 4:16], truth[0, 2:8, 4:20, 4:16] = 100, 1
    values[0, 4:6, 8:12, 8:12], truth[0, 4:6, 8:12, 8:12] = -600, 2
    prediction = np.roll(truth, 1 + number, axis=1)
    return Volume(values, affine), LabelMap(truth, affine), LabelMap(prediction, affine)


def run(folder: Path, name: str, cases: int) -> ReportRun:
    """A test of segmentation of so many cases."""
    codes, regions = label_codes(REGIONS)
    (folder / name).mkdir()
    told = []
    for number in range(cases):
        volume, truth, prediction = scan(number)
        heat = Volume(np.linspace(0, 1, volume.array.size).reshape(volume.array.shape), volume.affine)
        layers = {"truth": truth, "prediction": prediction}
        sprites = case_sprites(volume, layers, heat, codes=codes, hounsfield=(ENDS, ENDS))
        files = {}
        for layer, (suffix, content) in sprites.files.items():
            files[layer] = f"{number}.{layer}.{suffix}"
            (folder / name / files[layer]).write_bytes(content)
        labels = {label: {"truth_ml": 4.0, "predicted_ml": 3.0, "dice": 0.5} for label in REGIONS}
        pictures = {**sprites.facts, "files": files, "regions": regions, "placed": True}
        score = 0.9 - number / 10
        told.append({"name": f"case {number}", "score": score, "known": True, "labels": labels, "pictures": pictures})
    return ReportRun(name, folder / name, cases={"kind": "segmentation", "classes": [], "cases": told})


def detection(folder: Path) -> ReportRun:
    """A test of detection of one case."""
    volume, _, _ = scan(0)
    (folder / "boxes").mkdir()
    boxes = {
        "truth": Boxes([[4, 8, 8, 6, 12, 12]], affine=volume.affine),
        "prediction": Boxes([[3, 7, 7, 6, 12, 13]], affine=volume.affine),
    }
    sprites = case_sprites(volume, boxes=boxes, hounsfield=(ENDS, ENDS))
    (folder / "boxes/a.webp").write_bytes(sprites.files["image"][1])
    pictures = {**sprites.facts, "files": {"image": "a.webp"}, "regions": {}, "placed": True, "scores": [0.7]}
    numbers = {"true": 1, "found": 1, "never_hit": 0, "lowest_hit": 0.7, "highest_false": None}
    case = {"name": "case 1", "score": 0.7, "known": True, **numbers, "pictures": pictures}
    return ReportRun("boxes", folder / "boxes", cases={"kind": "detection", "classes": [], "cases": [case]})


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    runs = [run(folder, "ours", 3), run(folder, "theirs", 2), detection(folder)]
    write_report(folder / "report.html", runs)
    return folder / "report.html"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    programs = [shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")]
    if None in programs:
        pytest.skip("no chromium with chromedriver: make test-browser installs Debian's")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    folder = tmp_path_factory.mktemp("profile")
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(word)
    options.add_argument(f"--user-data-dir={folder}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(programs[1]))
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium: webdriver.Chrome, page: Path) -> Iterator[webdriver.Chrome]:
    """The page as it opens, on a desktop; whatever a test did, the console has nothing to complain of."""
    look(chromium, 1280, 900)
    chromium.get(page.as_uri())
    ready(chromium, "ours/case 2")  # the worst
    yield chromium
    assert chromium.get_log("browser") == []


def look(browser: webdriver.Chrome, width: int, height: int, *, scheme: str = "light", media: str = "screen") -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": width < 600})
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})


def ready(browser: webdriver.Chrome, what: str) -> None:
    """Wait until this case is drawn."""
    viewer = browser.find_element(By.ID, "viewer")
    WebDriverWait(browser, 20).until(lambda _: viewer.get_attribute("data-ready") == what)


def plane(browser: webdriver.Chrome, name: str, tag: str = "canvas"):
    return browser.find_element(By.CSS_SELECTOR, f"[data-plane={name}] {tag}")


def title(browser: webdriver.Chrome, name: str) -> str:
    return plane(browser, name, "span").text


def pixel(browser: webdriver.Chrome, x: float, y: float, name: str = "axial") -> list[int]:
    """Red, green and blue at a part of the plane's width and height."""
    script = """const c = arguments[0], at = [arguments[1] * c.width, arguments[2] * c.height].map(Math.floor);
        const one = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
        one.drawImage(c, -at[0], -at[1]);
        return [...one.getImageData(0, 0, 1, 1).data].slice(0, 3)"""
    return browser.execute_script(script, plane(browser, name), x, y)


def press(browser: webdriver.Chrome, *keys: str) -> None:
    plane(browser, "axial", "input").send_keys(*keys)


def tick(browser: webdriver.Chrome, name: str) -> None:
    browser.find_element(By.ID, name).click()


# Row 18 of 24 and column 6 of 20: in the block, beside the smaller one, away from the cross.
LIVER = 6.5 / 20, 18.5 / 24
# Row 9 and column 11: in the smaller one, if the slice is one of its own.
TUMOUR = 11.5 / 20, 9.5 / 24


def test_it_opens_on_the_worst_case_where_there_is_most_to_see(browser: webdriver.Chrome):
    # Counted from 0, truth in slices 2 to 7, prediction (rolled by 3) in 5 to 9 and, over the end, 0: both in 5 to 7.
    assert title(browser, "axial") == "Axial, slice 7 of 10"
    assert "liver 3 of 4 ml, Dice 0.500" in browser.find_element(By.CSS_SELECTOR, "#viewer .words").text
    sizes = [plane(browser, name).get_property("width") for name in ("axial", "coronal", "sagittal")]
    # Axial: 24 by 20 mm; coronal: 40 by 20 mm; sagittal: 40 by 24 mm. 512 x 20 / 24, 512 x 20 / 40, 512 x 24 / 40
    assert sizes == [427, 256, 307]


def test_scrolling_by_wheel_slider_and_keys(browser: webdriver.Chrome):
    for by, expected in ((-120, "Axial, slice 8 of 10"), (120, "Axial, slice 7 of 10")):  # away from you: to the head
        canvas = plane(browser, "axial")
        origin = ScrollOrigin.from_element(canvas)
        webdriver.ActionChains(browser).scroll_from_origin(origin, 0, by).perform()
        assert title(browser, "axial") == expected
    press(browser, Keys.ARROW_UP, Keys.ARROW_UP)
    assert title(browser, "axial") == "Axial, slice 9 of 10"
    press(browser, Keys.HOME)
    assert title(browser, "axial") == "Axial, slice 1 of 10"
    assert title(browser, "coronal") == "Coronal, slice 13 of 24"  # rows 4 to 19 are alike


def test_a_click_moves_the_other_planes(browser: webdriver.Chrome):
    canvas = plane(browser, "axial")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    size = canvas.size
    across, down = round(size["width"] * 0.28), round(size["height"] * -0.23)
    webdriver.ActionChains(browser).move_to_element_with_offset(canvas, across, down).click().perform()
    # 0.78 of 20 columns, 0.27 of 24 rows
    assert title(browser, "sagittal") == "Sagittal, slice 16 of 20"
    assert title(browser, "coronal") == "Coronal, slice 7 of 24"
    assert browser.switch_to.active_element == plane(browser, "axial", "input")  # so that keys go on there
    told = browser.find_element(By.CSS_SELECTOR, "#viewer .at").text
    assert "truth liver; prediction liver" in told
    assert float(re.search(r"At the cross: (\S+) HU", told).group(1)) == pytest.approx(100, abs=15)  # WebP is not exact


def test_overlays_and_labels_are_switched(browser: webdriver.Chrome):
    tick(browser, "heat")
    red, green, blue = pixel(browser, *LIVER)
    assert red > green > blue  # orange over grey
    tick(browser, "truth")
    red, green, blue = pixel(browser, *LIVER)
    assert red == green == blue > 100
    tick(browser, "truth")
    box = browser.find_element(By.CSS_SELECTOR, "#classes input")  # the liver's
    box.click()
    red, green, blue = pixel(browser, *LIVER)
    assert red == green == blue
    box.click()
    tick(browser, "heat")
    tinted = pixel(browser, *LIVER)
    press(browser, "+++++")
    assert pixel(browser, *LIVER) != tinted
    edge = pixel(browser, 4 / 20, 0.7)  # where the prediction begins: its outline
    press(browser, "p")
    assert pixel(browser, 4 / 20, 0.7) != edge


def test_windows(browser: webdriver.Chrome):
    press(browser, "thp", Keys.HOME, *[Keys.ARROW_UP] * 5)  # a slice of the smaller block
    windows = Select(browser.find_element(By.ID, "window"))
    assert [option.text for option in windows.options] == ["abdomen", "lung", "brain", "all values", "by hand"]
    # Abdomen, -160 to 240: 100 HU are 65 % of white, -600 black. Lung, -1350 to 150: 97 % and 50 %.
    assert pixel(browser, *LIVER)[0] == pytest.approx(0.65 * 255, abs=8)
    assert pixel(browser, *TUMOUR)[0] < 12
    press(browser, "2")
    assert windows.first_selected_option.text == "lung"
    assert pixel(browser, *LIVER)[0] == pytest.approx(0.967 * 255, abs=8)
    assert pixel(browser, *TUMOUR)[0] == pytest.approx(0.5 * 255, abs=16)
    browser.find_element(By.ID, "width").send_keys(Keys.ARROW_LEFT)
    assert windows.first_selected_option.text == "by hand"
    assert browser.find_element(By.ID, "levels").text.endswith("HU")


def test_cases_and_runs(browser: webdriver.Chrome):
    press(browser, "n")
    ready(browser, "ours/case 1")
    press(browser, Keys.HOME)
    Select(browser.find_element(By.ID, "run")).select_by_visible_text("theirs")
    ready(browser, "theirs/case 1")
    assert title(browser, "axial") == "Axial, slice 1 of 10"  # the same place in the same case
    press(browser, "b")
    ready(browser, "theirs/case 0")
    browser.find_element(By.CSS_SELECTOR, "td button.show[data-run=ours][data-place='2']").click()
    ready(browser, "ours/case 0")  # the best comes last


def test_boxes(browser: webdriver.Chrome):
    Select(browser.find_element(By.ID, "run")).select_by_visible_text("boxes")
    ready(browser, "boxes/case 1")
    assert title(browser, "axial") == "Axial, slice 6 of 10"  # the middle of 4 to 6
    found = pixel(browser, 7 / 20, 9.5 / 24)  # the left side of what was found
    assert found[0] > 180 > found[2]
    press(browser, "p")
    assert max(pixel(browser, 7 / 20, 9.5 / 24)) - min(pixel(browser, 7 / 20, 9.5 / 24)) < 10
    assert not browser.find_element(By.ID, "heat").is_displayed()
    text = browser.find_element(By.ID, "viewer").text  # boxes are neither filled nor see-through
    assert "Truth (dashed)" in text and "filled" not in text and "Opacity" not in text


def test_tables_are_sorted(browser: webdriver.Chrome):
    table = browser.find_element(By.CSS_SELECTOR, "table.sortable")
    names = lambda: [row.text for row in table.find_elements(By.CSS_SELECTOR, "tbody th")]  # noqa: E731
    assert names() == ["case 2", "case 1", "case 0"]
    head = table.find_elements(By.CSS_SELECTOR, "thead th")[0]
    head.find_element(By.TAG_NAME, "button").click()
    assert names() == ["case 0", "case 1", "case 2"] and head.get_attribute("aria-sort") == "ascending"
    second = table.find_elements(By.CSS_SELECTOR, "thead th")[1]
    for expected in (["case 2", "case 1", "case 0"], ["case 0", "case 1", "case 2"]):
        second.find_element(By.TAG_NAME, "button").click()
        assert names() == expected
    assert head.get_attribute("aria-sort") is None


def test_a_phone(browser: webdriver.Chrome):
    look(browser, 360, 720)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    tops = [plane(browser, name).rect["y"] for name in ("axial", "coronal", "sagittal")]
    assert tops == sorted(set(tops))  # below each other
    canvas = plane(browser, "axial")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    box = browser.execute_script(
        "const b = arguments[0].getBoundingClientRect(); return [b.x, b.y, b.width, b.height]", canvas
    )
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    slice_ = box[3] / 10  # a slice for each tenth of the height
    touch = lambda kind, *points: browser.execute_cdp_cmd(  # noqa: E731
        "Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": up} for up in points]}
    )
    touch("touchStart", y)
    for part in (0.6, 1.2, 1.8, 2.4):
        touch("touchMove", y - part * slice_)
    touch("touchEnd")
    assert title(browser, "axial") == "Axial, slice 9 of 10"
    assert browser.execute_script("return window.scrollX") == 0


def test_print_and_dark(browser: webdriver.Chrome):
    colour = lambda: browser.execute_script("return getComputedStyle(document.body).backgroundColor")  # noqa: E731
    assert colour() == "rgb(255, 255, 255)"
    look(browser, 1280, 900, scheme="dark")
    assert colour() == "rgb(22, 22, 22)"
    look(browser, 1280, 900, scheme="dark", media="print")
    assert colour() == "rgb(255, 255, 255)"
    assert not browser.find_element(By.ID, "viewer").is_displayed()
    stills = browser.find_elements(By.CSS_SELECTOR, ".stills img")
    assert len(stills) == 3 + 2 + 1 and all(still.is_displayed() for still in stills)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_accessibility(browser: webdriver.Chrome, scheme: str, width: int):
    if not AXE.is_file():
        pytest.skip(f"no axe-core at {AXE}: make test-browser installs it; VDT3D_AXE names another")
    look(browser, width, 900, scheme=scheme)
    browser.execute_script(AXE.read_text(encoding="utf-8"))
    result = browser.execute_async_script(
        "axe.run().then(arguments[0], (error) => arguments[0]({error: String(error)}))"
    )
    assert "error" not in result
    grave = [one for one in result["violations"] if one["impact"] in ("serious", "critical")]
    assert grave == [], json.dumps([[one["id"], [node["html"] for node in one["nodes"]]] for one in grave], indent=1)
    assert len(result["passes"]) > 20  # it did look
