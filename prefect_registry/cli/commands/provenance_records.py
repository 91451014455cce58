"""``provenance ls``, ``register``, ``import`` and ``csv``: model runs, and what they refer to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from prefect_registry.cli.commands import Command
from prefect_registry.cli.commands.ls import say_more
from prefect_registry.cli.options import AsOf, Containing, Cursor, Fresh, Json, Limit, RegistryName, moment
from prefect_registry.cli.output import NOT_DONE, say, write, write_json, write_table
from prefect_registry.cli.provenance import Output, given_bytes, given_json, open_provenance, write_text
from prefect_registry.errors import InvalidInput

if TYPE_CHECKING:
    from prefect_registry.provenance.records import Item, ItemModelRun, SeedItem
    from prefect_registry.provenance.service import Provenance

What = Literal[
    "model-runs", "items", "studies", "people", "organisations", "software", "models", "workflow-templates",
    "dataset-templates",
]  # fmt: skip
_SUBTYPES: dict[str, str | None] = {
    "items": None, "studies": "STUDY", "people": "PERSON", "organisations": "ORGANISATION", "software": "SOFTWARE",
    "models": "MODEL", "workflow-templates": "MODEL_RUN_WORKFLOW_TEMPLATE", "dataset-templates": "DATASET_TEMPLATE",
}  # fmt: skip
Action = Literal["template", "convert", "regenerate"]
_MOST = 10_000


def ls(
    what: What = "model-runs",
    /,
    *,
    text: Containing = None,
    study: Annotated[str | None, Parameter(help="Only model runs of this study.")] = None,
    template: Annotated[str | None, Parameter(help="Only model runs of this workflow template.")] = None,
    batch: Annotated[str | None, Parameter(help="Only model runs of this batch.")] = None,
    as_of: AsOf = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    fresh: Fresh = True,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """List model runs, or what they refer to: studies, people, organisations, software, models and templates.

    Model runs come oldest first, items by their ids.

    Parameters
    ----------
    what
        What to list; items are all but model runs.
    """
    if not 1 <= limit <= _MOST:
        raise InvalidInput.of("--limit", [f"it must be 1 to {_MOST:,}, not {limit:,}"])
    given = {"--study": study, "--template": template, "--batch": batch}
    wrong = [f"{name} is for model runs alone" for name, value in given.items() if value is not None]
    if wrong and what != "model-runs":
        raise InvalidInput.of("ls", wrong)
    provenance, then = open_provenance(registry), moment("--as-of", as_of)
    found: Iterable[Any]
    if what == "model-runs":
        found = provenance.model_runs(
            study_id=study, workflow_template_id=template, batch_id=batch, text=text, as_of=then, fresh=fresh
        )
    else:
        found = provenance.items(_SUBTYPES[what], text=text, as_of=then, fresh=fresh)
    page = list(islice((each for each in found if cursor is None or str(each.id) > cursor), limit + 1))
    following = str(page[limit - 1].id) if len(page) > limit else None
    listed = [_fields(each) for each in page[:limit]]
    if json:
        write_json("provenance_ls/1", registry=provenance.registry.url, of=what, items=listed, next=following)
        return
    rows = [(i["type"], i["name"] or "(nothing is known of it yet)", i["id"]) for i in listed]
    write_table(("TYPE", "NAME", "ID"), rows)
    say_more(following)


def register(
    file: Annotated[str, Parameter(allow_leading_hyphen=True)], /, *, registry: RegistryName = None, json: Json = False
) -> int:
    """Register the model run in a JSON file, or several at once; or an item that model runs refer to.

    A document with `item_subtype` (`PERSON`, `STUDY` …) is an item. A list of model runs, or `{"records": […]}`, is a
    batch: those that nothing is wrong with are registered, the others are told, and the exit code is 1.

    Parameters
    ----------
    file
        The file, or - for standard input.
    """
    document = given_json("register", file)
    records = document.get("records") if isinstance(document, Mapping) else document
    provenance = open_provenance(registry, create=True)
    if isinstance(records, list):
        return _batch(provenance, document if isinstance(document, Mapping) else {"records": records}, json)
    if not isinstance(document, Mapping):
        raise InvalidInput.of("register", ["the document must be an object, or a list of them"])
    if "item_subtype" in document:
        of, id_ = "item", str(_registered_item(provenance, document).id)
    else:
        of, id_ = "model_run", str(provenance.register_model_run(document).session_id)
    if json:
        write_json("provenance_register/1", registry=provenance.registry.url, of=of, id=id_, records=[])
    else:
        write(id_)
    return 0


def import_(
    file: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    reason: Annotated[str | None, Parameter(help="Recorded with it.")] = None,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Take in a document of PROV-JSON by one decision (needs the extra `prov`): then it is part of lineage.

    What was imported before is not imported again. Reverting the run takes it out of lineage.

    Parameters
    ----------
    file
        The file, or - for standard input.
    """
    content = given_bytes("import", file)
    provenance = open_provenance(registry, create=True)
    made = provenance.import_prov(content, reason=reason)
    if json:
        write_json(
            "provenance_import/1", registry=provenance.registry.url, run_id=made.run_id, nodes=made.nodes,
            links=made.links,
        )  # fmt: skip
        return
    if made.run_id is None:
        say("All of it is known already; nothing was written.")
        return
    write(made.run_id)
    say(f"{len(made.nodes):,} thing(s), {made.links:,} new link(s).")


