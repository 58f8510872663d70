"""The frame of all pages: what a browser is allowed, what is text, and that a page is whole or not there."""

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest

from vdt3d.visualization.html import picture_uri, write_page

PAGE = """{% extends "page.html.j2" %}
{% block content %}{% for word in words %}<p>{{ word }}</p>{% endfor %}{% endblock %}
"""


def test_a_page_allows_its_own_style_and_script_and_nothing_else(tmp_path: Path):
    path = tmp_path / "new/page.html"
    write_page(path, PAGE, title="a < b", note="<note>", style="p { color: red; }", script="let a = '<'", words=["<i>"])
    text = path.read_text(encoding="utf-8")
    policy = dict(rule.split(" ", 1) for rule in re.search(r'Policy" content="(.*?)"', text)[1].split("; "))
    for tag in ("style", "script"):
        content = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1]
        assert policy.pop(f"{tag}-src") == f"'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'"
    assert policy == {"default-src": "'none'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}
    assert "color-scheme" in text and "p { color: red; }" in text and "let a = '<'" in text
    assert "<h1>a &lt; b</h1>" in text and "&lt;note&gt;" in text and "<p>&lt;i&gt;</p>" in text
    assert picture_uri(b"abc", "png") == "data:image/png;base64,YWJj"


def test_a_page_that_fails_half_way_leaves_the_one_before(tmp_path: Path):
    def broken():
        yield "first"
        raise ValueError("second")

    path = tmp_path / "page.html"
    write_page(path, PAGE, title="one", words=["whole"])
    before = path.read_text(encoding="utf-8")
    assert "<script" not in before and "script-src" not in before and 'class="note"' not in before
    with pytest.raises(ValueError, match="second"):
        write_page(path, PAGE, title="two", words=broken())
    assert path.read_text(encoding="utf-8") == before and list(tmp_path.iterdir()) == [path]
