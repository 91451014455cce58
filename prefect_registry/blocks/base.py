"""What every registry block has in common: how it is checked, loaded, opened and shown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import (
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from prefect_registry.asynchronous import twin
from prefect_registry.blocks.documents import BlockDocument
from prefect_registry.blocks.results import ResultStorage
from prefect_registry.errors import ConfigurationError

if TYPE_CHECKING:
    from prefect_registry.registry import Registry
    from prefect_registry.storage.probe import ProbeReport

Problem = tuple[str, str]
"""A field's name and what is wrong with it."""

HOME = "https://github.com/prefect-registry/prefect-registry"
"""Where the project lives. Prefect takes only web addresses for logos and documentation, no ``data:`` URIs."""


def logo(kind: str) -> str:
    """The address of the picture of a block type, which is a file of this package."""
    return f"{HOME}/raw/main/prefect_registry/blocks/logos/{kind}.png"


class RegistryBlock(ResultStorage, ABC):
    """Where a registry lives and how to reach it. Abstract: one subclass, and one form in the UI, per kind of storage.

    Fields are plain types whose empty default means "not set", because the forms of both Prefect UIs show those best.
    The UI does not run validators of Python, so a document is checked again when it is loaded. Block types evolve by
    optional fields only: a document saved by any older release loads.
    """

    # Prefect and pydantic would show the values of a refused document, secrets included.
    model_config = ConfigDict(hide_input_in_errors=True, str_strip_whitespace=True)

    version_objects: bool = Field(
        default=False,
        description="Keep every version of the objects that are saved there, instead of one of each. It is decided "
        "when the registry is first used for objects, and stays.",
    )
    mutable_objects: bool = Field(
        default=False,
        description="Let saved objects be overwritten. It is decided when the registry is first used for objects, and "
        "stays.",
    )

    _documentation_url: ClassVar[Any] = f"{HOME}/blob/main/docs/how-to/configure-storage-in-the-prefect-ui.md"

    @abstractmethod
    def get_url(self) -> str:
        """The root of the registry, without credentials."""

    @abstractmethod
    def get_storage_options(self) -> dict[str, Any]:
        """What fsspec's filesystem needs beside the URL. Holds secrets: never log it.

        Reads the ``credentials_block`` from Prefect's API, if one is named.
        """

    def problems(self) -> Iterator[Problem]:
        """Everything that is wrong with the fields as they stand, beyond their types."""
        yield from ()

    @classmethod
    def ordered_fields(cls) -> list[str]:
        """The names of the fields as people meet them: those of the type first, then those that all types have."""
        common = RegistryBlock.model_fields
        return [*(name for name in cls.model_fields if name not in common), *common]

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The form begins with where the registry is; what all types have in common stands at its end."""
        schema: dict[str, Any] = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name in [name for name in cls.ordered_fields() if name in properties]:
            properties[name] = properties.pop(name)
        return schema

    @model_validator(mode="before")
    @classmethod
    def _cleared_is_unset(cls, data: Any) -> Any:
        """A field that was cleared in the UI may come back as null."""
        return {k: v for k, v in data.items() if v is not None} if isinstance(data, dict) else data

    @field_validator("*", mode="after")
    @classmethod
    def _stripped(cls, value: Any) -> Any:
        """Secrets are pasted, with a newline at their end."""
        return SecretStr(value.get_secret_value().strip()) if isinstance(value, SecretStr) else value

    @model_validator(mode="after")
    def _checked(self) -> Self:
        found = list(self.problems())
        if found:
            raise ValueError("; ".join(f"{field} {what}" for field, what in found))
        return self

    @classmethod
    def model_validate(cls, obj: Any, **kwargs: Any) -> Self:
        """Like pydantic's, which Prefect calls to load a document, with an error that names the wrong fields."""
        try:
            return super().model_validate(obj, **kwargs)
        except ValidationError as error:
            problems = list(_described(error))
            raise ConfigurationError(
                f"The settings of a block of type {cls.get_block_type_slug()} are wrong: {'; '.join(problems)}",
                why="No store could be reached with them",
                todo="Correct the block in the Prefect UI, or save it again from Python",
                problems=problems,
                block_type=cls.get_block_type_slug(),
            ) from None

    @classmethod
    def of_document(cls, document: BlockDocument) -> Self:
        """The block that was saved as ``document``. Raises ``ConfigurationError`` that names the wrong fields."""
        block = cls.model_validate(document.data)
        block._block_document_name = document.name
        return block

    @property
    def keeping(self) -> dict[str, bool]:
        """What the block says of objects, as arguments of ``Registry``: only what is switched on."""
        said = {"version_objects": self.version_objects, "mutable": self.mutable_objects}
        return {name: value for name, value in said.items() if value}

    @property
    def document_name(self) -> str:
        """The name under which the block was saved; empty if it was not."""
        return self._block_document_name or ""

    @property
    def reference(self) -> str:
        """Type and name, as in ``"data-registry-s3/prod"``; empty if it was not saved."""
        return f"{self.get_block_type_slug()}/{self.document_name}" if self.document_name else ""

    @property
    def label(self) -> str:
        """How people find the block again: type and name, or what it points to while it is not saved."""
        return self.reference or f"{type(self).__name__} for {self.get_url()}"

    def get_registry(self) -> Registry:
        """The registry. One and the same object in this process for the same settings.

        A surrounding ``registry_sandbox()`` and ``PREFECT_REGISTRY_OVERRIDE`` take precedence over the block.

        Raises:
            ConfigurationError: The ``credentials_block`` does not exist or cannot be used.
            StorageUnavailable, AccessDenied, UnsupportedStorage: The store cannot be reached, refuses, or cannot
                create an object only if it is absent.
        """
        from prefect_registry.resolve import resolve_registry

        return resolve_registry(self)

    aget_registry: ClassVar = twin(get_registry)

    def check(self) -> ProbeReport:
        """Try out what a registry needs of the store: to reach it, to read, write, list and delete, and to create an
        object only if it is absent.

        Goes to the block's own store, whatever sandbox or override there is, and makes no registry. Trouble with the
        store is in the report; ``report.raise_unless_ok()`` raises it.

        Raises:
            ConfigurationError: The ``credentials_block`` does not exist or cannot be used.
        """
        from prefect_registry.storage.opening import open_storage
        from prefect_registry.storage.probe import probe

        return probe(open_storage(self.get_url(), self.get_storage_options()))

    acheck: ClassVar = twin(check)

    def open(self) -> Registry:
        """The block's own registry, without regard to sandboxes and overrides.

        Most callers want :meth:`get_registry`.
        """
        from prefect_registry.resolve.place import Place

        return Place.of_block(self).open()