def csv(
    action: Action,
    subject: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    output: Output = None,
    encoding: Annotated[
        str | None,
        Parameter(help="Of a table to convert that is neither in UTF-8 nor in UTF-16 with a byte order mark: cp1252."),
    ] = None,
    registry: RegistryName = None,
    json: Json = False,
) -> None:
    """Write the table to fill in for a workflow template; read a filled-in one; write what became of a batch.

    convert registers nothing: it writes the model runs as JSON, which `register` takes.

    Parameters
    ----------
    action
        template writes the line with the headers; convert reads a table; regenerate writes one again.
    subject
        For template a workflow template; for convert a file, or - for standard input; for regenerate a batch.
    """
    if encoding is not None and action != "convert":
        raise InvalidInput.of("csv", [f"--encoding is for convert alone, not for {action}"])
    provenance = open_provenance(registry)
    warnings: list[str] = []
    records: list[Any] | None = None
    if action == "template":
        text = provenance.generate_csv_template(subject)
    elif action == "regenerate":
        text = provenance.regenerate_csv_from_model_run_batch(subject)
    else:
        records, existing, warnings = _converted(provenance, given_bytes("csv", subject), encoding)
        text = _json_of(records)
        if existing:
            warnings.append(f"{len(existing):,} row(s) were registered before, and are left out: {existing[0]} …")
    if output is not None or not json:
        write_text(text, output)
    if json:
        write_json(
            "provenance_csv/1", registry=provenance.registry.url, action=action, subject=subject,
            file=str(output) if output is not None else None, text=text if output is None else None, records=records,
            warnings=warnings,
        )  # fmt: skip
    else:
        for warning in warnings:
            say(warning)


GROUP = "Provenance"
COMMANDS: dict[str, Command] = {
    "provenance ls": ls,
    "provenance register": register,
    "provenance import": import_,
    "provenance csv": csv,
}


def _fields(item: Item | SeedItem | ItemModelRun) -> dict[str, Any]:
    document = item.model_dump(mode="json", exclude={"id"}, exclude_none=True)
    return {
        "id": item.id, "type": str(item.item_subtype), "name": getattr(item, "display_name", ""),
        "complete": str(item.record_type) == "COMPLETE_ITEM", "document": document,
    }  # fmt: skip


def _batch(provenance: Provenance, document: Mapping[str, Any], as_json: bool) -> int:
    batch = str(provenance.register_batch_model_runs(document).session_id)
    results = provenance.batch_results(batch)
    refused = [(number, each) for number, each in enumerate(results, 1) if each.error is not None]
    if as_json:
        listed = [{"id": r.model_run_id, "status": str(r.status), "error": r.error} for r in results]
        write_json("provenance_register/1", registry=provenance.registry.url, of="batch", id=batch, records=listed)
    else:
        write(batch)
        for number, each in refused:
            say(f"#{number:,} was refused: {each.error}")
        say(f"{len(results) - len(refused):,} of {len(results):,} model runs were registered.")
    return NOT_DONE if refused else 0


def _registered_item(provenance: Provenance, document: Mapping[str, Any]) -> Any:
    from prefect_registry.provenance.records import checked
    from prefect_registry.provenance.registering_items import CLASSES

    subtype = document["item_subtype"]
    if not isinstance(subtype, str) or subtype not in CLASSES:
        raise InvalidInput.of(
            "register", [f"item_subtype must be one of {', '.join(sorted(CLASSES))}, not {subtype!r:.60}"]
        )
    fields = {name: value for name, value in document.items() if name != "item_subtype"}
    return provenance.register_item(checked(CLASSES[subtype], fields, "the item"))


def _converted(provenance: Provenance, content: bytes, encoding: str | None) -> tuple[list[Any], list[str], list[str]]:
    from prefect_registry.provenance.csv import convert_csv
    from prefect_registry.provenance.looking_up import Lookups

    found = convert_csv(content, Lookups(provenance, None), encoding)
    records = [record.model_dump(mode="json", exclude_none=True) for record in found.new_records]
    return records, list(found.existing_records), list(found.warnings)


def _json_of(records: list[Any]) -> str:
    import json

    return json.dumps({"records": records}, indent=2, ensure_ascii=False)
