"""Sections of settings: every key has a default, a unit, a description and bounds.

Sections are frozen dataclasses. A value out of bounds, an unknown key or an invalid combination
raises InputError.
"""

from functools import wraps
from typing import Any, TypeVar, dataclass_transform

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from .errors import InputError

T = TypeVar("T")


def setting(default: Any, description: str, unit: str = "", **bounds: Any) -> Any:
    """Return a key of a section; `...` as the default makes the key required.

    `bounds` are bounds of pydantic: gt, ge, lt, le, min_length, pattern. A number is not converted
    from a text or a truth value.
    """
    if type(default) in (bool, int, float):
        bounds = {"strict": True} | bounds
    extra: Any = {"unit": unit} if unit else None
    return Field(default, description=description, json_schema_extra=extra, **bounds)


def _plain(value: Any) -> Any:
    """Return the Python number of a number of NumPy, and anything else as it is."""
    return value.item() if type(value).__module__ == "numpy" and not value.shape else value


@dataclass_transform(frozen_default=True)
def section(cls: type[T]) -> type[T]:
    """Make a class with keys made by `setting` a frozen dataclass that checks its values."""
    made: Any = dataclass(frozen=True, config=ConfigDict(extra="forbid", allow_inf_nan=False))(cls)
    checked_init = made.__init__

    @wraps(checked_init)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            checked_init(self, *map(_plain, args), **{k: _plain(v) for k, v in kwargs.items()})
        except ValidationError as error:
            from .schema_errors import one_line  # wording is not part of what a result depends on

            raise InputError(one_line(error, made, cls.__name__)) from None

    made.__init__ = init
    return made
