"""Which calls of a run are disturbed, and how: every call in every way that applies to it.

    cases, left = choose(run.calls)          [(mode, number)], and how many calls only `whole` takes

What applies to a call:

  kill     all, but not right after a call that left nothing behind: a sync, a connect, a GET, one that
           failed, one on SQLite's -shm file, which the next to open the database makes anew
           (sqlite.org/fileformat2.html, WAL-Index Format). The kill before that call found the same state
           (a sync matters to a power loss: powerloss.py)
  EIO      all on files; a connection is refused. Not a send: it fails only with the engine gone, which
           test_daemon_engine.py does
  ENOSPC   what needs space, every write and every sync
  full     what needs space: a disk that is full from another call on is full from the next of these
  short    every write and send of two bytes or more

Of a run of calls of one name on one file, such as the pages of one transaction in a write-ahead log,
the first two and the last two are taken. whole=True takes every call that changes state, so all but a GET
and its connect, in every mode that can be put in; "full" as above.
"""

from itertools import groupby

MODES = ("kill", "full", "ENOSPC", "EIO", "short")
ENDS_OF_A_RUN = 2


def choose(calls, whole=False):
    taken = set(call["n"] for call in (changing(calls) if whole else without_repetition(calls)))
    cases, before = [], None
    for call in calls:
        if call["n"] in taken:
            cases += [(mode, call["n"]) for mode in MODES if applies(mode, call, before)
                      or whole and mode != "full" and may_be(mode, call)]
        before = call
    return cases, len(calls) - len(taken)


def changing(calls):
    """All but the questions to the engine: a GET, and the connect that a thread makes for one."""
    found, asks_next = [], {}
    for call in reversed(calls):
        asks = "asks" in call
        if not asks and not (call["call"] == "connect" and asks_next.get(call["tid"])):
            found.append(call)
        asks_next[call["tid"]] = asks
    return found[::-1]


def without_repetition(calls):
    found = []
    for _, group in groupby(calls, key=lambda call: (call["call"], call["paths"])):
        run = list(group)
        found += run if len(run) <= 2 * ENDS_OF_A_RUN else run[:ENDS_OF_A_RUN] + run[-ENDS_OF_A_RUN:]
    return found


def leaves_nothing(call):
    failed = call["result"] is not None and call["result"] < 0
    return failed or call["kind"] == "sync" or call["call"] == "connect" or "asks" in call \
        or any(path.endswith("-shm") for path in call["paths"])


def may_be(mode, call):
    """Whether the fault can be put in at all."""
    if mode == "short":
        return call["kind"] in ("data", "net") and call.get("len", 0) > 1
    return mode == "kill" or not call["call"].startswith("send")


def applies(mode, call, before):
    if not may_be(mode, call):
        return False
    if mode == "kill":
        return before is None or not leaves_nothing(before)
    if mode == "full":
        return bool(call.get("grows"))
    if mode == "ENOSPC":
        return bool(call.get("grows")) or call["kind"] in ("data", "sync")
    return True
