#!/usr/bin/python3
"""Rules of the tree: every source and test is in a list, files stay short, links in Markdown lead
somewhere, no large blobs, no loose ends."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINES_MAX = 800
BLOB_BYTES_MAX = 512 * 1024
LOOSE = re.compile(r"\b(FIXME|XXX)\b|TODO(?!\((perf|security|cleanup)\): )")


def tracked() -> list[str]:
    out = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in out.splitlines() if (ROOT / name).is_file()]


def check_listed(files: list[str]) -> list[str]:
    lists = "\n".join(p.read_text() for p in ROOT.rglob("CMakeLists.txt") if "build" not in p.parts)
    def listed(name: str) -> bool:
        file = Path(name).name
        fuzz = file.endswith("_fuzz.cc") and f"cairn_fuzz({file.removesuffix('.cc')} " in lists
        return fuzz or re.search(rf"(?<![\w-]){re.escape(file)}\b", lists) is not None

    return [f"{name}: in no CMakeLists.txt" for name in files if name.endswith(".cc") and not listed(name)]


def check_text(name: str) -> list[str]:
    path = ROOT / name
    if path.stat().st_size > BLOB_BYTES_MAX:
        return [f"{name}: larger than {BLOB_BYTES_MAX} bytes"]
    if path.suffix not in (".cc", ".h", ".py", ".sh", ".md", ".sql", ".cmake"):
        return []
    lines = path.read_text().splitlines()
    faults = []
    if path.suffix in (".cc", ".h", ".py") and len(lines) > LINES_MAX:
        faults.append(f"{name}: {len(lines)} lines, at most {LINES_MAX}: split it by noun")
    for number, line in enumerate(lines, 1):
        if LOOSE.search(line) and name != "tools/check_tree.py":
            faults.append(f"{name}:{number}: a loose end without its reason: {line.strip()[:80]}")
    if path.suffix == ".md":
        for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", "\n".join(lines)):
            if not re.match(r"[a-z]+:", link) and not (path.parent / link).exists():
                faults.append(f"{name}: link to {link} leads nowhere")
    return faults


def main() -> int:
    files = tracked()
    faults = check_listed(files)
    for name in files:
        faults += check_text(name)
    print("\n".join(faults) if faults else f"{len(files)} files are in order")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
