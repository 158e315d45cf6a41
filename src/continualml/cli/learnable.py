"""Whether the learners that a file names exist, take their parameters and fit the model's kind."""

import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from continualml.model import Learner, Model
from continualml.settings import ConfigError, Project, line_of


def check(project: Project) -> None:
    """Make every learner of every model once; nothing is said where none can be made.

    Raises
    ------
    ConfigError
        With line, key and fault of each that cannot be made.
    """
    if find_spec("sklearn") is None:
        return  # an installation that only serves
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # as in the training process, for functions of the user's own
    path = project.settings.config
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    found: dict[tuple[Learner, str], str] = {}
    for model in project.models.values():
        for where, learner in _named(model):
            fault = _fault(model, learner)
            if fault is not None and (learner, model.name) not in found:
                line = line_of(text, where)
                found[learner, model.name] = f"{path}:{line}: {'.'.join(where)}: {fault}"
    if found:
        raise ConfigError(str(path), list(found.values()))


def _named(model: Model) -> Iterator[tuple[list[str], Learner]]:
    yield ["models", model.name, "learner"], model.learner
    for i, strategy in enumerate(model.policy.strategies):
        yield ["models", model.name, "policy", "strategies", str(i), "learner"], strategy.learner


def _fault(model: Model, learner: Learner) -> str | None:
    from continualml.learning.learners import LearningError, make  # noqa: PLC0415  an extra

    try:
        make(model, learner, seed=model.seed)
    except LearningError as error:
        return str(error)
    return None
