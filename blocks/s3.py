"""Save the block of a registry in a bucket of S3, or of a server that speaks its protocol, from environment variables.

    REGISTRY_S3_BUCKET=my-bucket REGISTRY_S3_PREFIX=registry python -m blocks.s3

It may run as often as you like; the block of that name is replaced. REGISTRY_BLOCK_NAME is its name, "default" without.

    REGISTRY_S3_BUCKET             the bucket
    REGISTRY_S3_PREFIX             path inside the bucket
    REGISTRY_S3_ENDPOINT_URL       address of the server, for others than Amazon's
    REGISTRY_S3_REGION             region of the bucket
    REGISTRY_S3_PATH_STYLE         true: bucket in the path of URLs, as MinIO and others need it
    REGISTRY_S3_ACCESS_KEY_ID      access key (without one: the credentials of the environment where flows run)
    REGISTRY_S3_SECRET_ACCESS_KEY  its secret
    REGISTRY_S3_SESSION_TOKEN      its session token, if it is temporary
    REGISTRY_S3_CREDENTIALS_BLOCK  or: a block to take them from, such as aws-credentials/prod
    REGISTRY_S3_PROFILE            or: a profile of the workers' AWS configuration
    REGISTRY_S3_ROLE_ARN           a role to assume with them
    REGISTRY_S3_ROLE_EXTERNAL_ID   external ID that the role asks for
    REGISTRY_S3_STS_ENDPOINT_URL   address of the service that gives out the role's credentials
    REGISTRY_S3_ANONYMOUS          true: sign no requests
    REGISTRY_S3_VERIFY_TLS         false: do not check certificates
    REGISTRY_S3_CA_BUNDLE          path on the workers of the certificate authorities to trust
    REGISTRY_S3_STORAGE_OPTIONS    more options of s3fs, as JSON
    REGISTRY_S3_VERSION_OBJECTS    true: keep every version of saved objects
    REGISTRY_S3_MUTABLE_OBJECTS    true: let saved objects be overwritten
"""

from __future__ import annotations

from prefect_registry.blocks import S3Registry
from prefect_registry.blocks.environment import save_from_environment

if __name__ == "__main__":
    save_from_environment(S3Registry)
