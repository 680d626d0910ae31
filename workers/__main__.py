"""Runs one worker process: `python -m workers`, which is what `sonobridge worker` and `sonobridge up` start.

A process that converts imports this file again before it does anything (`multiprocessing`, "spawn"), and has no use for
the rest of a worker: hence by name.
"""

import sys

from app.named import Named

MAIN: Named[int] = Named("workers.process", "main")

if __name__ == "__main__":
    sys.exit(MAIN(sys.argv[1:]))