def _described(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        field = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        yield f"{field}: {message}" if field else message


def merged(options: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """``options`` with ``more`` over them; mappings of the same name are joined, and not replaced."""
    joined = {**options, **more}
    for key in options.keys() & more.keys():
        if isinstance(options[key], Mapping) and isinstance(more[key], Mapping):
            joined[key] = merged(options[key], more[key])
    return joined


def secret(value: SecretStr) -> str:
    """What a secret field holds; empty means "not set"."""
    return value.get_secret_value()


def prefix_problems(prefix: str) -> Iterator[Problem]:
    """What is wrong with a prefix of a bucket."""
    if "://" in prefix or "\\" in prefix:
        yield "prefix", "must be a path inside the bucket, such as team/registry"
    elif any(segment in (".", "..", "") for segment in prefix.strip("/").split("/")) and prefix.strip("/"):
        yield "prefix", "must not have empty, '.' or '..' segments"


def bucket_problems(field: str, bucket: str, scheme: str) -> Iterator[Problem]:
    """What is wrong with the name of a bucket or container."""
    if not bucket:
        yield field, f"is empty: it must be the name of a {field}"
    elif "/" in bucket or ":" in bucket or any(c.isspace() for c in bucket):
        yield field, f"must be a name only, without {scheme}://, slashes or spaces; what follows it belongs in prefix"


def endpoint_problems(field: str, url: str) -> Iterator[Problem]:
    """What is wrong with the address of a server."""
    if url and not url.startswith(("http://", "https://")):
        yield field, "must start with http:// or https://"
    elif "@" in url:
        yield field, "must not hold a user or password: those have fields of their own"


def url_of(scheme: str, bucket: str, prefix: str) -> str:
    """``scheme://bucket/prefix`` without a slash at its end."""
    return f"{scheme}://{bucket}/{prefix.strip('/')}".rstrip("/")
