"""Who may import whom, held as a test: every import of our own packages is found and compared with the table below."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("vdt3d", "medseg")
OUTSIDE = ("tools", "configs", "tests", "benchmarks")  # nobody imports these
DRAWERS = {"structures", "registry", "utils"}
BELOW_ENGINE = {
    *DRAWERS,
    *("io", "transforms", "datasets", "models", "inference", "evaluation", "visualization", "explain"),
}

# A folder may import itself, what stands in its row, and third-party libraries.
# medseg/X may import what vdt3d/X may, vdt3d/X itself, and the same rows of medseg.
MAY_IMPORT = {
    "__init__": {"apis", "cli", "models", "moved"},
    "__main__": {"cli"},
    "moved": set(),
    "registry": set(),
    "utils": set(),
    "structures": {"utils"},
    "io": {"structures", "utils"},
    "transforms": {"structures", "registry", "utils"},
    "datasets": {"structures", "io", "transforms", "registry", "utils"},
    "models": {"structures", "registry", "utils"},
    "inference": {"structures", "io", "transforms", "registry", "utils"},
    "evaluation": DRAWERS,
    "visualization": DRAWERS,
    "explain": DRAWERS,
    "engine": BELOW_ENGINE,
    "apis": {*BELOW_ENGINE, "engine"},
    "experiments": {*BELOW_ENGINE, "engine", "apis"},
    "cli": {*BELOW_ENGINE, "engine", "apis", "experiments"},
}
LAZY = ("__init__", "cli")  # their import is quick: what takes long is imported inside their functions


def imports(tree: ast.Module) -> Iterator[tuple[ast.stmt, str]]:
    """Every import statement, inside functions and ``TYPE_CHECKING`` too, with each full name it asks for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node, "." * node.level + f"{node.module or ''}.{alias.name}") for alias in node.names)


def reason_against(package: str, layer: str, wanted: str, lazy: bool) -> str | None:
    """Why ``package/layer`` may not import ``wanted``; None where it may."""
    top, *rest = wanted.split(".")
    if wanted.startswith("."):
        return "imports are absolute"
    if top in OUTSIDE:
        return f"nobody imports {top}"
    if top not in PACKAGES:
        return None
    if package == "vdt3d" and top == "medseg" and layer != "cli":
        return "medseg imports vdt3d, never the reverse"
    target = rest[0] if rest and rest[0] in MAY_IMPORT else None
    if layer in LAZY and target in MAY_IMPORT["cli"] and not lazy:
        return f"{layer} imports lazily, inside its functions"
    if target is None or target == layer or target in MAY_IMPORT[layer]:
        return None
    return f"{layer} may import only {', '.join(sorted(MAY_IMPORT[layer])) or 'third-party libraries'}"


def offences(root: Path) -> list[str]:
    """Each rule broken under ``root``, as ``file:line: reason``."""
    found = []
    for path in sorted(file for package in PACKAGES for file in (root / package).rglob("*.py")):
        place = path.relative_to(root)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if ast.get_docstring(tree) is None:
            found.append(f"{place}:1: a file opens with a docstring")
        layer = place.parts[1].removesuffix(".py")
        if layer not in MAY_IMPORT:
            found.append(f"{place}:1: the table in tests/test_layers.py has no row for {layer}")
            continue
        top_level = set(map(id, tree.body))
        for node, wanted in imports(tree):
            reason = reason_against(place.parts[0], layer, wanted, lazy=id(node) not in top_level)
            if reason:
                found.append(f"{place}:{node.lineno}: imports {wanted}, but {reason}")
    return found


def test_no_layer_imports_upwards():
    assert len(list(ROOT.glob("vdt3d/**/*.py"))) >= 10, "too few files found: is the search looking in the right place?"
    found = offences(ROOT)
    assert not found, "\n".join(found)


def graph(root: Path, *, folders: bool) -> dict[str, set[str]]:
    """Which module (or folder) of ours imports which others, inside functions too."""
    modules = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for package in PACKAGES
        for path in (root / package).rglob("*.py")
    }
    found: dict[str, set[str]] = {}
    for name, path in modules.items():
        wanted = {full for _, full in imports(ast.parse(path.read_text(encoding="utf-8")))}
        targets = {full if full in modules else full.rpartition(".")[0] for full in wanted}
        targets = {target for target in targets if target in modules and not target.endswith("__init__")}
        if folders:
            name, targets = folder_of(name, modules), {folder_of(target, modules) for target in targets}
        found.setdefault(name, set()).update(targets - {name})
    return found


def folder_of(module: str, modules: dict[str, Path]) -> str:
    return module if modules[module].name == "__init__.py" else module.rpartition(".")[0]


def cycles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that reach one another."""
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return [error.args[1]]
    return []


def test_no_module_imports_itself_through_others():
    edges = graph(ROOT, folders=False)
    packages = {name for name in edges if (ROOT / name.replace(".", "/") / "__init__.py").is_file()}
    # A package's __init__ gathers the modules below it, which import one another by their full names.
    assert cycles({name: targets - packages for name, targets in edges.items() if name not in packages}) == []


def test_no_two_folders_of_the_networks_import_each_other():
    edges = graph(ROOT, folders=True)
    networks = {name for name in edges if name.startswith(("vdt3d.models.", "medseg.models."))}
    assert {"vdt3d.models.backbones", "vdt3d.models.inflate", "vdt3d.models.weights"} <= networks
    assert cycles({name: edges[name] & networks for name in networks}) == []


@pytest.mark.parametrize(
    ("file", "line", "reason"),
    [
        ("vdt3d/models/net.py", "from vdt3d.transforms import vdt", "models may import only"),
        ("vdt3d/models/net.py", "from vdt3d import io", "models may import only"),
        ("vdt3d/models/net.py", "def f():\n    import vdt3d.datasets", "models may import only"),
        ("vdt3d/models/net.py", "from .blocks import Block", "imports are absolute"),
        ("vdt3d/utils/x.py", "import vdt3d.registry", "utils may import only third-party libraries"),
        ("vdt3d/engine/x.py", "import medseg.models", "never the reverse"),
        ("vdt3d/engine/x.py", "import tools.train", "nobody imports tools"),
        ("vdt3d/cli/train.py", "from vdt3d.engine import Runner", "cli imports lazily"),
        ("vdt3d/__init__.py", "from vdt3d.engine import Runner", "__init__ imports lazily"),
        ("medseg/models/net.py", "from vdt3d.transforms import vdt", "models may import only"),
        ("vdt3d/magic/x.py", "import torch", "has no row for magic"),
    ],
)
def test_a_planted_offence_is_found(tmp_path, file, line, reason):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(f'"""A file."""\n{line}\n')
    (offence,) = offences(tmp_path)
    assert offence.startswith(f"{file}:") and reason in offence


def test_a_file_without_a_docstring_is_found(tmp_path):
    (tmp_path / "vdt3d").mkdir()
    (tmp_path / "vdt3d/registry.py").write_text("import torch\n")
    assert offences(tmp_path) == ["vdt3d/registry.py:1: a file opens with a docstring"]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("medseg/models/net.py", "from vdt3d.models.backbones import ResNet3D"),
        ("vdt3d/cli/train.py", "def main():\n    from vdt3d.engine import Runner"),
        ("vdt3d/engine/x.py", "from vdt3d import __version__"),
    ],
)
def test_what_the_table_allows_passes(tmp_path, file, line):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(f'"""A file."""\n{line}\n')
    assert offences(tmp_path) == []
