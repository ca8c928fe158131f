"""Records that open: any activation, gradient or optimizer step of a network as the sum that made it, the pixels that
it sees, and what each channel looks for. Nothing is ever put on the user's module: a captured graph is run beside it.
"""

from __future__ import annotations

from pellucid._lazy import attach

_homes: dict[str, str] = {
    "Lens": ".lens",
    "Number": ".number",
    "RunState": ".update_source",
    "Scene": ".scene",
    "Step": ".update_sheet",
    "Term": ".number",
    "Update": ".update",
    "UpdateTerm": ".update_sheet",
    "clip_scale_of": ".update",
    "open": ".lens",
    "open_update": ".update",
    "optimizer_of": ".update_source",
    "state_of_run": ".update_source",
}
__getattr__, __dir__ = attach(__name__, _homes)
__all__ = sorted(_homes)
