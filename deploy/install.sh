#!/bin/sh
# Installs Drover on a Debian host, from a checkout or from an unpacked bundle (deploy/bundle.sh). Running it again
# changes only what differs.
#
#   deploy/install.sh --role server [--advertise HOST[:PORT]]
#   deploy/install.sh --role agent --join TOKEN --server HOST:PORT [--node-name NAME] [--label K=V] [--taint K=V:EFFECT]
#   deploy/install.sh --uninstall [--purge]
#
#   --root DIR    put everything below DIR; install no packages and start nothing (images, tests)
#   --no-start    install, but start nothing
#   --purge       with --uninstall: also the state below /var/lib/drover
set -eu

root=''
role=''
join=''
servers=''
extra=''
start=yes
uninstall=no
purge=no

fail() {
  echo "install: $*" >&2
  exit 2
}

# Arguments end up in an environment file that systemd splits at blanks.
plain() {
  case $2 in
    *[!A-Za-z0-9._:/=@,\[\]-]* | '') fail "$1: \"$2\" has characters that cannot stand here" ;;
  esac
}

need() {
  [ $# -ge 2 ] || fail "$1 takes a value"
}

while [ $# -gt 0 ]; do
  case $1 in
    --role) need "$@"; role=$2; shift 2 ;;
    --join) need "$@"; plain --join "$2"; join=$2; shift 2 ;;
    --server) need "$@"; plain --server "$2"; servers="$servers $2"; shift 2 ;;
    --advertise | --node-name | --node-address | --label | --taint | --listen | --node-listen | --cluster-name | --etcd)
      need "$@"; plain "$1" "$2"; extra="$extra $1 $2"; shift 2 ;;
    --root) need "$@"; root=${2%/}; start=no; shift 2 ;;
    --no-start) start=no; shift ;;
    --uninstall) uninstall=yes; shift ;;
    --purge) purge=yes; shift ;;
    *) fail "there is no option $1; see the top of this file" ;;
  esac
done

source=$(cd "$(dirname "$0")/.." && pwd)
opt=$root/opt/drover
etc=$root/etc/drover
units=$root/etc/systemd/system

systemd() {
  if [ -z "$root" ] && [ -d /run/systemd/system ]; then systemctl "$@"; fi
}

if [ "$uninstall" = yes ]; then
  for name in drover-agent drover-server; do
    if [ -e "$units/$name.service" ]; then
      systemd disable --now "$name" || true
      # The agent's containers run on without it: an agent that is taken away takes them along.
      if [ "$name" = drover-agent ] && [ -z "$root" ] && [ -d /var/lib/drover/agent ]; then
        "$opt/drover" agent --reset || echo "install: the node could not be reset; see: drover agent --reset" >&2
      fi
      rm -f "$units/$name.service"
    fi
  done
  systemd daemon-reload
  rm -f "$root/usr/local/bin/drover"
  rm -rf "$opt" "$etc"
  if [ -z "$root" ]; then rm -rf /run/drover-agent /run/drover-server; fi
  if [ "$purge" = yes ]; then rm -rf "$root/var/lib/drover"; fi
  exit 0
fi

case $role in
  server) [ -z "$join" ] || fail '--join is for --role agent' ;;
  agent)
    # An agent that has joined needs neither again.
    if [ ! -e "$etc/agent.env" ] && { [ -z "$join" ] || [ -z "$servers" ]; }; then
      fail '--role agent takes --join TOKEN and --server HOST:PORT, as printed by: drover token create'
    fi ;;
  *) fail 'name --role server or --role agent' ;;
esac
if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then fail 'run it as root'; fi

install_packages() {
  if [ "$role" = server ]; then wanted='etcd:etcd-server etcdctl:etcd-client'; else
    wanted='runc:runc conmon:conmon nft:nftables ip:iproute2 conntrack:conntrack setfattr:attr zstd:zstd nsenter:util-linux perl:perl-base'
  fi
  missing=''
  for pair in $wanted; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
  done
  [ -n "$missing" ] || return 0
  command -v apt-get >/dev/null 2>&1 || fail "install these with your package manager:$missing"
  # Packages start their services at installation unless this file forbids it.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update
  # shellcheck disable=SC2086
  apt-get -qq install -y --no-install-recommends $missing >/dev/null
  case $missing in *etcd-server*) systemd disable --now etcd || true ;; esac
}

