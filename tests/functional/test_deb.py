"""./dev deb, after its build: what the package holds, and that it works where it is unpacked."""

import subprocess

from lib.cairnd import ROOT


def run(*argv) -> str:
    done = subprocess.run([str(one) for one in argv], capture_output=True, text=True)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout


def test_the_package_holds_programs_unit_configuration_and_pages(tmp_path):
    package = ROOT / run("bash", ROOT / "tools" / "deb.sh").strip()
    control = run("dpkg-deb", "--field", package)
    assert "Package: cairn\n" in control
    depends = next(line for line in control.splitlines() if line.startswith("Depends:"))
    assert "libc6" in depends and "libzstd1" in depends
    owners = {tuple(line.split()[1].split("/")) for line in run("dpkg-deb", "--contents", package).splitlines()}
    assert owners == {("root", "root")}

    run("dpkg-deb", "--raw-extract", package, tmp_path)
    for path in ("usr/bin/cairn", "usr/bin/cairnd", "lib/systemd/system/cairnd.service", "etc/cairn/cairn.toml",
                 "usr/share/bash-completion/completions/cairn", "usr/share/doc/cairn/operations.md",
                 "usr/share/doc/cairn/copyright"):
        assert (tmp_path / path).stat().st_size > 0, path
    assert (tmp_path / "DEBIAN" / "conffiles").read_text() == "/etc/cairn/cairn.toml\n"
    for script in ("postinst", "prerm"):
        run("sh", "-n", tmp_path / "DEBIAN" / script)
        assert (tmp_path / "DEBIAN" / script).stat().st_mode & 0o111
    assert run(tmp_path / "usr/bin/cairn", "--version").split()[-1] in control
    run(tmp_path / "usr/bin/cairnd", "check-config", tmp_path / "etc/cairn/cairn.toml")
