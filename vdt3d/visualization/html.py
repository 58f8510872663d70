"""What all pages have in common: one frame, one style, pictures within the page, and nothing from outside it."""

from base64 import b64encode
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from vdt3d.utils.files import write_aside
from vdt3d.utils.notice import NOTICE

HERE = Path(__file__).parent
NOTE = f"{NOTICE} The pictures here are of the data: pass the page on as you would pass on the data."


def write_page(
    path: Path, source: str, *, title: str, note: str = "", style: str = "", script: str = "", **content: Any
) -> None:
    """One self-contained page, written piece by piece aside, then renamed; folders are made where they are missing.

    Args:
        path: of the page.
        source: a jinja template that extends ``page.html.j2``.
        note: what is said above all else.
        style: CSS, after what all pages have.
        script: JavaScript.
        content: what the names in ``source`` stand for.
    """
    pages = Environment(
        autoescape=True, undefined=StrictUndefined, loader=FileSystemLoader(HERE), trim_blocks=True, lstrip_blocks=True
    )
    pages.globals.update(hash=_hash, tuple=tuple)
    style = (HERE / "page.css").read_text(encoding="utf-8") + style
    stream = pages.from_string(source).stream(
        title=title, note=note, style=Markup(style), script=Markup(script), **content
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_aside(path, lambda aside: stream.dump(str(aside), encoding="utf-8"))


def jpeg(picture: Image.Image) -> bytes:
    """The picture as a file."""
    file = BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()


def png(figure: Figure, **options: Any) -> bytes:
    """The figure as a file.

    Args:
        options: of ``Figure.savefig``.
    """
    file = BytesIO()
    figure.savefig(file, format="png", **options)
    return file.getvalue()


def picture_uri(content: bytes, kind: str) -> str:
    """A picture's file as an address that holds all of it.

    Args:
        kind: as in its media type: "jpeg", "png", "webp".
    """
    return f"data:image/{kind};base64,{b64encode(content).decode()}"


def _hash(text: str) -> str:
    """By which a page's policy knows its own style and script."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
