"""What every test stands on: nothing of the person's own settings, credentials, caches or servers."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from pathlib import Path

import certifi
from hypothesis import HealthCheck, settings

# Before anything imports prefect, which reads its settings once.
_home = Path(tempfile.mkdtemp(prefix="prefect-registry-tests-"))
_owner = os.getpid()


def _remove_home() -> None:
    if os.getpid() == _owner:  # not in a forked child
        shutil.rmtree(_home, ignore_errors=True)


atexit.register(_remove_home)

# A shell starts what it puts into the background with interrupts ignored, nohup with hang-ups, and every child would
# inherit that: the flows and commands that tests interrupt.
for _number, _handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)

for _name in [
    *(name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_", "OPENLINEAGE_", "PREFECT_"))),
    "BOTO_CONFIG",
    "FSSPEC_CONFIG_DIR",
]:
    os.environ.pop(_name, None)


def _one_authority() -> str:
    """A file with one certificate authority, the first of all those that everybody trusts.

    Each client that Prefect opens, several for a flow run, would load all of them, which takes as long as the flow run.
    """
    file, end = _home / "authority.pem", "-----END CERTIFICATE-----\n"
    file.write_text("".join(Path(certifi.where()).read_text(encoding="utf-8").partition(end)[:2]), encoding="utf-8")
    return str(file)


os.environ.update(
    SSL_CERT_FILE=_one_authority(),
    PREFECT_HOME=str(_home / "prefect"),
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    DO_NOT_TRACK="1",
    XDG_CACHE_HOME=str(_home / "cache"),
    XDG_DATA_HOME=str(_home / "data"),
    AWS_CA_BUNDLE=_one_authority(),
    AWS_CONFIG_FILE=os.devnull,
    AWS_SHARED_CREDENTIALS_FILE=os.devnull,
    AWS_EC2_METADATA_DISABLED="true",
    CLOUDSDK_CONFIG=str(_home / "gcloud"),
    NO_GCE_CHECK="true",
    # Else gcsfs asks Google, over gRPC, of what type a bucket is; with an emulator that hangs. Read at its import.
    GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT="false",
)

# Machines that test are slow now and then; a test that is too slow is ended by pytest-timeout.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")

# Fixtures that start real object stores, a real Prefect server, and real workers.
pytest_plugins = ["servers", "prefect_server", "worker_forks"]
