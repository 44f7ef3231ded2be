#!/bin/sh
# Packs the built program with its packages and this machine's Node.js, for hosts that have neither:
#   deploy/bundle.sh drover.tar.gz      then, on the host:  tar xzf drover.tar.gz && drover/deploy/install.sh --role …
set -eu
[ $# = 1 ] || { echo 'usage: deploy/bundle.sh OUT.tar.gz' >&2; exit 2; }
source=$(cd "$(dirname "$0")/.." && pwd)
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
"$source/deploy/install.sh" --root "$stage/root" --role server
mkdir -p "$stage/drover/deploy" "$stage/drover/bin"
for part in dist package.json node_modules; do mv "$stage/root/opt/drover/$part" "$stage/drover/"; done
cp -L "$(command -v node)" "$stage/drover/bin/node"
cp -a "$source/deploy/install.sh" "$source/deploy/systemd" "$source/deploy/examples" "$stage/drover/deploy/"
tar -C "$stage" -czf "$1" drover
