"""Messages that several processes of one launch would print alike."""

import os
import zlib
from pathlib import Path

FOLDER = "VDT3D_MESSAGES"  # environment variable that tools/_torchrun.py sets to an empty folder


def once_per_node(message: str) -> str:
    """Return the message, or "" where another process of the same launch on this node has printed it already."""
    folder = os.environ.get(FOLDER)
    if folder is None:
        return message
    try:
        Path(folder, f"{zlib.crc32(message.encode()):08x}").touch(exist_ok=False)
    except FileExistsError:
        return ""
    except OSError:  # the launcher has ended and removed the folder
        return message
    return message
