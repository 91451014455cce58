"""``Doc`` and ``DoctagsAsset`` of reference system 1, field for field."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from prefect_registry.notebook import shown


class Doc(BaseModel):
    """A source document. ``id`` is a content-addressed URN (``urn:doc:…``); ``pub_date`` is ISO 8601;
    ``content_hash`` is the SHA-256 of the canonical text.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str = Field(min_length=1)
    openalex_id: str | None = None
    doi: str | None = None
    arxiv_id: str | None = None
    pmcid: str | None = None
    title: str = ""
    authors: list[str] = Field(default_factory=list)
    pub_date: str | None = None
    license: str | None = None
    language: str = "en"
    pdf_uri: str = ""
    source: str = "unknown"
    content_hash: str | None = None

    _repr_html_ = shown


class DoctagsAsset(BaseModel):
    """What a vision-language model read in a document: one asset per document, the newest counts.

    ``pages`` is a count; ``avg_logprob`` the mean log probability of the model's tokens.
    """

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())

    doc_id: str = Field(min_length=1)
    doctags_uri: str
    pages: int = Field(ge=0, lt=2**63)
    vlm_model: str
    vlm_revision: str
    avg_logprob: float | None = Field(default=None, allow_inf_nan=False)

    _repr_html_ = shown
