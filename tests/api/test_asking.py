"""The decoder that a schema compiles to takes and refuses what the careful reader does."""

import json

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from continualml.app.api import bodies, tensors
from continualml.app.api.answering import new_id
from continualml.app.api.asking import Asked, Pieces, Reader, of_rows, rows_of, together
from continualml.app.api.problems import ProblemError
from continualml.errors import InputError
from continualml.model import Feature, Model
from continualml.scoring import features

MODEL = Model(
    name="loan",
    kind="classification",
    target="paid",
    classes=("no", "yes"),
    features=(
        Feature(name="town", kind="categorical"),
        Feature(name="age", kind="numeric"),
        Feature(name="job", kind="categorical", nullable=True),
        Feature(name="debt", kind="numeric", nullable=True),
    ),
)
PLAIN = Model(
    name="plain",
    kind="regression",
    target="y",
    features=(Feature(name="a", kind="numeric"), Feature(name="b", kind="numeric")),
)
MOST = 3
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(min_value=-(10**45), max_value=10**45),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 3.4028235e38, 3.41e38, -3.4028234663852886e38]),
    st.text(max_size=8),
    st.sampled_from(["", "x" * 256, "x" * 257, "\0", "Zürich", "\ud800"]),
    st.just([1.0]),
)
NUMBERS = st.floats(-1e6, 1e6)


def row_of(model: Model) -> st.SearchStrategy[dict[str, object]]:
    fitting = st.fixed_dictionaries(
        {f.name: NUMBERS if f.kind == "numeric" else st.text(max_size=5) for f in model.features}
    )
    names = st.sampled_from([*(f.name for f in model.features), "agee"])
    return st.builds(lambda a, b: {**a, **b}, fitting, st.dictionaries(names, VALUES, max_size=1))


def body_of(model: Model) -> st.SearchStrategy[object]:
    rows, ids = row_of(model), st.sampled_from(["order-1", "", None, 3, "a\0b"])
    item = st.fixed_dictionaries({"features": rows}, optional={"observation_id": ids})
    return st.one_of(
        item,
        st.fixed_dictionaries({"instances": st.lists(item, max_size=MOST + 1)}),
        st.fixed_dictionaries(
            {"instances": st.lists(item, max_size=2)}, optional={"features": rows}
        ),
        st.dictionaries(st.sampled_from(["features", "more"]), VALUES),
    )


def carefully(model: Model, body: bytes) -> Asked:
    found = bodies.predict(body, MOST)
    try:
        return of_rows(features.read(model, found.instances), found.ids)
    except InputError as error:
        if found.single:
            error.where = error.where.removeprefix("instances[0].")
        raise


def said(read: object, body: bytes) -> tuple[object, ...]:
    try:
        asked: Asked = read(body)  # type: ignore[operator]
    except (InputError, ProblemError) as error:
        return type(error).__name__, str(error)
    numeric = [(np.frombuffer(row, "<f8") + 0.0).tobytes() for row in asked.numeric]  # one zero
    return numeric, asked.texts, list(asked.ids)


@pytest.mark.parametrize("model", [MODEL, PLAIN], ids=lambda m: m.name)
@given(data=st.data())
def test_a_request_is_read_alike_quickly_and_carefully(model: Model, data: st.DataObject) -> None:
    body = json.dumps(data.draw(body_of(model))).encode()
    assert said(Reader(model, MOST).read, body) == said(lambda b: carefully(model, b), body)


EDGES = (None, True, 0, -0.0, 10**30, 10**400, 3.4028234663852886e38, 3.41e38, "", "1", "x" * 256)


@pytest.mark.parametrize(
    "value", [*EDGES, "x" * 257, "\0", "ü", "\ud800", [1.0], {"a": 1}], ids=str
)
@pytest.mark.parametrize("name", [f.name for f in MODEL.features])
def test_values_at_the_edge_are_read_alike(name: str, value: object) -> None:
    row = {"town": "Ulm", "age": 1, "job": None, "debt": None, name: value}
    for body in ({"features": row}, {"instances": [{"features": row}]}):
        sent = json.dumps(body).encode()
        assert said(Reader(MODEL, MOST).read, sent) == said(lambda b: carefully(MODEL, b), sent)


@given(body=st.binary(max_size=80))
@example(body=b'{"features": {"a": NaN, "b": 1}}')
@example(body=b'{"features": {"a": 1e999, "b": 1}}')
@example(body=b'{"features": ' + b"[" * 100_000)
@example(body=b'{"features": {"a": 1, "b": "\xff"}}')
def test_what_is_no_json_is_told_so(body: bytes) -> None:
    assert said(Reader(PLAIN, MOST).read, body) == said(lambda b: carefully(PLAIN, b), body)


def test_names_that_json_must_escape_are_served_too() -> None:
    quoted = Feature(name='a"\\b', kind="numeric")
    model = Model(name="q", kind="regression", target="y", features=(quoted,))
    asked = Reader(model, MOST).read(msgspec.json.encode({"features": {'a"\\b': 2.5}}))
    assert np.frombuffer(asked.numeric[0], "<f8").tolist() == [2.5]


def test_rows_of_several_requests_keep_their_order_and_their_gaps() -> None:
    reader = Reader(MODEL, MOST)
    row = {"town": "Zürich", "age": 1, "job": None, "debt": None}
    several = {"instances": [{"features": {**row, "age": n, "job": "x"}} for n in (2, 3)]}
    asked = [reader.read(json.dumps(body).encode()) for body in ({"features": row}, several)]
    rows = rows_of(MODEL, asked)
    assert rows.numeric[:, 0].tolist() == [1.0, 2.0, 3.0]
    assert np.isnan(rows.numeric[:, 1]).all()
    assert rows.categorical.tolist() == [["Zürich", ""], ["Zürich", "x"], ["Zürich", "x"]]


def test_new_ids_differ_and_sort_by_time() -> None:
    ids = [new_id(at / 1_000) for at in range(1_700_000_000_000, 1_700_000_000_500)]
    assert ids == sorted(set(ids))


def test_rows_that_nobody_has_cut_yet_are_the_rows() -> None:
    rows = [bytes([i]) * 8 for i in range(5)]
    whole = Pieces(b"".join(rows), 5)
    assert (len(whole), list(whole), whole[-1]) == (5, rows, rows[-1])
    assert (whole[1:4], whole[::2]) == (rows[1:4], rows[::2])
    assert together(whole) == together(rows)
    with pytest.raises(IndexError):
        whole[5]


@pytest.mark.parametrize("x", [[1, 2.5], [1, None], [-0.0, 1e30]])
@pytest.mark.parametrize("y", [[3, 4], [[3], [4]], [3, None]])
def test_tensors_are_read_alike_whether_all_are_flat_or_one_needs_a_closer_look(
    x: list[float | None], y: list[float | None]
) -> None:
    named = Model(
        name="m", kind="regression", target="t", features=(Feature(name="x"), Feature(name="y"))
    )
    sent = [
        {"name": name, "shape": [2, 1], "datatype": "FP64", "data": data}
        for name, data in (("x", x), ("y", y))
    ]

    read = tensors.read(named, tensors.decode(json.dumps({"inputs": sent}).encode()), b"", 10)

    flat = np.array([x, np.ravel(np.array(y, dtype=object))], dtype=np.float64).T
    assert b"".join(read.numeric) == flat.tobytes()
    assert list(read.ids) == [None, None]
