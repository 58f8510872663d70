"""Let a shell complete commands, their options and the words that an option may take; everything else is a file.

In ~/.bashrc: eval "$(vdt3d completion bash)"; in ~/.zshrc, after compinit: eval "$(vdt3d completion zsh)"; once for
fish: vdt3d completion fish > ~/.config/fish/completions/vdt3d.fish.

What is written knows this version's options and starts nothing: write it anew after an upgrade.
"""

import sys
from argparse import Action, ArgumentParser, Namespace
from shlex import quote

from vdt3d.cli import COMMANDS, parser_of

EXAMPLE = "vdt3d completion bash"


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="which shell the script is for")


def run(args: Namespace) -> None:
    sys.stdout.write(SHELLS[args.shell]())


def bash() -> str:
    """A script that bash reads."""
    cases = "\n".join(f"        {pattern}) words={quote(words)} ;;" for pattern, words in _cases())
    return f"""\
_vdt3d() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} words=
    case "${{COMP_WORDS[1]}} ${{COMP_WORDS[COMP_CWORD-1]}} $word" in
{cases}
    esac
    ((COMP_CWORD == 1)) && words={quote(" ".join(_first_words()))}
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _vdt3d vdt3d
"""


def zsh() -> str:
    """A script that zsh reads once its ``compinit`` has run."""
    cases = "\n".join(f"        {pattern}) known={quote(words)} ;;" for pattern, words in _cases())
    return f"""\
_vdt3d() {{
    local known=
    case "$words[2] $words[CURRENT-1] $words[CURRENT]" in
{cases}
    esac
    ((CURRENT == 2)) && known={quote(" ".join(_first_words()))}
    if [[ -n $known ]]; then compadd -- ${{=known}}; else _files; fi
}}
compdef _vdt3d vdt3d
"""


def fish() -> str:
    """A script that fish reads."""
    lines = ["complete -c vdt3d -n __fish_use_subcommand -l version -d 'show the version'"]
    for name, (_, text) in COMMANDS.items():
        lines.append(f"complete -c vdt3d -n __fish_use_subcommand -f -a {name} -d {quote(text)}")
        here = f"complete -c vdt3d -n '__fish_seen_subcommand_from {name}'"
        for action in _actions(name):
            flags = "".join(
                f" -l {flag.removeprefix('--')}" if flag.startswith("--") else f" -s {flag.removeprefix('-')}"
                for flag in action.option_strings
            )
            words = f" -f -a {quote(' '.join(map(str, action.choices)))}" if action.choices else ""
            takes = " -r" if flags and action.nargs != 0 else ""
            if flags or words:
                lines.append(f"{here}{flags}{takes}{words} -d {quote(action.help or '')}")
    return "\n".join(lines) + "\n"


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}


def _cases() -> list[tuple[str, str]]:
    """Patterns of "COMMAND PREVIOUS-WORD WORD" in the shells' common tongue, and what may stand there, the narrowest
    first: words of an option, the options once a dash is typed, words of an argument.
    """
    narrow, wide = [], []
    for name in COMMANDS:
        actions = _actions(name)
        flags = [flag for action in actions for flag in action.option_strings]
        wide.append((f'"{name} "*" -"*', " ".join(flags)))
        for action in actions:
            if action.choices:
                before = "|".join(f'"{name} {flag} "*' for flag in action.option_strings) or f'"{name} {name} "*'
                target = narrow if action.option_strings else wide
                target.append((before, " ".join(map(str, action.choices))))
    return narrow + wide


def _first_words() -> list[str]:
    return [*COMMANDS, "--help", "--version"]


def _actions(command: str) -> list[Action]:
    return parser_of(command)._actions  # argparse has no public way to ask
