"""Window: what the windows of slices have in common, which is that a config may spell them out."""

from dataclasses import fields
from typing import Any, Self


class Window:
    """A data class whose arguments stand in a config."""

    @classmethod
    def of(cls, window: Self | dict[str, Any] | None) -> Self:
        """The window of a config: its arguments, or nothing for the default one.

        Raises:
            ValueError: it cannot be, or an argument is none.
        """
        if isinstance(window, cls):
            return window
        known = [field.name for field in fields(cls)]
        if unknown := sorted((window or {}).keys() - set(known)):
            raise ValueError(f"a {cls.__name__} has no {', '.join(unknown)}; it has {', '.join(known)}")
        return cls(**(window or {}))
