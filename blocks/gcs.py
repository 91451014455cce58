"""Save the block of a registry in a bucket of Google Cloud Storage, from environment variables.

    REGISTRY_GCS_BUCKET=my-bucket REGISTRY_GCS_PREFIX=registry python -m blocks.gcs

It may run as often as you like; the block of that name is replaced. REGISTRY_BLOCK_NAME is its name, "default" without.

    REGISTRY_GCS_BUCKET                the bucket
    REGISTRY_GCS_PREFIX                path inside the bucket
    REGISTRY_GCS_PROJECT               project that requests are made for
    REGISTRY_GCS_SERVICE_ACCOUNT_INFO  content of a service account's key file (without any: the credentials of
                                       the environment where flows run)
    REGISTRY_GCS_SERVICE_ACCOUNT_FILE  or: its path on the workers
    REGISTRY_GCS_CREDENTIALS_BLOCK     or: a block to take them from, such as gcp-credentials/prod
    REGISTRY_GCS_ANONYMOUS             true: send no credentials
    REGISTRY_GCS_ENDPOINT_URL          address of the server, for emulators
    REGISTRY_GCS_STORAGE_OPTIONS       more options of gcsfs, as JSON
    REGISTRY_GCS_VERSION_OBJECTS       true: keep every version of saved objects
    REGISTRY_GCS_MUTABLE_OBJECTS       true: let saved objects be overwritten
"""

from __future__ import annotations

from prefect_registry.blocks import GCSRegistry
from prefect_registry.blocks.environment import save_from_environment

if __name__ == "__main__":
    save_from_environment(GCSRegistry)
