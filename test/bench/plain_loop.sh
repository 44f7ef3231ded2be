#!/bin/sh
# What a pod's start costs without an orchestrator: overlay, network namespace, veth, route and a bare runtime (runc, crun), one pod after
# the other, no daemon. Links and addresses go in batches, as someone in a hurry would write it.
#   plain_loop.sh DIR ID RUNTIME setup            DIR/base is the root file system, DIR/template.json its configuration
#   plain_loop.sh DIR ID RUNTIME start FROM TO    returns when the pods run
#   plain_loop.sh DIR ID RUNTIME stop FROM TO
#   plain_loop.sh DIR ID RUNTIME teardown         removes what is left of everything but DIR itself
set -eu
dir=$1 id=$2 runtime=$3 verb=$4 from=${5:-0} to=${6:-0}
bridge=drvb-$id
# Loopback's neighbour range for benchmarks of devices (RFC 2544): nobody routes it.
network=198.18

start_pod() {
  pod=$dir/pods/$1 name=drvb-$id-$1 address=$network.$(($1 / 250 + 1)).$(($1 % 250 + 1))
  mkdir -p "$pod/upper" "$pod/work" "$pod/rootfs"
  mount -t overlay overlay -o "lowerdir=$dir/base,upperdir=$pod/upper,workdir=$pod/work" "$pod/rootfs"
  ip netns add "$name"
  ip -batch - <<END
link add dvb$id-$1 type veth peer name eth0 netns $name
link set dvb$id-$1 master $bridge up
END
  ip -n "$name" -batch - <<END
link set lo up
addr add $address/16 dev eth0
link set eth0 up
route add default via $network.0.1
END
  sed "s/@NAME@/$name/g" "$dir/template.json" > "$pod/config.json"
  "$runtime" --root "$dir/$runtime" run --detach --bundle "$pod" "$name" < /dev/null > "$pod/log" 2>&1
}

stop_pod() {
  pod=$dir/pods/$1 name=drvb-$id-$1
  "$runtime" --root "$dir/$runtime" delete --force "$name" 2> /dev/null || true
  umount "$pod/rootfs" 2> /dev/null || true
  ip netns del "$name" 2> /dev/null || true
  rm -rf "$pod"
}

case $verb in
  setup)
    ip link add "$bridge" type bridge
    ip addr add $network.0.1/16 dev "$bridge"
    ip link set "$bridge" up
    ;;
  start)
    i=$from
    while [ "$i" -le "$to" ]; do start_pod "$i"; i=$((i + 1)); done
    ;;
  stop)
    i=$from
    while [ "$i" -le "$to" ]; do stop_pod "$i"; i=$((i + 1)); done
    ;;
  teardown)
    for pod in "$dir"/pods/*; do
      if [ -d "$pod" ]; then stop_pod "${pod##*/}"; fi
    done
    ip link del "$bridge" 2> /dev/null || true
    find /sys/fs/cgroup -depth -type d -path "*/drvb-$id" -exec rmdir {} + 2> /dev/null || true
    ;;
esac
