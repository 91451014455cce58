"""Registering models by one decision: what is somewhere, is kept here, is uploaded first, or is on the Hub."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from prefect_registry.asynchronous import twin
from prefect_registry.errors import InvalidInput, nothing_published
from prefect_registry.models import cards
from prefect_registry.models.addresses import object_name
from prefect_registry.models.checking import built, listed
from prefect_registry.models.huggingface import describe_hf_model
from prefect_registry.models.lists import ModelLists
from prefect_registry.models.local_files import files_at
from prefect_registry.models.registering import Registered, Upload, register
from prefect_registry.models.resources import Artifact, ModelArtifact, ModelVersion, RegisteredModel
from prefect_registry.models.uploading import S3Params, Uploaded, delete_from_s3, upload_to_s3
from prefect_registry.models.utils import object_uri
from prefect_registry.models.writing import Batch
from prefect_registry.records.types import OBJECT
from prefect_registry.storage.base import Progress

_NOTHING: Any = object()


class Registering:
    """What of :class:`~prefect_registry.models.client.ModelRegistry` registers versions."""

    models: ModelLists

    @nothing_published
    def register_model(
        self,
        name: str,
        uri: str | None = None,
        *,
        version: str | None = None,
        model: Any = _NOTHING,
        model_format_name: str | None = None,
        model_format_version: str | None = None,
        storage_key: str | None = None,
        storage_path: str | None = None,
        service_account_name: str | None = None,
        model_source_kind: str | None = None,
        model_source_class: str | None = None,
        model_source_group: str | None = None,
        model_source_id: str | None = None,
        model_source_name: str | None = None,
        author: str | None = None,
        owner: str | None = None,
        version_description: str | None = None,
        description: str | None = None,
        metadata: Mapping[str, bool | int | float | str] | None = None,
        external_id: str | None = None,
        artifacts: Sequence[Artifact] = (),
        card: str | os.PathLike[str] | None = None,
        aliases: Sequence[str] = (),
        materializer: Any = None,
        progress: Progress | None = None,
        reason: str | None = None,
        run_id: str | None = None,
    ) -> RegisteredModel:
        """Register a version of a model, and the model if there is none of that name, by one decision.

        Inside a flow with ``@registry_run``, or ``with registry.run(...)``, it is staged, and becomes visible with all
        else that the run publishes.

        Args:
            name: Of the model.
            uri: Where the trained model is: any URI, or what
                :func:`~prefect_registry.models.utils.object_uri` and ``dataset_uri`` make.
            version: A name, up to 250 characters; without one, the next number.
            model: An object to save in this registry (an estimator, a module, a path …), instead of ``uri``: as
                ``models/<name>/<version>``, with ``materializer`` as in :meth:`prefect_registry.Registry.save`.
            author: Of the version; that of this client, unless given.
            owner: Of a new model; the author, unless given. That of a model that is there is not changed.
            version_description, description: Of the version; the first wins.
            metadata: Custom properties of the version.
            artifacts: More artifacts of the version: documents, datasets, metrics, parameters.
            card: The model card: Markdown, or the path of a file that holds it.
            aliases: Point to this version from then on, wherever others move them meanwhile.
            progress: Called with numbers of bytes as those of ``model`` are stored.
            reason: Why; kept in the history.

        Raises:
            DuplicateError: There is such a version; nothing was uploaded.
            InvalidInput: Lists every problem; nothing was written.
            InvalidState: The run is decided; or it holds what a call that failed before has staged, and the store does
                not answer yet. ``committed`` is ``yes`` when somebody has committed it meanwhile with a part of this.
        """
        made = self.register(
            name, uri, version=version, model=model, author=author, owner=owner, external_id=external_id,
            description=version_description if version_description is not None else description, metadata=metadata,
            artifacts=artifacts, card=card, aliases=aliases, materializer=materializer, progress=progress,
            reason=reason, run_id=run_id,
            about={
                "model_format_name": model_format_name, "model_format_version": model_format_version,
                "storage_key": storage_key, "storage_path": storage_path,
                "service_account_name": service_account_name, "model_source_kind": model_source_kind,
                "model_source_class": model_source_class, "model_source_group": model_source_group,
                "model_source_id": model_source_id, "model_source_name": model_source_name,
            },
        )  # fmt: skip
        return made.model

    @nothing_published
    def register(
        self,
        name: str,
        uri: str | None = None,
        *,
        version: str | None = None,
        model: Any = _NOTHING,
        about: Mapping[str, Any] | None = None,
        author: str | None = None,
        owner: str | None = None,
        description: str | None = None,
        metadata: Mapping[str, bool | int | float | str] | None = None,
        external_id: str | None = None,
        artifacts: Sequence[Artifact] = (),
        card: str | os.PathLike[str] | None = None,
        aliases: Sequence[str] = (),
        materializer: Any = None,
        progress: Progress | None = None,
        upload: Upload | None = None,
        reason: str | None = None,
        run_id: str | None = None,
    ) -> Registered:
        """:meth:`register_model` that returns the version and its artifacts too. ``about`` are more fields of the
        :class:`ModelArtifact`; ``upload`` puts bytes elsewhere once the version's name is ours.
        """
        fields = {key: value for key, value in (about or {}).items() if value is not None}
        sources = [uri is not None, model is not _NOTHING, upload is not None]
        problems = ["uri, model and upload exclude each other"] if sum(sources) > 1 else []
        if version == "":
            problems.append("version is empty; leave it out for the next number")
        if fields and not any(sources):
            problems.append(f"{', '.join(fields)} tell of a trained model, and there is none: uri or model is missing")
        by = author if author is not None else self.models.by
        described = {"description": description, "external_id": external_id, "custom_properties": metadata}
        owner = owner if owner is not None else by
        found = built(RegisteredModel, "registered model", problems, name=name, owner=owner)
        wanted = built(
            ModelVersion, "model version", problems, name=version if version is not None else "", author=by, **described
        )
        told = {"name": name, "uri": uri} | fields
        trained = built(ModelArtifact, "model artifact", problems, **told) if uri is not None or fields else None
        if problems or found is None or wanted is None:
            raise InvalidInput.of("the registration", problems)
        given = [*([trained] if trained is not None and uri is not None else ()), *listed(artifacts, "artifacts")]
        if card is not None:
            given.append(cards.card_of(card))

        def save(batch: Batch, number: str) -> Iterable[Artifact]:
            place = object_name(name, number)
            with batch.noting():
                saved = self.models.registry.save(
                    place, model, materializer=materializer, run_id=batch.run_id, progress=progress
                )
            kept = self.models.ledger.cells.latest(OBJECT, f"{place}@{saved}", batch.run_id, guess=0)
            form = kept.value.get("materializer") if kept is not None else None
            batch.also(kept)
            own = {"model_format_name": form, **fields, "uri": object_uri(place, str(saved))}
            return [ModelArtifact(name=name, **own)]

        return register(
            self.models, found, wanted, given, upload=save if model is not _NOTHING else upload,
            aliases=listed(aliases, "aliases"), reason=reason, run_id=run_id,
        )  # fmt: skip

    @nothing_published
    def upload_artifact_and_register_model(
        self,
        /,
        name: str,
        model_files_path: str | os.PathLike[str],
        *,
        version: str | None = None,
        upload_params: S3Params | None = None,
        author: str | None = None,
        owner: str | None = None,
        model_format_name: str | None = None,
        model_format_version: str | None = None,
        storage_key: str | None = None,
        storage_path: str | None = None,
        service_account_name: str | None = None,
        version_description: str | None = None,
        metadata: Mapping[str, bool | int | float | str] | None = None,
        run_id: str | None = None,
        **source: Any,
    ) -> RegisteredModel:
        """Upload files to a bucket, and register them as a version.

        The version's name is ours before the first byte is uploaded; when uploading or registering fails, what was
        uploaded is deleted again. After ``kill -9``, when the run around is rolled back later, and when the registry's
        store does not answer in a run, it stays in the bucket. Files that go into this registry instead
        (``register_model(name, model=path)``) need no such care.

        Args:
            upload_params: The bucket, and how to reach it.
            source: ``model_source_kind``, ``…_class``, ``…_group``, ``…_id``, ``…_name``.

        Raises as :meth:`register_model` does; ``ValueError`` without ``upload_params``.
        """
        if not isinstance(upload_params, S3Params):
            raise InvalidInput(
                'Param "upload_params" is required to perform an upload',
                why=f"It must be S3Params, not {type(upload_params).__name__}",
                todo="Pass S3Params(bucket_name=…, s3_prefix=…), or register_model(name, model=path) to keep them here",
                committed="no",
            )
        path, fields = Path(model_files_path), {
            "model_format_name": model_format_name, "model_format_version": model_format_version,
            "storage_key": storage_key, "storage_path": storage_path, "service_account_name": service_account_name,
            **source,
        }  # fmt: skip
        files_at(path)
        told = {name: value for name, value in fields.items() if value is not None}

        def upload(batch: Batch, number: str) -> Iterable[Artifact]:
            done = upload_to_s3(path, upload_params)
            batch.when_given_up(partial(_delete, upload_params, done))
            return [ModelArtifact(name=name, **told, uri=done.uri)]

        return self.register(
            name, version=version, author=author, owner=owner, description=version_description, metadata=metadata,
            about=fields, upload=upload, run_id=run_id,
        ).model  # fmt: skip

    @nothing_published
    def register_hf_model(
        self,
        repo: str,
        path: str,
        *,
        version: str | None = None,
        model_format_name: str | None = None,
        model_format_version: str | None = None,
        author: str | None = None,
        owner: str | None = None,
        model_name: str | None = None,
        version_description: str | None = None,
        git_ref: str = "main",
        run_id: str | None = None,
    ) -> RegisteredModel:
        """Register a model that is in a repository of the Hugging Face Hub. Nothing is downloaded.

        Raises ``StoreError`` when ``huggingface_hub`` is not installed, or there is no such repository, revision or
        file.
        """
        found = describe_hf_model(repo, path, git_ref=git_ref, author=author, model_name=model_name)
        made = self.register(
            found.name, found.uri, version=version, author=found.author, owner=owner or found.author,
            description=version_description, metadata=found.metadata,
            about={"model_format_name": model_format_name, "model_format_version": model_format_version},
            run_id=run_id,
        )  # fmt: skip
        return made.model

    aregister_model = twin(register_model)
    aregister = twin(register)
    aupload_artifact_and_register_model = twin(upload_artifact_and_register_model)
    aregister_hf_model = twin(register_hf_model)


def _delete(params: S3Params, done: Uploaded) -> None:
    delete_from_s3(done.created, access_key_id=params.access_key_id, secret_access_key=params.secret_access_key)
