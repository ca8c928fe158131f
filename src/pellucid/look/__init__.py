"""Records that open: any activation, gradient or optimizer step of a network as the sum that made it, the pixels that
it sees, and what each channel looks for. Nothing is ever put on the user's module: a captured graph is run beside it.
"""

from __future__ import annotations

from pellucid._lazy import attach

_homes: dict[str, str] = {
    "Lens": ".lens",
    "Number": ".number",
    "Scene": ".scene",
    "Term": ".number",
    "open": ".lens",
}
__getattr__, __dir__ = attach(__name__, _homes)
__all__ = sorted(_homes)
