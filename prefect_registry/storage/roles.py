"""An AWS role that is assumed when it is needed, and again before it expires, as a session for s3fs."""

from __future__ import annotations

import os
from typing import Any

from aiobotocore.credentials import AioAssumeRoleCredentialFetcher, AioDeferredRefreshableCredentials
from aiobotocore.session import AioSession
from botocore.exceptions import NoCredentialsError

SESSION_NAME = "prefect-registry"
_ANYWHERE = "us-east-1"  # a role is good for every region
_FIELDS = (
    "role_arn",
    "external_id",
    "session_name",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "profile",
    "region",
    "endpoint_url",
    "verify",
)


class RoleSession(AioSession):  # type: ignore[misc]
    """A session whose credentials are those of a role: ``storage_options={"session": RoleSession(role_arn=…)}``.

    Args:
        role_arn: The role.
        external_id: What its trust policy asks for, if anything.
        session_name: Shown in the account's audit log.
        access_key_id, secret_access_key, session_token: Who assumes it; empty for the profile or the environment.
        profile: Profile of the shared configuration files.
        region: Where the service that gives out credentials is asked.
        endpoint_url: Address of that service; empty for Amazon's.
        verify: False, or the path of a CA bundle, for that service's certificate.

    Sessions with equal arguments are equal. It pickles as its arguments.
    """

    def __init__(
        self,
        *,
        role_arn: str,
        external_id: str = "",
        session_name: str = "",
        access_key_id: str = "",
        secret_access_key: str = "",
        session_token: str = "",
        profile: str = "",
        region: str = "",
        endpoint_url: str = "",
        verify: bool | str | None = None,
    ) -> None:
        super().__init__(profile=profile or None)
        self._credentials: Any
        given = locals()
        self._arguments = {name: given[name] for name in _FIELDS}
        self._made_in = os.getpid()

    async def get_credentials(self) -> Any:
        """Those of the role; they renew themselves."""
        if self._credentials is None or self._made_in != os.getpid():  # its lock belongs to one process's event loop
            self._made_in = os.getpid()
            self._credentials = AioDeferredRefreshableCredentials(refresh_using=self._assume, method="assume-role")
        return self._credentials

    async def _assume(self) -> Any:
        given = self._arguments
        base = AioSession(profile=given["profile"] or None)
        if given["access_key_id"]:
            base.set_credentials(given["access_key_id"], given["secret_access_key"], given["session_token"] or None)
        source = await base.get_credentials()
        if source is None:
            raise NoCredentialsError
        where = {
            "region_name": given["region"] or base.get_config_variable("region") or _ANYWHERE,
            "endpoint_url": given["endpoint_url"] or None,
            "verify": given["verify"],
        }
        extra = {"RoleSessionName": given["session_name"] or SESSION_NAME}
        if given["external_id"]:
            extra["ExternalId"] = given["external_id"]
        fetcher = AioAssumeRoleCredentialFetcher(
            client_creator=lambda service, **keys: base.create_client(service, **where, **keys),
            source_credentials=source,
            role_arn=given["role_arn"],
            extra_args=extra,
        )
        return await fetcher.fetch_credentials()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RoleSession) and other._arguments == self._arguments

    def __hash__(self) -> int:
        return hash(tuple(self._arguments.values()))

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuilt, (self._arguments,))

    def __repr__(self) -> str:
        return f"<RoleSession {self._arguments['role_arn']}>"


def _rebuilt(arguments: dict[str, Any]) -> RoleSession:
    return RoleSession(**arguments)
