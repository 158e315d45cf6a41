"""Are more rows refused than used to be? Those that do not fit the schema are never logged."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from continualml.errors import InputError
from continualml.evidence import growth, loss
from continualml.records import Counted

# Rows, and bets, from which on the usual share is known.
REFERENCE_ROWS, REFERENCE_BETS = 1_000, 10
# A larger share is never usual, unless a person says so.
HIGHEST_USUAL = 0.2
_STANDARD_ERRORS = 3.0
_MOST_PROMISED = 0.999
_FEWEST_ROWS = 20
_MOST_FIELDS = 16
OTHERS = "others"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalQuestion:
    """What is asked of the share of refused rows, fixed before they come.

    Parameters
    ----------
    budget
        Expected rows, answered and refused ones, to a false alarm, at least.
    block
        Rows that hang together; a bet is about as many, and never about fewer than 20.
    tolerance
        By how much the share may rise above the usual one, in [0, 1); three standard errors of that
        are added.

    Raises
    ------
    InputError
        If a value lies outside its range.
    """

    budget: float
    block: int
    tolerance: float = 0.03

    def __post_init__(self) -> None:
        """Refuse values for which the guarantee would not hold."""
        if not 0 <= self.tolerance < 1:
            raise InputError("tolerance", expected="a number in [0, 1)", got=self.tolerance)
        _ = self.alarm(HIGHEST_USUAL)

    @property
    def bet(self) -> int:
        """Rows that make one bet, at least; the window that is the last of them may be longer."""
        return rows_of_a_bet(self.block)

    def alarm(self, promised: float) -> loss.LossQuestion:
        """To be refused is a loss of 1; its mean may be so high."""
        return loss.LossQuestion(promised=promised, budget=self.budget, block=self.bet)


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """Sums over the bets that the usual share is learnt from: n rows and k refused ones in each."""

    bets: int = 0
    n: int = 0
    k: int = 0
    kk: int = 0
    kn: int = 0
    nn: int = 0

    def with_bet(self, n: int, k: int) -> "Learnt":
        """Add one bet's counts."""
        return Learnt(
            bets=self.bets + 1,
            n=self.n + n,
            k=self.k + k,
            kk=self.kk + k * k,
            kn=self.kn + k * n,
            nn=self.nn + n * n,
        )

    @property
    def enough(self) -> bool:
        """Whether there are enough rows in enough bets."""
        return self.n >= REFERENCE_ROWS and self.bets >= REFERENCE_BETS

    @property
    def share(self) -> float:
        """Share of the rows that was refused."""
        return self.k / self.n

    @property
    def error(self) -> float:
        """Standard error of the share, from how much the bets differ: rows come in batches."""
        # Whole numbers until the root: the same on every machine.
        residual = self.kk * self.n**2 - 2 * self.k * self.kn * self.n + self.k**2 * self.nn
        return math.sqrt(residual * self.bets / (self.bets - 1)) / self.n**2


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalEvidence:
    """Evidence up to ``seq``.

    Parameters
    ----------
    promised
        Share of refused rows that still counts as usual; None before anything was bet.
    accepted
        A person has said that what comes is how things are: nothing is asked until it is learnt.
    rows, refused, first
        Of the open bet; ``first`` is its first window's number (0: none).
    bets
        How many were made since the evidence began.
    alarmed
        Whether it began with an alarm.
    since
        (rows, refused ones, by field) of the bets since the present excursion began.
    """

    seq: int = 0
    promised: float | None = None
    accepted: bool = False
    learnt: Learnt = Learnt()
    known: bool = False
    rows: int = 0
    refused: int = 0
    first: int = 0
    bets: int = 0
    alarmed: bool = False
    since: tuple[int, int] = (0, 0)
    fields: dict[str, int] = field(default_factory=dict)
    alarm: loss.LossEvidence | None = None

    @property
    def uneasy(self) -> bool:
        """Whether there was an alarm, and too few bets since then to take it for over."""
        return self.alarmed and self.bets < REFERENCE_BETS


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """At ``seq`` the evidence that more rows are refused than usual reached its threshold.

    ``began`` is the window with which that began, ``rows`` are those since then, ``refused`` how
    many of them were, ``fields`` the refused ones by the field at fault, the most frequent first,
    and ``promised`` the share that would still have been usual.
    """

    seq: int
    evidence: float
    threshold: float
    began: int
    rows: int
    refused: int
    fields: tuple[tuple[str, int], ...]
    promised: float


def rows_of_a_bet(block: int) -> int:
    """Rows that make one bet, at least."""
    return max(block, _FEWEST_ROWS)


def accepted(state: RefusalEvidence) -> RefusalEvidence:
    """Begin anew, and learn what is usual from what comes, however much it is."""
    return RefusalEvidence(seq=state.seq, accepted=True)


