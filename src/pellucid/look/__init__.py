"""Records that open: any activation, gradient or optimizer step of a network as the sum that made it, the pixels that
it sees, and what each channel looks for. Nothing is ever put on the user's module: a captured graph is run beside it.
"""

from __future__ import annotations

from pellucid._lazy import attach

_homes: dict[str, str] = {
    "ActivationStatistics": ".activity",
    "Atlas": ".atlas_read",
    "AttentionWeights": ".attention_weights",
    "EffectiveField": ".field",
    "FeatureMaps": ".maps",
    "Kernels": ".maps",
    "Lens": ".lens",
    "Mixing": ".mixing",
    "NodeStatistics": ".activity",
    "Number": ".number",
    "Probe": ".probe_record",
    "Projection": ".projection",
    "RunState": ".update_source",
    "Scene": ".scene",
    "Step": ".update_sheet",
    "Term": ".number",
    "TheoreticalField": ".field",
    "Update": ".update",
    "UpdateTerm": ".update_sheet",
    "atlas": ".atlas_build",
    "attention": ".attention_weights",
    "attribution": ".attribution",
    "channel_mixing": ".mixing",
    "clip_scale_of": ".update",
    "deconvnet": ".deconvnet",
    "effective_field": ".field",
    "feature_maps": ".maps",
    "grid_of": ".attention_weights",
    "kernels": ".maps",
    "open": ".lens",
    "open_update": ".update",
    "optimizer_of": ".update_source",
    "probe": ".probing",
    "rollout": ".attention_weights",
    "state_of_run": ".update_source",
    "statistics": ".activity",
    "theoretical_field": ".field",
}
__getattr__, __dir__ = attach(__name__, _homes)
__all__ = sorted(_homes)
