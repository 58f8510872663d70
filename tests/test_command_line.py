"""The one command line: help that is quick and has examples, fronts in tools/, completion, one line for a mistake."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import vdt3d
from vdt3d.cli import COMMANDS, doctor, main, parser_of
from vdt3d.cli.completion import SHELLS

ROOT = Path(__file__).resolve().parents[1]
WITHOUT_FRONT = {"completion", "demo", "doctor"}  # of the installed command, not of a checkout's work


def test_help_needs_no_heavy_import():
    code = """
import sys
from vdt3d.cli import COMMANDS, main
for words in (["--help"], ["--version"], ["completion", "bash"], *([name, "--help"] for name in COMMANDS)):
    try:
        main(words)
    except SystemExit as left:
        assert left.code == 0, (words, left.code)
heavy = {"torch", "numpy", "mmengine", "pandas", "rich", "yaml", "jinja2"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert all(f"\n  {name}  " in done.stdout for name in COMMANDS)
    assert f"\nvdt3d {vdt3d.__version__}\n" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_examples_that_are_right(command: str):
    told, divider, examples = parser_of(command).format_help().partition("\nfor example:\n")
    assert told and divider
    for line in examples.splitlines():
        program, name, *words = shlex.split(line)
        assert (program, name) == ("vdt3d", command)
        parser_of(command).parse_args(words)
        assert [word for word in words if word.startswith("configs/") and not (ROOT / word).is_file()] == []


def test_every_command_has_a_front_in_tools():
    fronts = (path.read_text(encoding="utf-8") for path in (ROOT / "tools").rglob("[!_]*.py"))
    found = [re.search(r'main\(\["([\w-]+)"', text)[1] for text in fronts]
    assert sorted(found) == sorted(COMMANDS.keys() - WITHOUT_FRONT)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "vdt3d: error: the following arguments are required: COMMAND (see vdt3d --help)\n"),
        (["trian"], "vdt3d: error: there is no command 'trian'; did you mean 'train'? (see vdt3d --help)\n"),
        (["xyz"], "vdt3d: error: there is no command 'xyz' (see vdt3d --help)\n"),
        (["flops"], "vdt3d flops: error: the following arguments are required: config (see vdt3d flops --help)\n"),
        (["flops", "a.py", "--shape", "x"], "argument --shape: invalid int value: 'x' (see vdt3d flops --help)\n"),
        (["doctor", "--wrong"], "vdt3d doctor: error: unrecognized arguments: --wrong (see vdt3d doctor --help)\n"),
    ],
)
def test_wrong_words_are_answered_in_a_line(words: list[str], message: str, capsys):
    with pytest.raises(SystemExit) as left:
        main(words)
    said = capsys.readouterr().err
    assert left.value.code == 2
    assert said.endswith(message) and said.count("\n") == 1


def test_a_pattern_that_is_none_is_refused(capsys):
    with pytest.raises(SystemExit) as left:
        main(["split", "my_task", "--group", "(", "--out", "folds.json"])
    assert left.value.code == 2
    assert "argument --group: '(' is no regular expression: missing )" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (OSError(28, "No space left"), 2),
        (ImportError('Please run "pip install wandb" to install wandb'), 2),
    ],
)
def test_how_a_command_ends_tells_why(error: BaseException, code: int, monkeypatch, capsys):
    def run(args: object) -> None:
        raise error

    monkeypatch.setattr(doctor, "run", run)
    with pytest.raises(SystemExit) as left:
        main(["doctor"])
    said = capsys.readouterr().err
    assert left.value.code == code
    assert said.startswith("vdt3d doctor: ") and said.count("\n") == 1


def test_a_fault_of_ours_is_shown_whole(monkeypatch):
    monkeypatch.setattr(doctor, "run", lambda args: {}["gone"])
    with pytest.raises(KeyError):
        main(["doctor"])


def test_the_page_shows_commands_that_are_right():
    page = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert len(lines) >= 5
    for line in lines:
        program, name, *words = shlex.split(line.partition(" > ")[0])
        assert program == "vdt3d"
        if name not in ("--help", "--version") and words != ["--help"]:
            parser_of(name).parse_args(words)


@pytest.fixture(scope="module")
def scripts() -> dict[str, str]:
    """What ``completion`` writes for each shell."""
    return {shell: write() for shell, write in SHELLS.items()}


# What is typed, the last word of it being completed, and some of what is offered; none: a file is wanted.
TYPED = [
    ("vdt3d tr", {"train"}, {"test"}),
    ("vdt3d ", {"train", "convert-masks", "--version"}, set()),
    ("vdt3d train --re", {"--resume"}, {"--amp"}),
    ("vdt3d train my_config.py -", {"--resume", "--amp", "-h"}, {"--shape"}),
    ("vdt3d train --launcher ", {"none", "pytorch", "slurm"}, {"--amp"}),
    ("vdt3d train --launcher py", {"pytorch"}, {"slurm"}),
    ("vdt3d completion ", {"bash", "zsh", "fish"}, {"--debug"}),
    ("vdt3d train my_con", set(), {"train", "--amp"}),
    ("vdt3d nonsense ", set(), {"train"}),
]


def test_bash_completes(scripts: dict[str, str], tmp_path: Path):
    (tmp_path / "vdt3d.bash").write_text(scripts["bash"])
    asked = [f"try {' '.join(map(shlex.quote, typed.split(' ')))}" for typed, _, _ in TYPED]
    (tmp_path / "try.bash").write_text(
        'try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _vdt3d; echo "${COMPREPLY[*]}"; }\n'
        f"source {shlex.quote(str(tmp_path / 'vdt3d.bash'))}\n" + "\n".join(asked) + "\ncomplete -p vdt3d\n"
    )
    done = subprocess.run(["bash", "-u", tmp_path / "try.bash"], capture_output=True, text=True, check=True)
    *offered, registered = done.stdout.splitlines()
    assert done.stderr == ""
    for (typed, some, none), line in zip(TYPED, offered, strict=True):
        words = set(line.split())
        assert some <= words and not none & words, typed
        assert bool(words) == bool(some), typed
    assert registered == "complete -o default -F _vdt3d vdt3d"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_option_is_known_to_every_shell(shell: str, scripts: dict[str, str]):
    for command in COMMANDS:
        lines = [line for line in scripts[shell].splitlines() if command in line]
        flags = set(re.findall(r"--[\w-]+", parser_of(command).format_usage())) - {"--help"}
        known = "\n".join(lines).replace(" -l ", " --")
        assert {flag for flag in flags if not re.search(rf"{flag}(?![\w-])", known)} == set()
