#!/usr/bin/python3
"""Fails when a file includes a floor that is not below its own, or CMake links one."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FLOORS = [
    ["base"],
    ["os", "parallel", "codec", "sqlite"],
    ["net", "catalog"],
    ["repository", "docker", "layer"],
    ["edge", "volume", "sandbox"],
    ["workload"],
    ["api"],
    ["apps"],
]
LEVEL = {name: level for level, floor in enumerate(FLOORS) for name in floor}
# The command line talks to the daemon over its API only.
CLI_MAY = {"base", "os", "net"}


def module_of(path: Path) -> str:
    return path.relative_to(ROOT / "src").parts[0]


def main() -> int:
    files = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    faults = []
    for name in files:
        path = ROOT / name
        if path.suffix not in (".h", ".cc") or not path.exists():
            continue
        own = module_of(path)
        test = path.stem.endswith("_test") or path.stem.startswith("test_")
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = re.match(r'\s*#\s*include "([a-z_]+)/', line)
            if not found:
                if re.match(r'\s*#\s*include "', line):
                    faults.append(f"{name}:{number}: include with the full path from src/: {line.strip()}")
                continue
            other = found.group(1)
            if other not in LEVEL:
                faults.append(f"{name}:{number}: unknown module {other}")
            elif other != own and LEVEL[other] >= LEVEL[own] and not test:
                faults.append(f"{name}:{number}: {own} may not include {other}")
            elif name.startswith("src/apps/cairn/") and other not in CLI_MAY | {"apps"}:
                faults.append(f"{name}:{number}: the command line may not include {other}")
    for lists in (ROOT / "src").rglob("CMakeLists.txt"):
        own = module_of(lists)
        if own in ("CMakeLists.txt", "apps"):
            continue
        text = lists.read_text()
        deps = re.search(r"DEPS(.*?)(?:TESTS|TEST_DEPS|\))", text, re.S)
        for other in re.findall(r"cairn_([a-z]+)", deps.group(1) if deps else ""):
            if other in LEVEL and other != own and LEVEL[other] >= LEVEL[own]:
                faults.append(f"{lists.relative_to(ROOT)}: cairn_{own} may not link cairn_{other}")
    print("\n".join(faults) if faults else f"{len(files)} files keep to their floors")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
