"""What mkdocs does not do by itself: pages made of the code, and links that hold in the repository and on the site.

mkdocs calls the functions whose names begin with ``on_`` (mkdocs.yml names this file).
"""

import inspect
import json
import os
import posixpath
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from itertools import groupby
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType
from unittest import mock

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import medseg
import vdt3d
from vdt3d import registry as registries
from vdt3d.cli import GROUPS, parser_of
from vdt3d.models.weights.zoo import Entry, entries
from vdt3d.registry import Registry, where

ROOT = Path(__file__).parents[1]
# Pages that lie outside docs/, and what they are called on the site.
BORROWED = {
    "README.md": "project.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "configs/README.md": "configs.md",
    "data/README.md": "data.md",
}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# Where a link to a file or folder of the repository leads on the site.
PLACES = {
    **BORROWED,
    "notebooks": "notebooks/index.md",
    **{f"notebooks/{path.name}": f"notebooks/{path.stem}.md" for path in NOTEBOOKS},
}
LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the generated pages into the navigation, under Reference."""
    (reference,) = (section["Reference"] for section in config.nav if "Reference" in section)
    for title, folder in (("Parts of a config", "config"), ("Python", "api")):
        reference.append({title: [uri for uri in generated() if uri.startswith(f"reference/{folder}/")]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie elsewhere, and those made of the code."""
    for source, uri in BORROWED.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / source)))
    for uri, text in generated().items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make links between files of the repository links between pages of the site."""
    sources = {uri: source for source, uri in PLACES.items()}
    here = page.file.src_uri
    folder = posixpath.dirname(sources.get(here, f"docs/{here}"))

    def on_site(link: re.Match) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[2]))
        uri = PLACES.get(target) or (target.startswith("docs/") and target.removeprefix("docs/"))
        if not uri or files.get_file_from_path(uri) is None:
            return link[0]  # nothing of the site: mkdocs complains, if it is a link at all
        return link[1] + posixpath.relpath(uri, posixpath.dirname(here) or ".") + link[3]

    return LINK.sub(on_site, markdown)


@cache
def generated() -> dict[str, str]:
    """The pages made of the code: Markdown by its path on the site."""
    pages = {f"reference/config/{name.lower()}.md": config_page(part) for name, part in config_registries().items()}
    pages |= {f"reference/api/{package}.md": api_page(modules) for package, modules in packages().items()}
    pages |= notebook_pages()
    return pages | {"reference/commands.md": commands_page(), "reference/weights.md": weights_page()}


def notebook_pages() -> dict[str, str]:
    """The notebooks, cell after cell, and a list of them."""
    listed, pages = [], {}
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        sources = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
        blocks = [source if kind == "markdown" else f"```python\n{source}\n```" for kind, source in sources]
        pages[PLACES[f"notebooks/{path.name}"]] = "\n\n".join(blocks)
        listed.append(f"- [{sources[0][1].splitlines()[0].lstrip('# ')}]({path.stem}.md)")
    about = "# Notebooks\n\nThey lie in `notebooks/`, without results: to be run in Jupyter, or read here.\n\n"
    return {"notebooks/index.md": about + "\n".join(listed), **pages}


def config_registries() -> dict[str, Registry]:
    """The registries with parts of ours, by their names in ``vdt3d.registry``."""
    found = {name: part for name, part in vars(registries).items() if isinstance(part, Registry)}
    return {name: registry for name, registry in found.items() if parts_of(registry)}


def parts_of(registry: Registry) -> list[tuple[str, type]]:
    """Names and classes (or functions) of ours in a registry, by the package that has them, then by name."""
    registry.import_from_location()
    ours = [(name, part) for name, part in registry.module_dict.items() if is_ours(part)]
    return sorted(ours, key=lambda named: (package_of(named[1]), named[0]))


def config_page(registry: Registry) -> str:
    """What a config can name of one registry: where it lives, what it takes, what it is."""
    blocks = [
        f"# {registry.name.capitalize()}s",
        f'What `type="..."` can name where a config wants a {registry.name}. Names that are not here are looked up in '
        "mmengine, mmpretrain and mmseg. `vdt3d print-config CONFIG` shows where each type of a config lives.",
    ]
    for package, members in groupby(parts_of(registry), key=lambda named: package_of(named[1])):
        blocks.append(f"## {package}")
        for name, part in members:
            summary = inspect.cleandoc(part.__doc__).split("\n\n")[0]
            blocks += [
                f"### {name}",
                summary,
                f"```python\n{signature(name, part)}\n```",
                f"[What each setting means][{path_of(part)}] · `{where(part)}`",
            ]
    return "\n\n".join(blocks)


def signature(name: str, part: type) -> str:
    """How it is called, in one line where that is short."""
    parameters = list(inspect.signature(part).parameters.values())
    star = next((number for number, each in enumerate(parameters) if each.kind is each.KEYWORD_ONLY), None)
    shown = [str(each) for each in parameters]
    if star is not None and not any(each.kind is each.VAR_POSITIONAL for each in parameters):
        shown.insert(star, "*")
    line = f"{name}({', '.join(shown)})"
    return line if len(line) <= 88 else f"{name}(\n" + "".join(f"    {each},\n" for each in shown) + ")"


def packages() -> dict[str, list[ModuleType]]:
    """Our packages and, with each, those below it that export something."""
    found: dict[str, list[ModuleType]] = {}
    for top in (vdt3d, medseg):
        for info in walk_packages(top.__path__, f"{top.__name__}."):
            module = import_module(info.name) if info.ispkg else None
            if exported(module):
                found.setdefault(".".join(info.name.split(".")[:2]), []).append(module)
    return found


def exported(module: ModuleType | None) -> list[type]:
    """The classes and functions of ours that a package exports."""
    parts = (getattr(module, name) for name in getattr(module, "__all__", ()))
    return [part for part in parts if (inspect.isclass(part) or inspect.isfunction(part)) and is_ours(part)]


def api_page(modules: list[ModuleType]) -> str:
    """What a package exports, and what the packages below it export beyond that, for mkdocstrings to fill in."""
    blocks, told = [], set()
    for number, module in enumerate(modules):
        new = [part for part in exported(module) if part not in told]
        if not new:
            continue
        told.update(new)
        level = 1 if number == 0 else 2
        blocks += [f"{'#' * level} {module.__name__}", inspect.cleandoc(module.__doc__)]
        blocks += [f"::: {path_of(part)}\n    options:\n      heading_level: {level + 1}" for part in new]
    return "\n\n".join(blocks)


def commands_page() -> str:
    """The help of every command."""
    blocks = [
        "# Commands",
        "What `vdt3d COMMAND --help` says. [The command line](../cli.md) tells what all have in common.",
    ]
    with mock.patch.dict(os.environ, COLUMNS="86"):  # the page's width, not that of whoever builds it
        for title, commands in GROUPS.items():
            blocks.append(f"## {title.capitalize()}")
            for name in commands:
                blocks += [f"### vdt3d {name}", f"```text\n{parser_of(name).format_help().strip()}\n```"]
    return "\n\n".join(blocks)


def weights_page() -> str:
    """What the model index knows of each file of weights."""
    blocks = [
        "# Published weights",
        "A config names them as `load_from`, a command as its checkpoint ([how they are fetched, and checked]"
        "(../zoo.md)). Scores are those their authors publish; none was measured here.",
    ]
    return "\n\n".join([*blocks, *(block for entry in entries() for block in weights_section(entry))])


def weights_section(entry: Entry) -> Iterator[str]:
    """The heading, the remark and the table of one file of weights."""
    yield f"## {entry.name}"
    if entry.remark:
        yield entry.remark
    scores = ", ".join(f"{name} {value}" for name, value in entry.metrics.items())
    size = f"{entry.size / 1e6:.0f} MB" if isinstance(entry.size, int) else entry.size
    file = [f"`{entry.file}`", size, entry.sha256 and f"SHA-256 `{entry.sha256[:8]}`"]
    origin = ["fetched by name" if entry.url else "by hand", entry.page and f"[page]({entry.page})"]
    rows = {
        "in a config": f'`load_from = "zoo:{entry.name}"`',
        "task": entry.task,
        "trained on": entry.data,
        "published score": scores and f"{scores} ({entry.scored})",
        "licence": entry.licence,
        "file": ", ".join(filter(None, file)),
        "how it is had": ", ".join(filter(None, origin)),
        "config": entry.config and f"`{entry.config}`",
        "described in": entry.paper and f"[{entry.paper}]({entry.paper})",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items() if value)
    yield f"| | |\n|---|---|\n{table}"


def is_ours(part: object) -> bool:
    return part.__module__.partition(".")[0] in ("vdt3d", "medseg")


def package_of(part: type) -> str:
    return part.__module__.rpartition(".")[0]


def path_of(part: type) -> str:
    return f"{part.__module__}.{part.__qualname__}"
