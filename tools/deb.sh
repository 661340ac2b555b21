#!/usr/bin/env bash
# build/cairn_VERSION_ARCH.deb out of what ./dev build made: programs, unit, configuration, completions, pages.
# What deb-control(5), deb-postinst(5) and dpkg-shlibdeps(1) ask for, without debhelper.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
bin=build/release/bin
version=$("$bin/cairn" --version | grep -oE '[0-9]+(\.[0-9]+)+' | head -1)
arch=$(dpkg --print-architecture)
top=build/deb
root=$top/root
rm -rf "$top"
mkdir -p "$root/DEBIAN" "$top/debian"

install -D -m 755 -s -t "$root/usr/bin" "$bin/cairn" "$bin/cairnd"
install -D -m 644 -t "$root/lib/systemd/system" packaging/cairnd.service
install -D -m 644 -t "$root/etc/cairn" packaging/cairn.toml
install -D -m 644 -t "$root/usr/share/doc/cairn" README.md CHANGELOG.md ARCHITECTURE.md SECURITY.md docs/*.md
install -D -m 644 LICENSE "$root/usr/share/doc/cairn/copyright"
completions=$root/usr/share
mkdir -p "$completions/bash-completion/completions" "$completions/zsh/vendor-completions" \
  "$completions/fish/vendor_completions.d"
"$bin/cairn" completion bash >"$completions/bash-completion/completions/cairn"
"$bin/cairn" completion zsh >"$completions/zsh/vendor-completions/_cairn"
"$bin/cairn" completion fish >"$completions/fish/vendor_completions.d/cairn.fish"

# dpkg-shlibdeps wants a source package beside what it looks at.
printf 'Source: cairn\n\nPackage: cairn\nArchitecture: any\n' >"$top/debian/control"
depends=$(cd "$top" && dpkg-shlibdeps -O root/usr/bin/cairn root/usr/bin/cairnd 2>shlibdeps.log) || {
  cat "$top/shlibdeps.log" >&2
  exit 1
}
cat >"$root/DEBIAN/control" <<TEXT
Package: cairn
Version: $version
Architecture: $arch
Maintainer: the authors of Cairn <cairn@localhost>
Section: admin
Priority: optional
Depends: ${depends#shlibs:Depends=}
Recommends: docker.io | docker-ce
Suggests: restic
Installed-Size: $(du -sk "$root" | cut -f1)
Description: container workloads whose owner can go back
 Cairn deploys images onto Docker, captures the data volumes of a workload while it runs, and restores
 a capture onto the live volumes: all or nothing, crash-safe, with an undo. Captures are stored in
 restic's repository format.
TEXT
echo /etc/cairn/cairn.toml >"$root/DEBIAN/conffiles"

# Members of the group administer; data and the service's state stay when the package goes.
cat >"$root/DEBIAN/postinst" <<'TEXT'
#!/bin/sh
set -e
if [ "$1" = configure ]; then
  getent group cairn >/dev/null || groupadd --system cairn
  if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl enable --quiet cairnd.service
    systemctl restart cairnd.service
  fi
fi
TEXT
cat >"$root/DEBIAN/prerm" <<'TEXT'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then systemctl disable --quiet --now cairnd.service; fi
TEXT
chmod 755 "$root/DEBIAN/postinst" "$root/DEBIAN/prerm"

package=build/cairn_${version}_$arch.deb
dpkg-deb --root-owner-group -Zxz --build "$root" "$package" >/dev/null
echo "$package"
