"""A number's sum as a person would write it: ``1·1 + 2·2 + 4·3 + 5·4 = 37``."""

from __future__ import annotations

import re
from textwrap import TextWrapper
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pellucid.look.number import Number, Term

_ALL, _MOST = 30, 12  # up to how many terms all are written, else how many of the largest
_LINES = TextWrapper(  # a sum of many terms goes on below
    width=100, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
)


def short(value: float) -> str:
    """A number in four figures, whole numbers as such.

    >>> short(4.0), short(-0.123456), short(1e-9)
    ('4', '-0.1235', '1e-09')
    """
    return f"{value:.4g}"


def written_term(term: Term) -> str:
    """``0.5·(-0.25)``; a function as ``relu(-1.5)``; a constant as it is."""
    if term.source is not None and term.factor is None and "(x" in term.note:
        return re.sub(r"\bx\b", short(_source_value(term)), term.note)
    if term.source is not None and term.factor is not None and (term.weight is not None or term.factor != 1):
        return f"{_bracketed(_source_value(term))}·{_bracketed(term.factor)}"
    if term.role == "padding" and term.factor is not None:
        return f"0·{_bracketed(term.factor)}"
    return _bracketed(term.product)


def written(number: Number) -> str:
    """The number, what made it, and its sum."""
    head = f"{number.address} = {short(number.value)}   {number.operation}"
    if number.missing:
        return f"{head}\n  it has no terms: {number.missing}"
    terms = number.terms()
    if not len(terms):
        return head
    lines = [head]
    if number.formula:
        lines.append(f"  {number.formula}")
    shown = list(terms) if len(terms) <= _ALL else terms.largest(_MOST)
    text = " + ".join(written_term(term) for term in shown)
    rest = len(terms) - len(shown)
    if rest:
        text += f" + {rest:,} more ({short(number.total - sum(term.product for term in shown))})"
    total = short(number.total)
    lines += _LINES.wrap(f"= {total}" if text in (total, f"({total})") else f"= {text} = {total}")
    if number.facts:
        facts = (f"{name} {short(fact) if isinstance(fact, float) else fact}" for name, fact in number.facts.items())
        lines.append(f"  with {', '.join(facts)}")
    return "\n".join(lines)


def _source_value(term: Term) -> float:
    return term.source.value if term.source is not None else 0.0


def _bracketed(value: float) -> str:
    text = short(value)
    return f"({text})" if text.startswith("-") else text
