"""Prometheus: figures become the text that it scrapes.

It takes plain values and gives bytes; nothing is sent anywhere. Nobody has to scrape it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from prometheus_client.metrics_core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        Metric,
    )

Labels = tuple[str, ...]
Sample = tuple[Labels, float]
# Labels, how many values lie in each bucket alone (one more than there are bounds), their sum.
Distribution = tuple[Labels, Sequence[int], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Samples of one name; one without samples still says its name.

    Parameters
    ----------
    name
        Without ``_total``, which is written behind a counter's.
    labels
        Names of the labels; each sample has their values in the same order.
    """

    kind: Literal["gauge", "counter"]
    name: str
    said: str
    labels: Labels
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Distributions of one name over buckets with the upper edges ``bounds``."""

    name: str
    said: str
    labels: Labels
    bounds: tuple[float, ...]
    samples: tuple[Distribution, ...]


def gauge(name: str, said: str, labels: Labels, samples: Iterable[Sample]) -> Family:
    """Make a family of values that go up and down."""
    return Family(kind="gauge", name=name, said=said, labels=labels, samples=tuple(samples))


def counter(name: str, said: str, labels: Labels, samples: Iterable[Sample]) -> Family:
    """Make a family of values that only grow."""
    return Family(kind="counter", name=name, said=said, labels=labels, samples=tuple(samples))


def written(families: Iterable[Family | Histogram], accept: str) -> tuple[bytes, str]:
    """Write families as the scraper's ``Accept`` header wants them.

    Returns
    -------
    The text, and its media type: Prometheus' own, or OpenMetrics where that is asked for.
    """
    # Imported here: a server that nobody scrapes starts without it.
    from prometheus_client import CollectorRegistry  # noqa: PLC0415
    from prometheus_client.exposition import choose_encoder  # noqa: PLC0415

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Made([_made(one) for one in families]))
    encode, media_type = choose_encoder(accept)
    return encode(registry), media_type


def _made(one: Family | Histogram) -> "Metric":
    from prometheus_client import core  # noqa: PLC0415  as above

    if isinstance(one, Histogram):
        edges = [*map(str, one.bounds), "+Inf"]
        distributions = core.HistogramMetricFamily(one.name, one.said, labels=one.labels)
        for values, counts, total in one.samples:
            buckets = list(zip(edges, map(float, accumulate(counts)), strict=True))
            distributions.add_metric(values, buckets, total)
        return distributions
    make = core.GaugeMetricFamily if one.kind == "gauge" else core.CounterMetricFamily
    family: GaugeMetricFamily | CounterMetricFamily = make(one.name, one.said, labels=one.labels)
    for values, value in one.samples:
        family.add_metric(values, value)
    return family


class _Made:
    """Families that are there already, as a registry collects them."""

    def __init__(self, families: "list[Metric]") -> None:
        self._families = families

    def collect(self) -> "Iterator[Metric]":
        yield from self._families
