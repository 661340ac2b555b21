#!/usr/bin/python3
"""Holds docs/limits.md against the named limits of the sources: constants kXxxMax and kXxxMs.

Fails on a limit that the page lacks, on one that the sources lack and on another value. With
--write it brings the page up to date: new limits get the comment at their definition as meaning,
meanings that people wrote stay.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "limits.md"
INTRO = """# Limits

Every named limit of the sources, by module: what is refused, cut, trimmed or waited for, and how
much. Names ending in `Max` are bounds, those ending in `Ms` are times. `tools/check_limits.py`
(part of `./dev lint`) fails when this page and the sources differ; `--write` brings values and new
names in, the meanings are ours to write.
"""
DEFINITION = re.compile(
    r"^\s*(?:inline\s+|static\s+)?constexpr\s+[\w:<> ]+?\s(k\w+)\s*=\s*([^;]+);[ \t]*(?://[ \t]*(.*))?", re.M)
ROW = re.compile(r"^\| `(k\w+)` \| ([^|]*) \| ([^|]*) \| `([^`]*)` \|$")


def is_limit(name: str) -> bool:
    return name.endswith(("Max", "Ms"))


def sources() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split()
            if name.endswith((".h", ".cc")) and not name.endswith("_test.cc") and (ROOT / name).exists()]


def evaluate(expression: str, known: dict[str, int]) -> int | None:
    """The value of an integer expression, or nothing where it is not one."""
    text = re.sub(r"(?<=\d)'(?=\d)", "", expression)
    text = re.sub(r"(?:std::)?\w+_t\{([^}]*)\}", r"(\1)", text)
    text = re.sub(r"\b(0x[0-9a-fA-F]+|\d+)[uUlL]+\b", r"\1", text)
    text = re.sub(r"\b(?:\w+::)*(k\w+)\b", lambda m: str(known.get(m.group(1), "?")), text)
    if not re.fullmatch(r"[0-9a-fx+\-*/()<> \n]+", text):
        return None
    try:
        return eval(text.replace("/", "//"), {"__builtins__": {}})  # digits and operators only
    except (SyntaxError, ArithmeticError):
        return None


def shown(name: str, value: int | None, expression: str) -> str:
    if value is None:
        return f"`{' '.join(expression.split())}`"
    if name.endswith("PerMs"):
        return shown(name.removesuffix("PerMs"), value, expression) + "/ms"
    if name.endswith(("Ms", "MsMax")):
        for unit, size in (("min", 60_000), ("s", 1000)):
            if value and value % size == 0:
                return f"{value // size} {unit}"
        return f"{value} ms"
    if "Bytes" in name:
        for unit, size in (("EiB", 1 << 60), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
            if value and value % size == 0:
                return f"{value // size} {unit}"
        return f"{value} bytes"
    return f"{value:,}"


def comment_above(lines: list[str], at: int) -> str:
    found = []
    while at > 0 and lines[at - 1].strip().startswith("//"):
        at -= 1
        found.insert(0, lines[at].strip().lstrip("/ "))
    return " ".join(found)


def plain_words(name: str) -> str:
    return " ".join(re.findall(r"[A-Z][a-z0-9]*", name)).lower()


def collect() -> dict[tuple[str, str], tuple[str, str]]:
    """(file, name) -> (value as shown, meaning from the comment)."""
    texts = {path: path.read_text() for path in sources()}
    known: dict[str, int] = {}
    for _ in range(2):  # constants may be made of others
        for text in texts.values():
            for match in DEFINITION.finditer(text):
                value = evaluate(match.group(2), known)
                if value is not None:
                    known.setdefault(match.group(1), value)
    limits = {}
    for path, text in texts.items():
        lines = text.split("\n")
        for match in DEFINITION.finditer(text):
            name, expression, trailing = match.groups()
            if not is_limit(name):
                continue
            line = text.count("\n", 0, match.start(1))
            meaning = (trailing or comment_above(lines, line) or plain_words(name)).replace("|", "/").strip()
            file = str(path.relative_to(ROOT / "src"))
            limits[(file, name)] = (shown(name, evaluate(expression, known), expression), meaning)
    return limits


def read_page() -> dict[tuple[str, str], tuple[str, str]]:
    rows = {}
    for line in PAGE.read_text().split("\n") if PAGE.exists() else []:
        match = ROW.match(line)
        if match:
            rows[(match.group(4), match.group(1))] = (match.group(2).strip(), match.group(3).strip())
    return rows


def write_page(limits: dict, rows: dict) -> None:
    out = [INTRO]
    module = ""
    for (file, name), (value, meaning) in sorted(limits.items()):
        if file.split("/")[0] != module:
            module = file.split("/")[0]
            out.append(f"\n## {module}\n\n| limit | value | what it bounds | in |\n|---|---|---|---|\n")
        kept = rows.get((file, name), ("", ""))[1]
        out.append(f"| `{name}` | {value} | {kept or meaning} | `{file}` |\n")
    PAGE.write_text("".join(out))


def main() -> int:
    limits, rows = collect(), read_page()
    if sys.argv[1:] == ["--write"]:
        write_page(limits, rows)
        return 0
    faults = [f"{file}: {name} is not on the page" for file, name in limits if (file, name) not in rows]
    faults += [f"{file}: {name} is on the page, not in the sources" for file, name in rows if (file, name) not in limits]
    faults += [f"{file}: {name} is {value}, the page says {rows[(file, name)][0]}"
               for (file, name), (value, _) in limits.items()
               if (file, name) in rows and rows[(file, name)][0] != value]
    for fault in sorted(faults):
        print(f"docs/limits.md: {fault}")
    if faults:
        print("mend it with: tools/check_limits.py --write")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
