"""The Open Inference Protocol (V2) beside ``/predict``, by the same path to the same log.

Only the champion answers; a request for another version is refused, never answered by another one.
"""

from collections.abc import Sequence
from importlib.metadata import version as installed
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from continualml.app.api import bodies, tensors, trace
from continualml.app.api.asking import Asked
from continualml.app.api.predict import answered_by, in_log
from continualml.app.api.problems import ProblemError
from continualml.app.api.serving import Serving, serving_of
from continualml.errors import InputError
from continualml.model import Model
from continualml.records import Json
from continualml.store import packed
from continualml.store.log import Observed

LENGTH: Final = "inference-header-content-length"
_BINARY: Final = "application/octet-stream"
_encode = msgspec.json.Encoder().encode

_Named = tuple[str, str, list[int], "NDArray[Any] | Sequence[str]"]


async def infer(request: Request) -> Response:
    """Answer the rows of a request as tensors; they are on disk before that is sent."""
    serving = serving_of(request.scope)
    serving.tokens.require(request.scope, "predict")
    model, _ = _asked_for(serving, request)
    body = await bodies.receive_body(request.scope, request.receive, serving.most_bytes)
    try:
        asked, binary, rows = _read(serving, model, request, body)
    except Exception as error:
        serving.refusals.count(model.name, error)
        raise
    found = await serving.answering.answer(model, rows, trace.of(request.scope))
    serving.counts.answered(model.name, len(found.rows))
    champion = found.rows[0].version
    logged = in_log(found)
    answer = np.frombuffer(packed.answers(logged), "<f8").reshape(len(logged), model.width)
    made = [(_output(model, name, answer, logged), as_bytes) for name, as_bytes in binary.items()]
    version = answered_by(logged, champion)
    told: Json = {"model_name": model.name, "model_version": str(version)}
    if asked.id is not None:
        told["id"] = asked.id
    return _answer(told, made, version)


def _read(
    serving: Serving, model: Model, request: Request, body: bytes
) -> tuple[tensors.InferBody, dict[str, bool], Asked]:
    """Read what is asked, which outputs are wanted, and the rows."""
    head, after = _parts(request, body)
    asked = tensors.decode(head)
    try:
        binary = _binary(model, asked)
        return asked, binary, tensors.read(model, asked, after, serving.most_rows)
    except InputError as error:
        said = max((one.shape[0] for one in asked.inputs if one.shape), default=1)
        error.rows = min(max(said, 1), serving.most_rows)
        raise


def _parts(request: Request, body: bytes) -> tuple[bytes, bytes]:
    """Cut the body into its JSON and the bytes of binary tensors after it."""
    coding = request.headers.get("content-encoding", "identity")
    if coding != "identity":
        raise ProblemError(
            415,
            "compressed",
            f"content-encoding: expected none, got {coding!r}",
            remedy="send it plain",
        )
    said = request.headers.get(LENGTH)
    if said is None:
        return body, b""
    if not (said.isascii() and said.isdigit() and len(said) < len(str(2**63))):
        raise InputError(LENGTH, expected="a number of bytes", got=said)
    length = int(said)
    if length > len(body):
        raise InputError(LENGTH, expected=f"at most the body's {len(body)} bytes", got=length)
    return body[:length], body[length:]


def _binary(model: Model, asked: tensors.InferBody) -> dict[str, bool]:
    """Tell which outputs are wanted, in the model's order, and whether as bytes."""
    usual = asked.parameters.get("binary_data_output") is True
    names = [one["name"] for one in _described(model)["outputs"]]
    if not asked.outputs:
        return dict.fromkeys([n for n in names if n != tensors.IDS], usual)
    wanted: dict[str, bool] = {}
    for one in asked.outputs:
        if one.name not in names:
            raise InputError("outputs", expected=f"some of {names}", got=one.name)
        wanted[one.name] = one.parameters.get("binary_data", usual) is True
    return {name: wanted[name] for name in names if name in wanted}


def _output(
    model: Model, name: str, answer: NDArray[np.float64], rows: Sequence[Observed]
) -> _Named:
    n = len(answer)
    if name == tensors.IDS:
        return (name, "BYTES", [n], list(packed.ids(rows)))
    if name == "predict_proba":
        return (name, "FP64", [n, model.width], answer)
    if model.kind == "regression":
        return (name, "FP64", [n], answer[:, 0])
    return (name, "BYTES", [n], [model.classes[i] for i in answer.argmax(axis=1).tolist()])


