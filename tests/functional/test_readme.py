"""What the README and the pages beside it promise exists."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from lib.cairnd import ROOT, bin_dir
from lib.jobs import fill, place, settle, workload

README = (ROOT / "README.md").read_text()
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def fenced(text: str) -> list[str]:
    """Lines of the fenced blocks without their comments."""
    lines = "\n".join(re.findall(r"^```[a-z]*\n(.*?)^```", text, re.M | re.S)).splitlines()
    return [line.split("#")[0].strip() for line in lines]


def commands(text: str) -> list[list[str]]:
    return [line.split()[1:] for line in fenced(text) if line.startswith("cairn ")]


def test_every_command_of_the_readme_is_known():
    found = commands(README)
    assert len(found) >= 6
    for words in found:
        verb = [word for word in words[:2] if re.fullmatch("[a-z-]+", word)]
        done = subprocess.run([bin_dir() / "cairn", *verb, "--help"], capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout, words


def test_the_story_of_the_readme_works(cairn):
    """The commands in their order, with a small image and the ids that the commands before printed."""
    file = cairn.base / "web.json"
    ids = {}
    for words in commands(README):
        line = " ".join(words)
        if line.startswith("workload apply"):
            file.write_text(json.dumps(workload()))
            words = ["workload", "apply", "-f", file]
        words = [ids.get(word.split("_")[0], word) if "..." in str(word) else word for word in words]
        if words[:2] in (["snapshot", "restore"], ["restore", "undo"]):
            words.append("--yes")
        answer = cairn.ok(*words)
        if line.startswith("workload deploy"):
            fill(place(cairn), "first")
        if line.startswith("snapshot create"):
            ids["snap"] = answer["id"]
            (place(cairn) / "file").write_text("second")
        if line.startswith("snapshot restore"):
            ids["undo"] = answer["undo"]
            assert (place(cairn) / "file").read_text() == "first"
            settle(cairn, answer)
        if line.startswith("restore undo"):
            assert (place(cairn) / "file").read_text() == "second"
            settle(cairn, answer)
        if line.startswith("system fsck"):
            assert answer == {"status": "clean"}
    assert set(ids) == {"snap", "undo"}


def test_the_readme_fits_on_a_screen_and_says_what_is_missing():
    assert len(README.splitlines()) <= 60
    assert "Not there yet" in README and "./dev demo" in README


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        assert (page.parent / target).exists(), f"{page}: {target}"


def test_the_page_of_commands_names_them_all():
    """docs/cli.md and the program agree on verbs."""
    text = (ROOT / "docs" / "cli.md").read_text()

    def verbs(*words):
        shown = subprocess.run([bin_dir() / "cairn", *words, "--help"], capture_output=True, text=True, check=True).stdout
        section = shown.split("Subcommands:")
        return re.findall(r"^  ([a-z-]+) ", section[1], re.M) if len(section) > 1 else []

    for noun in verbs():
        found = verbs(noun)
        for verb in found:
            deeper = verbs(noun, verb)
            for last in deeper or [""]:
                assert re.search(rf"{noun}\b.*\b{verb}\b.*{last}", text, re.S), f"{noun} {verb} {last}"


def test_every_page_of_the_project_is_there():
    for name in ("LICENSE", "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md",
                 "docs/ordering.md", "docs/formats.md", "docs/threat-model.md", "docs/limits.md", "docs/testing.md"):
        assert len((ROOT / name).read_text()) > 300, name
    assert "Apache License" in (ROOT / "LICENSE").read_text() and "Version 2.0" in (ROOT / "LICENSE").read_text()
    assert list((ROOT / "docs" / "decisions").glob("*.md"))


def test_the_packaged_config_is_a_config():
    for file in (ROOT / "packaging").glob("*.toml"):
        done = subprocess.run([bin_dir() / "cairnd", "check-config", file], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_unit_keeps_the_watcher_and_the_hosts_mounts():
    for file in (ROOT / "packaging").glob("*.service"):
        text = file.read_text()
        for wanted in ("Type=notify", "KillMode=process", "OOMPolicy=continue"):
            assert wanted in text, wanted
        settings = {line.split("=")[0] for line in text.splitlines() if "=" in line and not line.startswith("#")}
        assert not settings & {"ProtectSystem", "ReadWritePaths", "PrivateTmp", "ProtectHome", "ProtectKernelTunables"}


def test_the_dev_script_knows_its_verbs():
    done = subprocess.run([ROOT / "dev", "help"], capture_output=True, text=True)
    assert done.returncode == 0
    for verb in ("build", "run", "test", "bench", "lint", "soak", "demo"):
        assert verb in done.stdout, verb
    assert subprocess.run([ROOT / "dev", "no-such-verb"], capture_output=True).returncode != 0


def test_ci_runs_the_tests():
    run = Path(ROOT / ".ci" / "run")
    assert "dev" in run.read_text() and "test" in run.read_text()
    assert run.stat().st_mode & 0o111
