"""./dev demo, after its build: what it prints, what --keep leaves, and that one signal removes it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from lib.cairnd import bin_dir
from lib.dockerapi import wait_for
from lib.process import mounts_beneath, pids_naming

DEMO = Path(__file__).resolve().parents[2] / "tools" / "demo.py"


def test_a_kept_demo_goes_on_until_it_is_told_to_end():
    done = subprocess.run([sys.executable, DEMO, "--keep"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout
    keeper = int(re.search(r"kill (\d+);", said)[1])
    places = [Path(place) for place in re.search(r"removes what is in (\S+) and (\S+)", said).groups()]
    try:
        for phase in ("proved by SQL that all is back", "proved by SQL that the undo brought", "fsck: clean"):
            assert phase in said
        look = re.search(r"Look at it: +\S+ (--socket \S+ workload ls)", said)[1].split()
        listed = subprocess.run([bin_dir() / "cairn", *look], capture_output=True, text=True, check=True)
        assert re.search(r"pg +running", listed.stdout)
    finally:
        os.kill(keeper, signal.SIGTERM)
    wait_for(lambda: not any(place.exists() for place in places), 60, "the end of the demo")
    for place in places:
        assert pids_naming(place) == [] and mounts_beneath(place) == []
