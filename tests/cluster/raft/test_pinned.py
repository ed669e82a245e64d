"""pysyncobj is pinned: these tests fail when what the adapter in `cluster/raft/` knows of its inside changes."""

from __future__ import annotations

import hashlib
import inspect
import subprocess
import sys

import pysyncobj.syncobj
from pysyncobj.version import VERSION

from cluster.raft.pysyncobj_adapter import PINNED_VERSION, Raft

# SHA-256 of pysyncobj/syncobj.py as of the pinned version. If it changes, read the difference against every override
# and private name in cluster/raft/pysyncobj_adapter.py before this line is changed.
SYNCOBJ_SHA256 = "e8bdf06797085d734df86e24ab4802fe87893dff77268565ec036f7ad4a1cfe4"


def test_the_installed_version_is_the_pinned_one() -> None:
    assert VERSION == PINNED_VERSION


def test_the_source_that_we_reach_into_is_the_one_that_was_read() -> None:
    source = inspect.getsource(pysyncobj.syncobj)
    assert hashlib.sha256(source.encode()).hexdigest() == SYNCOBJ_SHA256


def test_every_method_that_we_override_exists() -> None:
    base = Raft.__mro__[1]
    overridden = [name for name in vars(Raft) if name.startswith("_SyncObj__")]
    assert len(overridden) >= 6
    assert all(callable(getattr(base, name)) for name in overridden)


def test_nothing_can_be_unpickled_once_the_log_is_imported() -> None:
    script = (
        "import cluster.raft.pysyncobj_adapter, pysyncobj.syncobj as s\n"
        "try: s.pickle.loads(b'')\nexcept AssertionError as e: print(e)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "pysyncobj reached for pickle"


def test_it_starts_no_thread_and_opens_no_file_or_socket() -> None:
    script = (
        "import sys, threading\n"
        "opened = []\n"
        "sys.addaudithook(lambda e, a: opened.append(e) if e in ('socket.__new__', 'os.fork') else None)\n"
        "from tests.cluster.raft.engines import lone_engine\n"
        "opened.clear()\n"
        "lone_engine()\n"
        "print(threading.active_count(), opened)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1 []"
