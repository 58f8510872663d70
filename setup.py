"""The package: what it needs (requirements/*.txt), what it brings along (configs and case lists) and its command."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
EXTRAS = ("timm", "explain", "tune", "track", "export", "dicomseg", "flops", "weights", "docs", "tests")


class BuildWithConfigs(build_py):
    """Puts configs, case lists and the model index into the wheel, at ``vdt3d/.mim`` as in every OpenMMLab package."""

    def run(self):
        super().run()
        if self.editable_mode:  # the checkout itself is what is installed, and it has them
            return
        target = Path(self.build_lib, "vdt3d", ".mim")
        for folder in ("configs", "data/splits"):
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(ROOT / folder, target / folder, dirs_exist_ok=True, ignore=ignored)
        if (ROOT / "model-index.yml").exists():
            shutil.copy2(ROOT / "model-index.yml", target)


def requirements(name: str) -> list[str]:
    """The lines of requirements/NAME.txt, comments left out."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


setup(
    name="vdt3d",
    version=re.search(r'__version__ = "(.+)"', (ROOT / "vdt3d" / "__init__.py").read_text(encoding="utf-8")).group(1),
    description="3D medical models from 2D knowledge: VDT pre-training, inflated 2D weights, fine-tuning, evaluation",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["vdt3d*", "medseg*"]),
    install_requires=requirements("runtime"),
    package_data={"vdt3d.visualization": ["*.css", "*.j2"], "vdt3d.visualization.report": ["*.css", "*.j2", "*.js"]},
    extras_require={name: requirements(name) for name in EXTRAS},
    entry_points={"console_scripts": ["vdt3d = vdt3d.cli:main"]},
    cmdclass={"build_py": BuildWithConfigs},
)
