"""No script hides a module of the standard library: a script's own folder comes first on the import path."""

import sys
from pathlib import Path

TOOLS = Path(__file__).parents[1] / "tools"


def test_no_tool_bears_a_standard_library_name():
    scripts = sorted(TOOLS.rglob("*.py"))
    assert scripts, f"no script found under {TOOLS}: is the search looking in the right place?"
    assert [script for script in scripts if script.stem in sys.stdlib_module_names] == []
