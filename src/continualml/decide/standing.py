"""All that the loop knows of a model, and who challenges whom in it. Values only."""

import math
from dataclasses import dataclass, field, replace

from continualml.evidence import fold
from continualml.evidence.blend import Weights
from continualml.evidence.delay import DelayEvidence
from continualml.evidence.drift import DriftEvidence
from continualml.evidence.recall import Recalled
from continualml.evidence.reference import Reference
from continualml.evidence.refusals import RefusalEvidence
from continualml.evidence.trail import Trail, begun
from continualml.evidence.usual_delay import DelayReference
from continualml.model import Model

BLEND, SINCE_ALARM, RECALL = "blend", "since-alarm", "recall"
REFERENCE = "reference"
PREVIOUS, ANCHOR = "previous", "anchor"
_ONE_SIDED_95 = 1.645
# Evidence that began anew needs some dozens of rows to speak again, however short a block is.
_SILENT_BLOCKS, _SILENT_ROWS = 10, 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A version that was decided to be made: of ``strategy``, on rows up to ``through``.

    ``since`` is set for the strategy ``since-alarm``: only rows labelled at or above it, and, if
    it numbers an observation (``by_observation``), observed there too. ``members`` are set for the
    blend: (strategy, version) of those that become one graph. Rows that were observed or labelled
    at numbers in one of ``without``, inclusive pairs, are left out of a fit.
    """

    strategy: str
    through: int
    since: int | None = None
    by_observation: bool = False
    members: tuple[tuple[str, int], ...] = ()
    without: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Mean and variance of single rows' losses in one metric, over rows held back from the fit."""

    loss: float
    variance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What must be known of a version: the last row it has seen, and what loss to expect of it.

    Parameters
    ----------
    expected
        By metric, over the ``rows`` held back from its own fit and from those of its strategy's
        refits before.
    members, weights
        Of a blend: (strategy, version) and how much each counts; both are empty for a single graph.
    weighed
        Of a blend with weights that it keeps: the last row that they have learnt from.
    """

    version: int
    through: int
    expected: dict[str, Expected]
    rows: int
    members: tuple[tuple[str, int], ...] = ()
    weights: tuple[float, ...] = ()
    weighed: int = 0

    @property
    def known(self) -> int:
        """The last row that it knows anything of; those observed later tell what it is worth."""
        return max(self.through, self.weighed)

    @property
    def graphs(self) -> tuple[int, ...]:
        """Versions whose answers make up this one's."""
        return tuple(v for _, v in self.members) or (self.version,)

    def upper_loss(self, metric: str) -> float:
        """Mean loss + 1.645 standard errors: an approximate 95 % bound, from 200 rows on."""
        expected = self.expected[metric]
        return expected.loss + _ONE_SIDED_95 * math.sqrt(expected.variance / self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stood:
    """A version of a strategy, which stood for it from the row ``through`` on."""

    version: int
    through: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Rows that are not what they say, from ``began`` on; ``last`` is its last sign so far.

    ``rows`` are the labelled rows taken in when it was last seen, ``opened`` those when it was
    first seen; a further sign is said when so many rows have passed since then as ``quiet`` has
    under its name. ``due``: it closes with the next rows, unless there is a further sign.
    """

    name: str
    began: int
    last: int
    rows: int
    opened: int
    quiet: dict[str, int]
    due: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """A column's move that was said when ``rows`` labelled rows had been taken in.

    Its next one is said ``wait`` rows later at the earliest; ``unsaid`` came since then.
    """

    rows: int
    wait: int
    unsaid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Moving:
    """Columns or labels moved at number ``since``, seen when ``rows`` labelled rows were taken in.

    What they look like now is to be the reference, once no fault has shown itself behind it.
    """

    since: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Evidence that columns or labels moved from what they were when ``version`` was proven."""

    version: int
    columns: Reference
    labels: Reference
    of_columns: DriftEvidence
    of_labels: DriftEvidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Coming:
    """How labels used to come, and the evidence that they no longer do.

    Until there is a reference it is wanted of the first ``wanted`` observations after the number
    ``after``; ``silent`` says that no label at all came so far.
    """

    after: int
    wanted: int
    silent: bool = False
    reference: DelayReference | None = None
    evidence: DelayEvidence | None = None

    @property
    def seq(self) -> int:
        """Number after which events are wanted next."""
        return self.after if self.evidence is None else self.evidence.seq


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All that the loop knows of a model; a function of its outcomes and its policy alone.

    Parameters
    ----------
    seq
        Number of the last outcome taken in.
    read
        Number of the last labelled row taken in.
    rows
        Labelled rows taken in since the first champion.
    champion, follows
        What answers, and the strategy whose checked refits it takes over (None: frozen).
    anchor, previous
        The last proven artifact, and the one that answered before the last promotion.
    heads
        Newest accepted artifact of each strategy, the blend among them.
    lines
        By strategy the versions that stood for it, ascending, ever fewer the longer ago: a row is
        judged by the one that stood when it was observed.
    weights, weighed
        How much each member of the blend counts now, and counted when.
    archive, recalled, led
        Earlier artifacts that may come back, how each would have done lately, and the place of
        the one that led when.
    ordered_at
        ``rows`` when each strategy was last ordered.
    spent, cost
        Seconds that all fits have taken, and that the last one of each strategy took.
    quiet_until
        ``rows`` before which no promotion happens (cooldown).
    orders
        Versions decided to be made whose outcome has not come back.
    drift
        Evidence on features, answers and labels; None until the references have come.
    coming
        How labels come; promotions do not touch it.
    refusals
        Evidence on rows that were refused; promotions do not touch it.
    moving, shifts
        A move after which the reference is to be taken anew, and the moves said, by column.
    error, contradicted
        Forgetting shares of rows that the champion, and that every version answered wrongly
        lately.
    incident, excluded
        The fault that is open, and the numbers between which rows were faulty before.
    accepted
        Number of the row up to which a person has accepted what looked like a fault; 0 without.
    policy
        Hash of the schema and policy in force.
    """

    seq: int
    read: int
    rows: int
    block: int
    champion: Artifact
    follows: str | None
    anchor: Artifact
    previous: Artifact | None
    evidence: fold.Evidence
    coming: Coming
    heads: dict[str, Artifact] = field(default_factory=dict)
    lines: dict[str, tuple[Stood, ...]] = field(default_factory=dict)
    weights: Weights = field(default_factory=Weights)
    weighed: Trail = field(default_factory=Trail)
    archive: tuple[Artifact, ...] = ()
    recalled: Recalled = field(default_factory=Recalled)
    led: Trail = field(default_factory=Trail)
    ordered_at: dict[str, int] = field(default_factory=dict)
    spent: float = 0.0
    cost: dict[str, float] = field(default_factory=dict)
    quiet_until: int = 0
    orders: tuple[Order, ...] = ()
    drift: Drift | None = None
    refusals: RefusalEvidence = field(default_factory=RefusalEvidence)
    moving: Moving | None = None
    shifts: dict[str, Shift] = field(default_factory=dict)
    error: float = 0.0
    contradicted: float = 0.0
    incident: Incident | None = None
    excluded: tuple[tuple[int, int], ...] = ()
    accepted: int = 0
    policy: str = ""

    def stands_since(self, strategy: str, artifact: Artifact) -> int:
        """Name the row from which on a version stands for the strategy; ``artifact`` is one."""
        line = self.lines.get(strategy)
        return line[0].through if line else artifact.through

    def line_of(self, version: int) -> tuple[Stood, ...]:
        """Name who stood for the version's strategy before it, ascending, and itself last."""
        for line in self.lines.values():
            for i, s in enumerate(line):
                if s.version == version:
                    return line[: i + 1]
        return ()


def archived(state: Standing, archive: tuple[Artifact, ...], lost: tuple[float, ...]) -> Standing:
    """Take these as the earlier versions, and what each lost lately; who leads is seen anew."""
    recalled = Recalled(versions=tuple(a.version for a in archive), loss=lost)
    led = begun(state.read, (float(lost.index(min(lost))),)) if lost else Trail()
    return replace(state, archive=archive, recalled=recalled, led=led)


def places(model: Model) -> tuple[str, ...]:
    """Who may challenge, in a fixed order: each strategy, the blend of them, the ways back."""
    named = (s.name for s in model.policy.strategies)
    return (*named, BLEND, SINCE_ALARM, RECALL, PREVIOUS, ANCHOR)


def challengers(model: Model, state: Standing) -> tuple[Artifact | None, ...]:
    """Who challenges the champion now, for each place; a strategy never challenges itself.

    Nor does a version challenge the blend that it is a part of: the weights already follow it, and
    whatever rows come it is ahead of the blend by no more than ``blend.regret_bound``. Nothing
    bounds a newer refit that no blend took up: it challenges, unless its blend is ordered.
    """
    earlier = {a.version: a for a in state.archive}
    leader = state.recalled.leader
    part = {state.follows}
    if state.follows == BLEND:
        blends = (state.champion.members, *(o.members for o in state.orders))
        inside = {member for members in blends for member in members}
        part |= {name for name, a in state.heads.items() if (name, a.version) in inside}
    known: dict[str, Artifact | None] = {
        **{name: a for name, a in state.heads.items() if name not in part},
        RECALL: None if leader is None else earlier[leader],
        PREVIOUS: state.previous,
        ANCHOR: state.anchor,
    }
    there = (known.get(name) for name in places(model))
    return tuple(a if a and a.version != state.champion.version else None for a in there)


def champion_weights(state: Standing) -> tuple[float, ...]:
    """How much each member of the champion counts now; empty when it is a single graph."""
    if state.follows != BLEND:
        return state.champion.weights
    now = dict(zip(state.weights.names, state.weights.weights, strict=True))
    return tuple(now[name] for name, _ in state.champion.members)


def watched(model: Model, state: Standing) -> tuple[int, ...]:
    """Versions whose answers on the next rows are wanted, the champion's first."""
    rest = [a for a in challengers(model, state) if a] + list(state.archive)
    if BLEND in state.heads:
        rest.append(state.heads[BLEND])
    own = state.champion.graphs
    return (*own, *sorted({v for a in rest for v in a.graphs} - set(own)))


def silence(state: Standing) -> int:
    """Labelled rows after which what has not shown itself again is taken for over."""
    return max(_SILENT_BLOCKS * state.block, _SILENT_ROWS)


def rows_until_due(model: Model, state: Standing) -> int | None:
    """Labelled rows until a strategy wants a refit, or an incident may be over; None for neither.

    What columns and labels looked like until then is read before the rows that close it, a block.
    """
    if state.incident is not None:
        left = state.incident.rows + silence(state) - state.rows
        return left if left > 0 else state.block
    if model.policy.retrain == "on_alarm":
        return None
    return min(
        max(1, state.ordered_at.get(s.name, 0) + s.refit - state.rows)
        for s in model.policy.strategies
    )