def _answer(told: Json, outputs: list[tuple[_Named, bool]], version: int | None) -> Response:
    """Write the outputs into the JSON, or as bytes after it."""
    after: list[bytes] = []
    listed: list[Json] = []
    for (name, datatype, shape, values), as_bytes in outputs:
        one: Json = {"name": name, "datatype": datatype, "shape": shape}
        if as_bytes:
            data = tensors.packed(values)
            one["parameters"] = {"binary_data_size": len(data)}
            after.append(data)
        else:
            one["data"] = values.ravel().tolist() if isinstance(values, np.ndarray) else values
        listed.append(one)
    head = _encode(told | {"outputs": listed})
    headers = {"X-Model-Version": str(version)}
    if not after:
        return Response(head, headers=headers, media_type="application/json")
    headers["Inference-Header-Content-Length"] = str(len(head))
    return Response(head + b"".join(after), headers=headers, media_type=_BINARY)


def _asked_for(serving: Serving, request: Request) -> tuple[Model, int]:
    """Find the model and its champion's version; another version is not there.

    Raises
    ------
    ProblemError
        404 for an unknown model, or a version that does not answer; 503 without a champion.
    """
    model = serving.model(request.path_params["model"])
    version = serving.champions.of(model.name).known.version
    wanted = request.path_params.get("version")
    if wanted is not None and wanted != str(version):
        raise ProblemError(
            404,
            "not-the-champion",
            f"version {wanted!r} of {model.name} does not answer now; version {version} does",
            remedy="leave the version out: whichever was proven best answers",
        )
    return model, version


def _described(model: Model) -> Json:
    def one(name: str, datatype: str, *shape: int) -> Json:
        return {"name": name, "datatype": datatype, "shape": list(shape)}

    numeric = {f.name for f in model.numeric}
    outputs = [one("predict", "BYTES" if model.classes else "FP64", -1)]
    if model.classes:
        outputs.append(one("predict_proba", "FP64", -1, model.width))
    return {
        "inputs": [
            one(f.name, "FP64" if f.name in numeric else "BYTES", -1) for f in model.features
        ],
        "outputs": [*outputs, one(tensors.IDS, "BYTES", -1)],
        "parameters": {
            "classes": list(model.classes),
            "numeric": [f.name for f in model.numeric],
            "categorical": [f.name for f in model.categorical],
        },
    }


async def server(request: Request) -> Response:
    """Tell the server's name, version and extensions."""
    serving_of(request.scope).tokens.require(request.scope, "predict")
    return _json(
        {
            "name": "continualml",
            "version": installed("continualml"),
            "extensions": ["binary_tensor_data"],
        }
    )


async def live(request: Request) -> Response:
    """Answer as long as the event loop turns."""
    _ = request
    return _json({"live": True})


async def ready(request: Request) -> Response:
    """Answer 200 when the default model can answer and the log can be written now."""
    await serving_of(request.scope).ready()
    return _json({"ready": True})


async def model_ready(request: Request) -> Response:
    """Answer 200 when this model's champion, which is this version, can answer now."""
    serving = serving_of(request.scope)
    serving.tokens.require(request.scope, "predict")
    model, _ = _asked_for(serving, request)
    return _json({"name": model.name, "ready": True})


async def model(request: Request) -> Response:
    """Tell what tensors a model takes and gives, and which version answers."""
    serving = serving_of(request.scope)
    serving.tokens.require(request.scope, "predict")
    asked, version = _asked_for(serving, request)
    told = {"name": asked.name, "versions": [str(version)], "platform": "onnxruntime_onnx"}
    return _json(told | _described(asked))


def _json(told: Json) -> Response:
    return Response(_encode(told), media_type="application/json")


_MODEL: Final = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
ROUTES: Final = [
    *(Route(f"{path}/infer", infer, methods=["POST"]) for path in _MODEL),
    *(Route(f"{path}/ready", model_ready, methods=["GET"]) for path in _MODEL),
    *(Route(path, model, methods=["GET"]) for path in _MODEL),
    Route("/v2/health/live", live, methods=["GET"]),
    Route("/v2/health/ready", ready, methods=["GET"]),
    Route("/v2", server, methods=["GET"]),
]