# Node.js: the bundle's own, or the machine's if it is new enough.
find_node() {
  if [ -x "$source/bin/node" ]; then
    echo "$source/bin/node"
    return
  fi
  node=$(command -v node) || fail 'Node.js 20.19 or newer is needed here, or a bundle that carries it: deploy/bundle.sh'
  "$node" -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
    fail "Node.js $("$node" --version) is too old: 20.19 or newer is needed, or a bundle that carries it: deploy/bundle.sh"
  readlink -f "$node"
}

# Packages that the program needs when it runs, without those that only build and test it.
copy_modules() {
  if [ ! -e "$source/package-lock.json" ]; then
    cp -a "$source/node_modules" "$1/node_modules"
    return
  fi
  mkdir -p "$1/node_modules"
  (cd "$source" && npm ls --all --omit=dev --parseable 2>/dev/null | tail -n +2 | sort) | while read -r path; do
    name=${path#"$source/"}
    # A package within a copied package has come with it.
    [ -e "$1/$name" ] && continue
    mkdir -p "$(dirname "$1/$name")"
    cp -a "$path" "$1/$name"
  done
}

install_program() {
  node=$(find_node)
  if [ ! -e "$source/dist/drover.js" ]; then (cd "$source" && "$node" deploy/build.js); fi
  new=$opt.new
  rm -rf "$new"
  mkdir -p "$new/bin"
  cp -a "$source/dist" "$source/package.json" "$new/"
  mkdir -p "$new/deploy"
  cp -a "$source/deploy/examples" "$new/deploy/"
  copy_modules "$new"
  case $node in
    "$source"/*) cp -a "$node" "$new/bin/node" ;;
    *) ln -s "$node" "$new/bin/node" ;;
  esac
  printf '#!/bin/sh\nexec /opt/drover/bin/node /opt/drover/dist/drover.js "$@"\n' >"$new/drover"
  chmod 755 "$new/drover"
  if [ -d "$opt" ] && diff -rq --no-dereference "$new" "$opt" >/dev/null 2>&1; then
    rm -rf "$new"
    return 1
  fi
  rm -rf "$opt.old"
  if [ -d "$opt" ]; then mv "$opt" "$opt.old"; fi
  mv "$new" "$opt"
  rm -rf "$opt.old"
  mkdir -p "$root/usr/local/bin"
  ln -sfn /opt/drover/drover "$root/usr/local/bin/drover"
}

# Writes standard input to a file unless it says so already; 0 when it was written.
put() {
  mkdir -p "$(dirname "$1")"
  (umask 077; cat >"$1.new")
  if cmp -s "$1.new" "$1"; then
    rm -f "$1.new"
    return 1
  fi
  chmod "$2" "$1.new"
  mv "$1.new" "$1"
}

changed=no
[ -n "$root" ] || install_packages
if install_program; then changed=yes; fi
if put "$units/drover-$role.service" 644 <"$source/deploy/systemd/drover-$role.service"; then changed=yes; fi
if [ "$role" = server ]; then
  if [ ! -e "$etc/server.env" ] || [ -n "$extra" ]; then
    if echo "DROVER_SERVER_ARGS=${extra# }" | put "$etc/server.env" 600; then changed=yes; fi
  fi
else
  # Not among the arguments, which everyone on the machine can see.
  if [ -n "$join" ] && echo "$join" | put "$etc/join-token" 600; then changed=yes; fi
  if [ -n "$servers" ]; then
    arguments="--manage-sysctls --join /etc/drover/join-token --server$servers$extra"
    if echo "DROVER_AGENT_ARGS=$arguments" | put "$etc/agent.env" 600; then changed=yes; fi
  fi
fi

[ "$start" = yes ] || exit 0
if [ ! -d /run/systemd/system ]; then
  echo "install: no systemd runs here; start it yourself: drover $role" >&2
  exit 0
fi
systemctl daemon-reload
systemctl enable --quiet "drover-$role"
if [ "$changed" = yes ] || ! systemctl is-active --quiet "drover-$role"; then systemctl restart "drover-$role"; fi
if [ "$role" = server ]; then
  echo 'The server is starting. To join machines, run here:'
  echo '  drover --kubeconfig /var/lib/drover/server/kubeconfig token create'
fi
