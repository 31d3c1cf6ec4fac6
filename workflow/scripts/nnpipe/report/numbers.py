"""Numbers as people read them."""

import math


def number(value: float, digits: int = 3) -> str:
    """Return a value with `digits` significant digits, thousands separated, without an exponent.

    A value that is not finite is a dash.
    """
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    rounded = round(value, decimals)
    text = f"{rounded:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def times(ratio: float) -> str:
    """Return a ratio as a multiple: 5.1 times."""
    return f"{number(ratio, 2)} times"


def duration(seconds: float) -> str:
    """Return a time as people say it: 42 s, 9.5 min, 3.2 h."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 100:
        return f"{number(seconds, 2)} s"
    if seconds < 6000:
        return f"{number(seconds / 60, 2)} min"
    return f"{number(seconds / 3600, 2)} h"


def size(number_of_bytes: float) -> str:
    """Return a size as people say it: 12 kB, 3.4 MB."""
    if number_of_bytes < 1e6:
        return f"{number(number_of_bytes / 1e3, 2)} kB"
    return f"{number(number_of_bytes / 1e6, 3)} MB"
