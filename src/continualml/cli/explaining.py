"""Verbs that explain: an answer, a decision, the arithmetic of a policy."""

from typing import Annotated, Any

import typer

from continualml import settings as configuration
from continualml.cli.options import AsJson, Config, Data, ModelName, listed, model_named
from continualml.cli.printing import print_facts, print_json


def explain(
    what: Annotated[str, typer.Argument(metavar="ID", help="A decision's number, or an answer's.")],
    config: Config = None,
    data: Data = None,
    model: ModelName = None,
    observation: Annotated[
        bool, typer.Option("--observation", help="Take a number as an observation_id.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say where an answer came from, or why a decision was taken."""
    from continualml.app.place import place_of  # noqa: PLC0415  only for this verb
    from continualml.loop import explain as answers  # noqa: PLC0415  only for this verb
    from continualml.loop import reasons  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store, read  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data)
    asked = project.models[model_named(project, model)]
    said = project.settings
    told: dict[str, Any]
    with read(open_store(said.database_url)) as conn:
        if what.isdecimal() and not observation:
            told = reasons.decision(conn, int(what))
        else:
            told = answers.observation(conn, place_of(said), asked, what)
    if as_json:
        print_json(told)
    else:
        print_facts(told)


def explain_policy(
    config: Config = None, data: Data = None, model: ModelName = None, as_json: AsJson = False
) -> None:
    """Show the thresholds of each policy: their arithmetic, what they guarantee and what not."""
    from continualml.loop import arithmetic, carry_out, periods  # noqa: PLC0415  only for this verb
    from continualml.store.engine import open_store, read  # noqa: PLC0415  only for this verb

    project = configuration.load(config, data=data)
    names = [model_named(project, model)] if model else listed(project)
    told = []
    with read(open_store(project.settings.database_url)) as conn:
        for name in names:
            known = carry_out.known(conn, name)
            asked = periods.in_rows(conn, project.models[name], known)
            told.append(arithmetic.explained(asked, known))
    if as_json:
        print_json(told)
        return
    for one in told:
        print_facts(one)
        typer.echo()
