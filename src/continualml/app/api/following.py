"""Which version each worker answers with, how often that changed, and what waits for the log."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from continualml.app.api import counts
from continualml.app.api.champion import Champions
from continualml.app.api.counts import Counts


@dataclass(slots=True)
class Following:
    """Follows the champions, and counts which version this worker answers with."""

    champions: Champions
    counts: Counts
    models: Iterable[str]
    waiting: Callable[[], int]
    _answers: dict[str, int] = field(default_factory=dict)

    def look(self) -> None:
        """Let the champions follow their pointers, and count those that were replaced."""
        self.champions.look()
        now = {n: c.known.version for n in self.models if (c := self.champions.get(n)) is not None}
        for name, version in now.items():
            before = self._answers.get(name)
            if before is not None and before != version:
                self.counts.add((counts.SWAPS, name))
            if before != version:
                self.counts.put((counts.ANSWERS, name), version)
        self._answers = now
        self.counts.put((counts.QUEUED,), self.waiting())
