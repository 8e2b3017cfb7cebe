"""Imported by the server of processes: each of them ends when the process it works for does.

Without it, processes wait for ever if their caller is killed.
"""

import multiprocessing
import multiprocessing.connection
import os
import threading
import time


def _watch() -> None:
    # It is set a moment after the fork
    while (parent := multiprocessing.parent_process()) is None:
        time.sleep(0.05)
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)


def _start() -> None:
    threading.Thread(target=_watch, daemon=True).start()


os.register_at_fork(after_in_child=_start)