def asked_anew(state: RefusalEvidence) -> RefusalEvidence:
    """Go on under another question: what is usual is still known, bets begin anew."""
    fresh = RefusalEvidence(seq=state.seq, accepted=state.accepted, learnt=state.learnt)
    return replace(fresh, known=state.known, promised=state.promised)


def step(
    question: RefusalQuestion, state: RefusalEvidence, windows: tuple[Counted, ...]
) -> tuple[RefusalEvidence, tuple[Refused, ...]]:
    """Fold windows as they were logged; after an alarm the evidence begins anew.

    Returns
    -------
    The state after the last window, and the alarms on the way.

    Raises
    ------
    InputError
        If a count is negative or the numbers do not increase; nothing is folded then.

    Notes
    -----
    Windows are put together to bets of at least ``question.bet`` rows, whatever was refused of
    them. The evidence is the loss alarm's, with its guarantee, for the null that the share refused
    of each bet's rows, given all before, is on average at most what is promised: the usual share
    + tolerance + 3 standard errors. The usual share is that of the first 1,000 rows, at most .2;
    until it is known .2 takes its place. A bet has at least as many rows as the threshold counts
    it for, so longer windows only make false alarms rarer.
    """
    _check(windows)
    said: list[Refused] = []
    for window in windows:
        if window.seq <= state.seq:
            continue
        state = replace(
            state,
            seq=window.seq,
            rows=state.rows + window.answered + window.refused,
            refused=state.refused + window.refused,
            first=state.first or window.seq,
            fields=joined(state.fields, window.fields),
        )
        if state.rows >= question.bet:
            state, alarm = _bet(question, state)
            said += [alarm] if alarm else []
    return state, tuple(said)


def level(question: RefusalQuestion, state: RefusalEvidence) -> float:
    """Evidence as a share of its threshold."""
    if state.alarm is None or state.promised is None:
        return 0.0
    return state.alarm.value / question.alarm(state.promised).threshold


def _bet(
    question: RefusalQuestion, state: RefusalEvidence
) -> tuple[RefusalEvidence, Refused | None]:
    """Bet on the open rows, and learn from them while the usual share is not known."""
    n, k = state.rows, state.refused
    state, alarm = _held(question, state, n, k)
    state = replace(state, rows=0, refused=0, first=0)
    if state.known or alarm:
        return state, alarm
    learnt = state.learnt.with_bet(n, k)
    state = replace(state, learnt=learnt)
    if not learnt.enough:
        return state, None
    if learnt.share > HIGHEST_USUAL and not state.accepted:
        return replace(state, learnt=Learnt()), None
    promised = learnt.share + question.tolerance + _STANDARD_ERRORS * learnt.error
    anew = replace(asked_anew(state), known=True, promised=min(promised, _MOST_PROMISED))
    return replace(anew, alarmed=state.alarmed, bets=state.bets), None


def _held(
    question: RefusalQuestion, state: RefusalEvidence, n: int, k: int
) -> tuple[RefusalEvidence, Refused | None]:
    """Hold one bet's share against what is promised."""
    promised = state.promised
    if promised is None:
        if state.accepted:
            return state, None
        promised = HIGHEST_USUAL + question.tolerance
    asked = question.alarm(promised)
    before = state.alarm or loss.untouched(asked)
    (grown,) = growth.grown([loss.bets(asked, before, np.array([k / n]))])
    evidence = loss.path(before, grown, np.array([state.first])).at(0)
    quiet = max(evidence.excursion) <= 1
    since = (0, 0) if quiet else (state.since[0] + n, state.since[1] + k)
    fields = {} if quiet else state.fields
    state = replace(
        state,
        promised=promised,
        alarm=evidence,
        bets=state.bets + 1,
        since=since,
        fields=fields,
    )
    if evidence.value < asked.threshold:
        return state, None
    found = Refused(
        seq=state.seq,
        evidence=evidence.value,
        threshold=asked.threshold,
        began=evidence.strongest_began,
        rows=since[0],
        refused=since[1],
        fields=tuple(sorted(fields.items(), key=lambda f: (-f[1], f[0]))),
        promised=promised,
    )
    return replace(asked_anew(state), alarmed=True), found


def joined(
    before: Mapping[str, int], more: Mapping[str, int], most: int = _MOST_FIELDS
) -> dict[str, int]:
    """Add up, keeping few names: who sends always other ones must not let them grow."""
    found = dict(before)
    for name, n in more.items():
        key = name if name in found or len(found) < most else OTHERS
        found[key] = found.get(key, 0) + n
    return found


def _check(windows: tuple[Counted, ...]) -> None:
    last = 0
    for window in windows:
        if window.seq <= last:
            expected = "strictly increasing numbers"
            raise InputError("windows.seq", expected=expected, got=[last, window.seq])
        last = window.seq
        if min(window.answered, window.refused) < 0:
            got = (window.answered, window.refused)
            raise InputError("windows", expected="counts of at least 0", got=got)
