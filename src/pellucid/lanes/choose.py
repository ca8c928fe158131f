"""Which algorithm computes each convolution: measured once at the real shape on the real machine, and remembered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

from pellucid import __version__
from pellucid.cache import Remembered

if TYPE_CHECKING:
    from pellucid.lanes.blocks.convolution import Geometry, Pass
    from pellucid.lanes.build import Build
    from pellucid.lanes.library import Library

__all__ = ["Chooser"]

_ROUNDS = (2, 12)  # after one that warms up, at least and at most
_SECONDS = 0.01  # then no more of them
_HOPELESS = 1.6  # an algorithm that took so many times the best is not tried again


class Chooser:
    """Names an algorithm for each pass of each convolution.

    Args:
        exact: direct convolution alone.
        tune: measure; else the first candidate is taken.
        choices: algorithms by key that were chosen before: they are taken as they are, so that a resumed run computes
            what it did.
    """

    def __init__(
        self, library: Library, *, exact: bool = False, tune: bool = True, choices: Mapping[str, str] | None = None
    ) -> None:
        self.library, self.exact, self.tune = library, exact, tune
        self.choices: dict[str, str] = dict(choices or {})
        self._store = Remembered("lanes.json")
        self._known: dict[str, Any] | None = None

    def choose(self, geometry: Geometry, direction: Pass, candidates: Sequence[str], build: Build) -> str:
        """One of the candidates."""
        if self.exact:
            candidates = [name for name in candidates if "winograd" not in name]
        if len(candidates) == 1:
            return candidates[0]
        key = "-".join(map(str, (direction.replace(" ", "-"), *_flat(astuple(geometry)), f"batch{build.batch}")))
        if self.choices.get(key) not in candidates:
            self.choices[key] = self._found(geometry, direction, candidates, build) if self.tune else candidates[0]
        return self.choices[key]

    def _found(self, geometry: Geometry, direction: Pass, candidates: Sequence[str], build: Build) -> str:
        """What is remembered of this machine, else measured now."""
        if self._known is None:
            self._known = self._store.read()
        target = self.library.target.name
        facts = (direction, astuple(geometry), build.batch, build.threads, target, list(candidates), __version__)
        key = self._store.key(*facts)
        if self._known.get(key) not in candidates:
            self._known[key] = self._measured(geometry, direction, candidates, build)
            self._store.add({key: self._known[key]})
        return str(self._known[key])

    def _measured(self, geometry: Geometry, direction: Pass, candidates: Sequence[str], build: Build) -> str:
        from pellucid.lanes.trial import Trial

        trials = {name: Trial(self.library, geometry, direction, name, build) for name in candidates}
        best = {name: trial.seconds() for name, trial in trials.items()}
        fewest, most = _ROUNDS
        for _ in range(max(fewest, min(most, int(_SECONDS / max(min(best.values()), 1e-9))))):
            least = min(best.values())
            for name, trial in trials.items():
                if best[name] <= _HOPELESS * least:
                    best[name] = min(best[name], trial.seconds())
        return min(best, key=lambda name: best[name])


def _flat(values: Any) -> list[Any]:
    if isinstance(values, tuple):
        return [item for value in values for item in _flat(value)]
    return [int(values) if isinstance(values, bool) else values]
