"""What OpenLineage events tell of what a run has read and made: datasets, versions of objects, registered models.

Names follow https://openlineage.io/docs/spec/naming: a dataset's namespace is the bucket (``s3://bucket``), or ``file``
where the store is a folder. Its name is the path of the store and what the table, object or model is called, which
stays the same from run to run; its version is the dataset's id, or the version of the object or model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from prefect_registry.credentials import without_user_info
from prefect_registry.errors import InvalidInput
from prefect_registry.ids import parse_inner_id
from prefect_registry.ledger import paths
from prefect_registry.ledger.dropping import RESTORES
from prefect_registry.ledger.ledger import Ledger
from prefect_registry.provenance.standards.openlineage_facts import DatasetFacts
from prefect_registry.records.cells import CellGeneration, CellRef
from prefect_registry.records.datasets import DatasetGeneration
from prefect_registry.records.types import ADDRESS_CHARACTERS, CELLS_OF_IDS, MODEL_ARTIFACT, MODEL_VERSION, OBJECT

_STAGED = 1
"""The generation of a dataset that has its rows and files: 0 is its beginning."""
_REGISTERED = (MODEL_VERSION, MODEL_ARTIFACT)


def facts_of_data(
    ledger: Ledger,
    run_id: str,
    generations: Mapping[str, Sequence[CellGeneration]],
    used: Sequence[str],
    made: Sequence[str],
) -> tuple[list[DatasetFacts], list[DatasetFacts]]:
    """The facts of what a run has used and made, all read at the same time.

    Args:
        generations: What it wrote itself, as :class:`~prefect_registry.provenance.captures.Written` has it: what it
            made is told by the newest of these, whatever became of it since.
        used: Ids. What the run has written over is told as it was before; of the rest, what is visible now.
        made: Ids.
    """
    telling = _Telling(ledger, run_id, generations)
    calls: list[Callable[[], DatasetFacts]] = [partial(telling.of_input, id_) for id_ in used]
    calls += [partial(telling.of_output, id_) for id_ in made]
    told = ledger.store.together(calls) if calls else []
    return told[: len(used)], told[len(used) :]


class _Telling:
    def __init__(self, ledger: Ledger, run_id: str, own: Mapping[str, Sequence[CellGeneration]]) -> None:
        self._ledger, self._run_id, self._own = ledger, run_id, own
        self._url = ledger.store.storage.url
        self._namespace, path = place_of(self._url)
        self._path = path.rstrip("/")

    def of_input(self, id_: str) -> DatasetFacts:
        own = self._own.get(id_)
        if own is None:
            return self._visible(id_)
        before = self._generation(id_, own[0].base)
        return self._cell(id_, self._content(before or own[0]))

    def of_output(self, id_: str) -> DatasetFacts:
        own = self._own.get(id_)
        return self._cell(id_, self._content(own[-1])) if own is not None else self._visible(id_)

    def _visible(self, id_: str) -> DatasetFacts:
        if (named := _cell_of(id_)) is not None:
            return self._cell(id_, self._content(self._ledger.cells.latest(*named, self._run_id, guess=0)))
        try:
            run_id, suffix = parse_inner_id(id_, "ds", "dataset")
        except InvalidInput:
            return self._unknown(id_)
        found = self._ledger.store.peek(paths.dataset_key(run_id, suffix, _STAGED), DatasetGeneration)
        return self._dataset(id_, found) if found is not None else self._unknown(id_)

    def _generation(self, id_: str, gen: int | None) -> CellGeneration | None:
        named = _cell_of(id_)
        if gen is None or named is None:
            return None
        return self._ledger.store.peek(paths.cell_key(CellRef.named(*named), gen), CellGeneration)

    def _content(self, shown: CellGeneration | None) -> CellGeneration | None:
        """The generation that says what ``shown`` holds: of a version that was restored, an earlier one."""
        while shown is not None and shown.type == OBJECT and RESTORES in shown.value:
            shown = self._generation(shown.name, shown.value[RESTORES])
        return shown

    # -- facts ---------------------------------------------------------------------------------------------------

    def _named(self, *parts: object) -> str:
        return "/".join(filter(None, (self._path, *map(str, parts))))

    def _unknown(self, id_: str) -> DatasetFacts:
        return DatasetFacts(namespace=self._namespace, name=self._named("items", id_))

    def _dataset(self, id_: str, document: DatasetGeneration) -> DatasetFacts:
        inside = f"{self._url}/{paths.dataset_prefix(document.run_id, id_[-16:])}".rstrip("/")
        root = document.root if document.external else inside
        elsewhere = place_of(root) if document.external else None
        return DatasetFacts(
            namespace=elsewhere[0] if elsewhere else self._namespace,
            name=(elsewhere[1] if elsewhere else "") or self._named("tables", document.kind),
            version=id_,
            rows=document.rows,
            bytes=None if document.external else document.bytes,
            files=None if document.external else document.file_count,
            uri=root if "://" in root else f"file://{root}",
        )

    def _cell(self, id_: str, document: CellGeneration | None) -> DatasetFacts:
        value = document.value if document is not None else {}
        if "@" in id_:
            name, _, version = id_.rpartition("@")
            return DatasetFacts(
                namespace=self._namespace, name=self._named("objects", name), version=version,
                bytes=_count(value.get("size")), files=_count(value.get("file_count")),
            )  # fmt: skip
        if document is None or value.get("id") != id_:
            return self._unknown(id_)
        if document.type == MODEL_VERSION:
            name, version = self._named("models", value.get("model_name")), str(value.get("name"))
        else:
            parts = (*self._model_of(value), value.get("type"), value.get("name"))
            name, version = self._named(*parts), id_
        return DatasetFacts(namespace=self._namespace, name=name, version=version)

    def _model_of(self, artifact: Mapping[str, Any]) -> tuple[str, ...]:
        """What the name of an artifact begins with: the model whose version has it, if any does."""
        for id_ in artifact.get("versions") or ():
            own, named = self._own.get(id_), _cell_of(str(id_))
            version = own[-1] if own else named and self._ledger.cells.latest(*named, self._run_id, guess=0)
            if version is not None and version.value.get("id") == id_:
                return "models", str(version.value.get("model_name"))
        return ("artifacts",)


def _cell_of(id_: str) -> tuple[str, str] | None:
    """Type and name of the cell that has an id; None for what is no version, model version or artifact."""
    if "@" in id_:
        return OBJECT, id_
    type_ = next((type_ for prefix, type_ in CELLS_OF_IDS.items() if id_.startswith(prefix)), None)
    if type_ not in _REGISTERED or len(id_) < ADDRESS_CHARACTERS:
        return None
    return type_, id_[-ADDRESS_CHARACTERS:]


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def place_of(url: str) -> tuple[str, str]:
    """Namespace and path of a URL by OpenLineage's naming: ``("s3://bucket", "a/b")``, ``("file", "/a/b")``.

    Credentials are left out; the ``container@account`` of Azure's URLs stays.
    """
    if "://" not in url:
        return "file", re.sub(r"\\", "/", url)
    parts = urlsplit(without_user_info(url))
    if parts.scheme == "file":
        return "file", parts.path
    return f"{parts.scheme}://{parts.netloc}", parts.path.strip("/")
