"""This process's connection to Ray, and a watch on it: Ray's own processes may die while jobs are at work.

Ray is the raylet of each machine and the GCS of the whole cluster. Of a dead raylet Ray says that the jobs failed, or nothing
at all; for a dead GCS it waits a minute, and then ends this process with a text of its own. Both are noticed here before.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ma2ml_env.evaluators.base import NoWorker
from ma2ml_env.io.output import show_cursor

PATIENCE = 25.0
"""seconds that a GCS may be silent, or away where it is not ours and may be started again"""
LAST = 45.0
"""seconds of silence after which this process ends where it hangs in a call of Ray, which would end it after 60"""
EVERY = 1.0
"""seconds between looks"""
GRACE = 15.0
"""seconds that leaving Ray may take"""


class RayLost(NoWorker):
    """Ray itself, or a part of it, has died. That is no job's doing, and no job's outcome."""


class Link:
    """A connection to Ray, from `start` to `stop`.

    Args:
        ray: the module.
        address: of a cluster; None starts Ray on this machine.
        cpus: of the Ray that is started here; None is all.
    """

    def __init__(self, ray: Any, address: str | None, cpus: int | None) -> None:
        self._ray, self.address, self._cpus = ray, address, cpus
        self.started = False
        self.resources: Mapping[str, float] = {}
        """what the cluster has, as in {"CPU": 8.0, "GPU": 1.0}"""
        self._node = ""
        self._gone = False  # whether the GCS takes our machine for dead
        self._silent: float | None = None  # since when the GCS owes an answer
        self._away: float | None = None  # since when the GCS takes no connection
        self._places: dict[str, tuple[str, int]] = {}
        self._over = threading.Event()

    def start(self) -> None:
        """Connect, and begin to watch.

        Raises:
            RuntimeError: if this process is connected already.
            ConnectionError: if there is no cluster at the address.
        """
        if self._ray.is_initialized():
            raise RuntimeError("this process is connected to Ray already; ray.shutdown() first")
        options: dict[str, Any] = {"address": self.address}
        if self.address is None:
            options = {"address": "local", "num_cpus": self._cpus, "include_dashboard": False}
        main = threading.current_thread() is threading.main_thread()
        handler = signal.getsignal(signal.SIGTERM) if main else None
        try:
            self._ray.init(log_to_driver=False, logging_level="ERROR", **options)
        finally:
            if main:  # Ray takes SIGTERM for itself; it belongs to who called
                signal.signal(signal.SIGTERM, handler)
        self.started = True
        context = self._ray.get_runtime_context()
        self._node, self._gone, self._silent, self._away = context.get_node_id(), False, None, None
        self._places = {}
        self._ask()
        if not (self.address or "").startswith("ray://"):  # a client has neither beside it
            self._places["GCS"] = _place(context.gcs_address)
            for node in self._ray.nodes():
                if node["NodeID"] == self._node:
                    self._places["raylet"] = node["NodeManagerAddress"], int(node["NodeManagerPort"])
        self._over = threading.Event()
        threading.Thread(target=self._watch, args=(self._over,), daemon=True).start()

    def stop(self) -> None:
        """Disconnect, and end what was started here. A dead Ray holds nobody up."""
        if not self.started:
            return
        self.started = False
        self._over.set()
        leaving = threading.Thread(target=self._ray.shutdown, daemon=True)
        leaving.start()
        leaving.join(GRACE)

    def check(self) -> None:
        """Make sure that Ray lives.

        Raises:
            RayLost: if it does not; the message says what died.
        """
        if lost := self._lost():
            raise RayLost(f"{lost}; no job can be run")

    def _lost(self) -> str:
        """What died; "" if nothing did."""
        now = time.monotonic()
        if "raylet" in self._places and not _listens(self._places["raylet"]):
            return f"Ray's raylet of this machine ({_said(self._places['raylet'])}) has died"
        if self._gone:
            return "Ray's raylet of this machine does not answer Ray's GCS, which takes the machine for dead"
        if "GCS" in self._places:
            here = _listens(self._places["GCS"])
            self._away = None if here else (self._away or now)
            if self._away is not None and (self.address is None or now - self._away > PATIENCE):
                return f"Ray's GCS ({_said(self._places['GCS'])}) has died"
        if self._silent is not None and now - self._silent > PATIENCE:
            return f"Ray's GCS has not answered for {now - self._silent:.0f} s"
        return ""

    def _ask(self) -> None:
        """Ask the GCS, which may take for ever if it is dead."""
        self._silent = self._silent or time.monotonic()
        self.resources = dict(self._ray.cluster_resources())
        self._gone = any(node["NodeID"] == self._node and not node["Alive"] for node in self._ray.nodes())
        self._silent = None

    def _watch(self, over: threading.Event) -> None:
        """Ask again and again, in one thread; look from a second one whether this one, and the main thread, hang."""
        threading.Thread(target=self._last, args=(over,), daemon=True).start()
        while not over.wait(EVERY):
            with suppress(Exception):  # no answer is an answer
                self._ask()

    def _last(self, over: threading.Event) -> None:
        """End this process in good order while Ray has not done it in its own way. What was acknowledged is stored."""
        while not over.wait(EVERY):
            if self._silent is not None and time.monotonic() - self._silent > LAST:
                lost = self._lost() or "Ray does not answer"
                with suppress(OSError):
                    print(
                        f"ma2ml: error: {lost}; the command can be started again and goes on",
                        file=sys.stderr,
                        flush=True,
                    )
                show_cursor()
                os._exit(2)


def _place(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _said(place: tuple[str, int]) -> str:
    return f"{place[0]}:{place[1]}"


def _listens(place: tuple[str, int]) -> bool:
    """Whether somebody takes connections there; one that is merely slow does."""
    try:
        socket.create_connection(place, timeout=EVERY).close()
    except TimeoutError:
        return True
    except OSError:
        return False
    return True
