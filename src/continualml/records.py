"""The nouns of the log: rows, outcomes and decisions as plain values."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from continualml.model import Model

# Evidence, decisions and manifests are stored as JSON documents.
Json = dict[str, Any]

DecisionKind = Literal[
    "first",
    "keep",
    "accept",
    "refuse",
    "promote",
    "follow",
    "rollback",
    "alarm",
    "policy",
    "recover",
    "build",
    "collect",
]
LabelVerdict = Literal["accepted", "duplicate", "superseded", "pending", "rejected"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Features of n rows, in the order of the model's columns.

    ``numeric`` is (n, k) float64 with NaN where a value is missing; ``categorical`` is (n, c)
    object, each a str, "" where missing.
    """

    numeric: NDArray[np.float64]
    categorical: NDArray[np.object_]

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.numeric)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """Rows in the order of their numbers, labelled or not; ``answer`` as in ``Window``."""

    seq: NDArray[np.int64]
    rows: Rows
    answer: NDArray[np.float64]

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.seq)


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """Observations and first labels as they came, in the order of their numbers.

    Parameters
    ----------
    seq
        (n,) int64, strictly increasing.
    observed
        (n,) whether the row is an observation.
    delay
        (n,) float64: where the row brought observation and first label together, how many
        observations were logged between them (0 if the label was there first); else NaN.
    """

    seq: NDArray[np.int64]
    observed: NDArray[np.bool_]
    delay: NDArray[np.float64]

    def __len__(self) -> int:
        """Count the events."""
        return len(self.seq)

    def between(self, after: int, upto: int, limit: int | None = None) -> "Events":
        """Take the first ``limit`` events after one number and up to another."""
        start, stop = np.searchsorted(self.seq, (after, upto), side="right").tolist()
        cut = slice(start, stop if limit is None else min(stop, start + limit))
        return Events(seq=self.seq[cut], observed=self.observed[cut], delay=self.delay[cut])


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Labelled rows in the order in which they became labelled.

    Parameters
    ----------
    seq
        (n,) int64, strictly increasing: the number at which observation and label were both
        there (the larger of the two).
    observation_seq
        (n,) int64: the observation's own number, the row's id in manifests.
    target
        (n,) float64: index of the class, or the value of a regression.
    version
        (n,) int64: the version that answered, 0 where none did.
    answer
        (n, width) float64: what was answered (probabilities or value), NaN where nothing was.
    """

    seq: NDArray[np.int64]
    observation_seq: NDArray[np.int64]
    rows: Rows
    target: NDArray[np.float64]
    version: NDArray[np.int64]
    answer: NDArray[np.float64]

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.seq)

    def part(self, start: int, stop: int) -> "Window":
        """Take the rows from ``start`` to before ``stop``."""
        return self.only(slice(start, stop))

    def without(self, spans: tuple[tuple[int, int], ...]) -> "Window":
        """Leave out rows observed or labelled at a number in one of the spans (inclusive)."""
        kept = np.ones(len(self), dtype=np.bool_)
        for first, last in spans:
            for seq in (self.seq, self.observation_seq):
                kept &= (seq < first) | (seq > last)
        return self.only(kept) if spans else self

    def only(self, cut: slice | NDArray[np.bool_]) -> "Window":
        """Take the rows of a cut."""
        return Window(
            seq=self.seq[cut],
            observation_seq=self.observation_seq[cut],
            rows=Rows(numeric=self.rows.numeric[cut], categorical=self.rows.categorical[cut]),
            target=self.target[cut],
            version=self.version[cut],
            answer=self.answer[cut],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """Outcome: what several versions answer on labelled rows that none of them was trained on.

    ``seq`` and ``observed`` are (n,) little-endian int64, the numbers ``seq`` and
    ``observation_seq`` of a ``Window``, ``target`` (n,) float64, and ``answers`` (n, len(versions),
    width) float32, the numbers that the graphs gave, NaN where there is none or none was asked
    for; all as bytes, so that a fold reads what was answered and never runs a graph. ``versions``
    are those that are watched, and who stood in their place when the rows were observed.
    """

    versions: tuple[int, ...]
    seq: bytes
    target: bytes
    answers: bytes
    observed: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Outcome: a strategy was fitted; how it did on the newest rows, which it never saw.

    ``held`` has the mean loss in each metric on the ``hold`` rows and the standard error of that
    mean; ``worse_by`` is the mean paired difference to the strategy's previous version, and
    ``standard_error`` that of the mean; both 0.0 without one. ``block`` is set on a first
    champion: the rows that make one bet from then on.
    """

    strategy: str
    version: int
    through: int
    hold: int
    held: dict[str, tuple[float, float]]
    worse_by: float
    standard_error: float
    predecessor: int | None
    seconds: float
    block: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """Outcome: versions became one graph that answers with their weighted mean.

    ``members`` are (strategy, version), in the order of the graph's weights.
    """

    strategy: str
    version: int
    through: int
    members: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """Outcome: what features, answers and labels looked like when a version was proven.

    ``columns`` and ``labels`` are references as MessagePack; ``observed`` is the largest number
    of an observation among the rows described: later ones are held against them.
    """

    version: int
    observed: int
    columns: bytes
    labels: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Outcome: where in the reference of ``version`` the columns of new observations lie.

    ``seq`` is (n,) little-endian int64, the observations' numbers; ``codes`` (n, columns) uint8,
    one byte for each column of a row.
    """

    version: int
    seq: bytes
    codes: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class DelaysDescribed:
    """Outcome: how labels came while the first ``observations`` after the number ``after`` did.

    ``through`` is the number of the last of these, ``labels`` how many first labels came up to
    there, and ``reference`` a ``DelayReference`` as MessagePack: empty where they were too few.
    """

    after: int
    observations: int
    through: int
    labels: int
    reference: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """Outcome: observations and first labels as they came, in the order of their numbers.

    ``seq`` is (n,) little-endian int64, ``observed`` (n,) uint8, 1 for an observation, ``delay``
    (n,) float64, as in ``Events``.
    """

    seq: bytes
    observed: bytes
    delay: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What one serving process answered and refused for a model until the number ``seq``.

    It counts rows since that process's window before. ``fields`` are refused rows by the field at
    fault, a few of them by name.
    """

    seq: int
    answered: int
    refused: int
    fields: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """Outcome: what serving processes answered and refused, in the order of the numbers."""

    windows: tuple[Counted, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFailed:
    """Outcome: no version came of it (time, memory, one class only, a graph that differs…)."""

    strategy: str
    through: int
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """Outcome: from here on this schema and policy are in force."""

    model: Model


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """Outcome: from here on the loop runs on this: versions of code and libraries, and machine."""

    build: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Commanded:
    """Outcome: a person lets a version answer, without proof, and says why.

    ``by`` is who, ``said`` the reason. The rest is what must be known of the version: the last row
    that it has seen, mean and variance of its loss by metric over ``rows`` held-back rows, and of
    a blend its members, (strategy, version), and their weights.
    """

    kind: Literal["promote", "rollback"]
    version: int
    said: str
    by: str
    through: int
    rows: int
    expected: dict[str, tuple[float, float]]
    members: tuple[tuple[str, int], ...] = ()
    weights: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """Outcome: a person says that what was taken for a fault is how things are from now on.

    ``by`` is who, ``said`` the reason.
    """

    said: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfit:
    """Outcome: a serving process cannot let a version answer, and lets an earlier one answer.

    ``guard`` says what for: it cannot be loaded or warmed, too many rows had no finite answer, or
    its graph is far slower than that of the version before.
    """

    version: int
    guard: Literal["load", "errors", "latency"]
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Outcome: what nothing needs any more was deleted, on the word of ``by``.

    Rows with every number below ``below``: ``observations``, their ``labels``, and how many
    ``labelled`` rows since the first champion that were. Versions whose graph, and those whose
    learner, is gone. ``seals``: of each sealed stretch that these rows were in, its last number and
    the hash of what is left of it.
    """

    below: int
    observations: int
    labels: int
    labelled: int
    graphs: tuple[int, ...]
    learners: tuple[int, ...]
    by: str
    seals: tuple[tuple[int, str], ...] = ()


Outcome = (
    Scored
    | Trained
    | Merged
    | Described
    | Watched
    | DelaysDescribed
    | Arrived
    | Intake
    | TrainingFailed
    | Declared
    | Built
    | Commanded
    | Accepted
    | Unfit
    | Collected
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided, and from what; an entry of the ledger before it is numbered.

    ``seq`` is the last row that it was decided from; ``basis`` holds evidence, error levels,
    policy hash and seeds.
    """

    model: str
    kind: DecisionKind
    seq: int
    because: str
    basis: Json = field(default_factory=dict)
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """A decision as it stands in the ledger: numbered, dated (UTC, ISO 8601) and chained."""

    n: int
    decision: Decision
    recorded_at: str
    previous_hash: str
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One trained artifact; ``sha256`` names its bytes, ``manifest`` says how it came about."""

    model: str
    version: int
    sha256: str
    strategy: str
    manifest: Json
    recorded_at: str
