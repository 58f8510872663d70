"""Compare settings with what receives them: names and types of the parameters of a class or function."""

import inspect
from collections import abc
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from inspect import Parameter
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_ABSTRACT = (abc.Sequence, abc.Iterable, abc.Collection)
_SEQUENCES = (list, tuple, set, *_ABSTRACT)
_SCALARS = {bool: bool, int: Integral, float: Real, str: str}


def nearest(name: str, known: Collection[str]) -> str:
    """Return ``; did you mean 'NAME'?`` for the nearest of the ``known`` names, or nothing."""
    near = get_close_matches(name, list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def check_arguments(
    where: str, given: Mapping[str, Any], receiver: Callable, supplied: Collection[str] = (), *, complete: bool = True
) -> None:
    """Refuse settings that a class or function does not take.

    Args:
        where: the key of the settings in the config, for messages.
        given: the settings.
        receiver: what is called with them.
        supplied: parameters that the caller fills in.
        complete: whether every parameter without a default must be given or supplied.

    Raises:
        ValueError: an unknown name, a value of a wrong type, or a missing parameter.
    """
    known, any_name = parameters(receiver)
    check_keys(where, given, known | {name: Parameter(name, Parameter.KEYWORD_ONLY) for name in supplied}, any_name)
    missing = [n for n, p in known.items() if p.default is Parameter.empty and n not in given and n not in supplied]
    if complete and missing:
        raise ValueError(f"{where}: {_name(receiver)} needs {', '.join(missing)}")


def check_keys(where: str, given: Mapping[str, Any], known: Mapping[str, Any], any_name: bool = False) -> None:
    """Refuse unknown names and values of a wrong type.

    Args:
        where: the key of the settings in the config, for messages.
        given: the settings.
        known: a type or an ``inspect.Parameter`` for each name.
        any_name: whether other names are taken too.

    Raises:
        ValueError: the message has the key, the value found and what was expected.
    """
    for name, value in given.items():
        if name in known:
            check_type(f"{where}.{name}", value, known[name])
        elif not any_name:
            hint = nearest(str(name), known) or f"; known are {', '.join(sorted(known))}"
            raise ValueError(f"{where} has no setting '{name}'{hint}")


def check_type(where: str, value: Any, expected: Any) -> None:
    """Raise ValueError if a value is not of the ``expected`` type, or not the default of an expected parameter."""
    kind = expected
    if isinstance(expected, Parameter):
        kind = expected.annotation
        if expected.default is value or kind is Parameter.empty:
            return
    if not fits(value, kind):
        raise ValueError(f"{where}={value!r}, expected {describe(kind)}")


def parameters(receiver: Callable) -> tuple[dict[str, Parameter], bool]:
    """Return the parameters of a class or function by name, and whether it takes any other name too.

    Behind a ``**kwargs`` of a class stand the parameters of the classes it derives from.
    """
    if not inspect.isclass(receiver):
        return _own_parameters(receiver)
    found: dict[str, Parameter] = {}
    any_name = False
    for cls in receiver.__mro__[:-1]:  # all but object
        if "__init__" in vars(cls):
            own, any_name = _own_parameters(cls.__init__)
            found = {name: parameter for name, parameter in own.items() if name != "self"} | found
            if not any_name:
                break
    return found, any_name


def _own_parameters(function: Callable) -> tuple[dict[str, Parameter], bool]:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a compiled function
        return {}, True
    try:
        hints = get_type_hints(function)
    except Exception:  # annotations that name what is imported for type checkers only
        hints = {}
    named = {
        name: parameter.replace(annotation=hints.get(name, Parameter.empty))
        for name, parameter in signature.parameters.items()
        if parameter.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    }
    return named, any(parameter.kind is Parameter.VAR_KEYWORD for parameter in signature.parameters.values())


def fits(value: Any, kind: Any) -> bool:
    """Return whether a value from a config may be passed where ``kind`` is the annotation; True if in doubt."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in arguments)
    if origin is Literal:
        return value in arguments
    if kind in (None, NoneType):
        return value is None
    if kind in _SCALARS:
        return isinstance(value, _SCALARS[kind]) and not (kind in (int, float) and isinstance(value, bool))
    if kind is Path:
        return isinstance(value, str | PathLike)
    kind = origin or kind
    if isinstance(value, str) and kind in _ABSTRACT:  # the letters of a string, such as axes="HW"
        return arguments in ((), (str,))
    if kind in _SEQUENCES:
        return not isinstance(value, str | Mapping | bool | Real | NoneType)
    if kind in (dict, abc.Mapping):
        return isinstance(value, Mapping)
    if isinstance(value, str | Real | NoneType) and inspect.isclass(kind) and kind not in (object, Any):
        return isinstance(value, kind)
    return True


def describe(kind: Any) -> str:
    """Return the name of a type as messages show it."""
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(dict.fromkeys(describe(one) for one in get_args(kind)))
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(repr, get_args(kind)))
    names = {int: "a whole number", float: "a number", str: "a string", bool: "True or False", NoneType: "None"}
    plain = get_origin(kind) or kind
    if plain in _SEQUENCES:
        return "a list"
    return names.get(kind) or ("a dict" if plain in (dict, abc.Mapping) else _name(plain))


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))
