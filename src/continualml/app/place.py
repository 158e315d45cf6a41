"""Where the artifacts are kept: the data directory, or a bucket with the directory as its cache."""

from continualml.integrations.s3 import Bucket
from continualml.settings import Settings
from continualml.store.artifacts import Place, Remote


def place_of(said: Settings) -> Place:
    """Take the place that the settings name; nothing is asked there yet."""
    if not said.artifacts_url:
        return said.artifacts
    bucket = Bucket(said.artifacts_url.rstrip("/"))
    return Remote(bucket=bucket, url=bucket.url, cache=said.artifacts)
