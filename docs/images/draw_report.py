"""Draw docs/images/report.png: the slice viewer of a report, in Debian's chromium, of a segmentation of phantoms.

python docs/images/draw_report.py
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from selenium import webdriver
from selenium.webdriver.common.by import By

from vdt3d.cli import main

CONFIG = "configs/debug/segment.py"


def draw(out: Path) -> None:
    with TemporaryDirectory() as folder:
        main(["train", CONFIG, "--work-dir", folder])
        main(["test", CONFIG, f"{folder}/best_dice.pth", "--work-dir", folder])
        options = webdriver.ChromeOptions()
        for word in ("--headless=new", "--no-sandbox", "--window-size=1100,1400", "--force-device-scale-factor=1.5"):
            options.add_argument(word)
        options.binary_location = shutil.which("chromium")
        browser = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            browser.get(Path(folder, "report.html").as_uri())
            browser.find_element(By.ID, "viewer").screenshot(str(out))
        finally:
            browser.quit()


if __name__ == "__main__":
    draw(Path(__file__).with_name("report.png"))
