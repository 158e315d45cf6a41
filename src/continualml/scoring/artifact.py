"""What the one file of a version holds: an ONNX graph, and in its metadata the manifest."""

import hashlib
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from continualml.errors import InputError
from continualml.model import Model
from continualml.records import Json

KEY: Final = "continualml"  # of the manifest, among the graph's metadata
FORMAT: Final = 1


def name_of(artifact: bytes) -> str:
    """Name an artifact: the SHA-256 of its bytes, in hexadecimal digits."""
    return hashlib.sha256(artifact).hexdigest()


def schema(model: Model) -> Json:
    """Write down what a graph must agree with its model about."""
    return {
        "kind": model.kind,
        "target": model.target,
        "classes": list(model.classes),
        "features": [{"name": f.name, "kind": f.kind} for f in model.features],
    }


def write_manifest(manifest: Json) -> str:
    """Write a manifest as JSON, the same text for the same manifest."""
    return msgspec.json.encode(manifest, order="deterministic").decode()


def read_manifest(text: str | None) -> Json:
    """Read the manifest out of a graph's metadata.

    Raises
    ------
    InputError
        If there is none, it is no JSON object, or of a format that this build does not know.
    """
    if text is None:
        raise InputError("artifact", expected=f"a manifest under {KEY!r}", got=None)
    try:
        manifest = msgspec.json.decode(text, type=Json)
    except msgspec.DecodeError as error:
        raise InputError("artifact.manifest", expected="a JSON object", got=str(error)) from error
    if manifest.get("format") != FORMAT:
        raise InputError(
            "artifact.manifest.format",
            expected=f"{FORMAT}",
            got=manifest.get("format"),
            remedy="use the release that wrote it, or train anew",
        )
    return manifest


def check(manifest: Json, model: Model) -> None:
    """Refuse an artifact that was made for another schema.

    Raises
    ------
    InputError
        Names the first part of the schema that differs.
    """
    for part, wanted in schema(model).items():
        held = manifest.get("schema", {}).get(part)
        if held != wanted:
            raise InputError(
                f"artifact.schema.{part}",
                expected=f"as in models.{model.name}: {wanted!r}",
                got=held,
                remedy="train a version for the schema as it is now",
            )


def rows_of(observation_seq: NDArray[np.int64]) -> Json:
    """Write down exactly which rows a fit saw.

    Parameters
    ----------
    observation_seq
        (n,) row ids, in the order of the fit.

    Returns
    -------
    ``n``; ``ranges``, inclusive pairs of ids, ascending; ``sha256`` over the ids as little-endian
    int64 in the order of the fit.
    """
    ids = np.unique(observation_seq)
    gaps = np.flatnonzero(np.diff(ids) > 1)
    first = ids[np.concatenate(([0], gaps + 1))] if ids.size else ids
    last = ids[np.concatenate((gaps, [len(ids) - 1]))] if ids.size else ids
    return {
        "n": len(observation_seq),
        "ranges": np.column_stack((first, last)).tolist(),
        "sha256": hashlib.sha256(observation_seq.astype("<i8").tobytes()).hexdigest(),
    }


def united(rows: list[Json]) -> Json:
    """Write down the rows that any of several fits saw, each once; see ``rows_of``."""
    pairs = sorted((int(a), int(b)) for r in rows for a, b in r["ranges"])
    ranges: list[list[int]] = []
    for first, last in pairs:
        if ranges and first <= ranges[-1][1] + 1:
            ranges[-1][1] = max(ranges[-1][1], last)
        else:
            ranges.append([first, last])
    digest = hashlib.sha256("".join(r["sha256"] for r in rows).encode()).hexdigest()
    return {
        "n": sum(b - a + 1 for a, b in ranges),
        "ranges": ranges,
        "sha256": digest,
        "through": max(r["through"] for r in rows),
    }


def trained_on(manifest: Json, observation_seq: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(n,) True where a row was among those that the version was fitted on."""
    ranges = np.array(manifest["rows"]["ranges"], dtype=np.int64).reshape(-1, 2)
    at = np.searchsorted(ranges[:, 0], observation_seq, side="right") - 1
    inside: NDArray[np.bool_] = at >= 0
    inside[inside] = observation_seq[inside] <= ranges[at[inside], 1]
    return inside
