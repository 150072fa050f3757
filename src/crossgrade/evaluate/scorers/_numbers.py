"""Reading numbers as people and models write them, exactly and in linear time.

Everything becomes a `fractions.Fraction`, so that a twenty-digit integer that is off by one
is not the same number. Every quantifier is possessive or bounded and nothing behind a run of
digits can fail, so no text makes the search slower than linear.
"""

import re
import unicodedata
from collections.abc import Iterator
from fractions import Fraction
from typing import Literal, NamedTuple

from crossgrade.evaluate.scorers._text import visible

DecimalMark = Literal[".", ","]
PercentReading = Literal["number", "fraction"]

LONGEST_NUMBER = 100
_GROUPING = "'’_\u00a0\u202f\u2009"
_CURRENCY = "$€£¥₹₩₽"

_NUMBER = re.compile(
    rf"""
    (?<!\w)(?<!\d[./])                              # not inside a word, a version or a date
    (?P<sign>(?<![\w)\]}}%])[-+])?
    (?:[{_CURRENCY}]\s?(?P<inner>[-+])?)?
    (?P<body>(?:(?<!\.)\.)?[0-9][0-9.,{_GROUPING}]*+)
    (?P<ordinal>(?:st|nd|rd|th)\b)?
    (?:[eE](?P<exponent>[-+]?[0-9]{{1,3}})(?!\w))?
    (?:\s?(?:×|\\times|\*|x)\s?10\s?(?:\^|\*\*)\s?\{{?(?P<ten>[-+]?[0-9]{{1,3}})(?![0-9])\}}?)?
    (?:\s?[/⁄]\s?(?P<over>[0-9]{{1,18}})(?![0-9/]|[.,][0-9]))?
    (?:\ (?P<upper>[0-9]{{1,9}})[/⁄](?P<lower>[0-9]{{1,9}})(?![0-9/]))?
    (?P<percent>\s?(?:%|per\ ?cent\b))?
    """,
    re.VERBOSE,
)
_FRAC = re.compile(r"\\[dt]?frac\s?\{\s?([-+]?[0-9]{1,18})\s?\}\s?\{\s?([0-9]{1,18})\s?\}")
_AFTER_DIGIT = re.compile(r"(?<=[0-9])(?=\\[dt]?frac)")
_LATEX = (("\\$", "$"), ("\\%", "%"), ("{,}", ","), ("{.}", "."), ("\\!", ""), ("\\,", ""), ("\\ ", " "))


class Number(NamedTuple):
    """A number and the text it was read from; `ordinal` marks `3rd` and the like."""

    value: Fraction
    text: str
    ordinal: bool = False


def readable(text: str, *, decimal: DecimalMark = ".") -> str:
    """Return the text with LaTeX, digits of other scripts and ready-made fractions in plain form."""
    if "\\" in text or "{" in text:
        for latex, plain in _LATEX:
            text = text.replace(latex, plain)
        text = _FRAC.sub(r"\1/\2", _AFTER_DIGIT.sub(" ", text))
    if text.isascii():
        return text
    marks = {"−": "-", "﹣": "-", "－": "-", "＋": "+", "．": ".", "，": ",", "％": "%", "＄": "$"}
    marks |= {"٫": decimal, "٬": "." if decimal == "," else ","}
    return "".join(_plain(c, marks) for c in visible(text))


def _plain(character: str, marks: dict[str, str]) -> str:
    if character.isascii() or character.isalpha():
        return character
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    if unicodedata.decomposition(character).startswith("<fraction>"):
        return " " + unicodedata.normalize("NFKC", character)
    return marks.get(character, character)


def numbers(
    text: str, *, decimal: DecimalMark = ".", percent: PercentReading = "number", last_first: bool = False
) -> Iterator[Number]:
    """Yield the numbers of a `readable` text in order, or the last one first."""
    matches = _NUMBER.finditer(text)
    for match in reversed(list(matches)) if last_first else matches:
        found = _read(match, decimal, percent)
        yield from reversed(found) if last_first else found


def _read(match: re.Match[str], decimal: DecimalMark, percent: PercentReading) -> list[Number]:
    """Return what one match stands for: usually one number, several for `3,4`."""
    body = match["body"].rstrip(f".,{_GROUPING}")
    value = _grouped(body, decimal)
    if value is None:
        pieces = (_grouped(piece, decimal) for piece in re.split(rf"[{_GROUPING}{_other(decimal)}]", body))
        return [Number(piece, str(piece)) for piece in pieces if piece is not None]
    scaled = _scaled(value, match)
    if scaled is None:
        return []
    if "-" in (match["sign"], match["inner"]):
        scaled = -scaled
    if match["percent"] and percent == "fraction":
        scaled /= 100
    return [Number(scaled, match.group().strip(), bool(match["ordinal"]))]


def _scaled(value: Fraction, match: re.Match[str]) -> Fraction | None:
    exponent = int(match["exponent"] or match["ten"] or 0)
    if abs(exponent) > LONGEST_NUMBER:
        return None
    value *= Fraction(10) ** exponent
    if match["over"]:
        over = int(match["over"])
        return value / over if over else None
    if match["lower"]:
        lower = int(match["lower"])
        return value + Fraction(int(match["upper"]), lower) if lower else None
    return value


def _other(decimal: DecimalMark) -> str:
    return "," if decimal == "." else "."


def _grouped(body: str, decimal: DecimalMark) -> Fraction | None:
    """Return `1,234.5` (or `1.234,5`) as a number; None when its groups are not of thousands."""
    if not body or len(body) > LONGEST_NUMBER:
        return None
    whole, _, rest = body.partition(decimal)
    first, *groups = re.split(rf"[{_GROUPING}{_other(decimal)}]", whole)
    # Groups of two are the Indian 1,00,000; the last group is of three everywhere.
    if groups and not (
        1 <= len(first) <= 3 and len(groups[-1]) == 3 and all(2 <= len(group) <= 3 for group in groups)
    ):
        return None
    if rest and not rest.isdigit():
        return None
    digits = first + "".join(groups)
    if digits and not digits.isdigit():
        return None
    return Fraction(f"{digits or 0}.{rest or 0}")
