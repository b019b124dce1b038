# Boots a machine for one test: boot.sh groups NAME HIERARCHY... (see machine.rs). It runs itself again in each
# new namespace. Every cgroup hierarchy gets a group NAME, which is the root of the machine's cgroup namespace.
# The machine's own programs are in NAME/engine: a group of cgroup v2 with processes can't hand controllers on.
set -eu
stage=$1 name=$2
shift 2
case $stage in
  groups)
    for at in "$@"; do
      for group in "$at/$name" "$at/$name/engine"; do
        mkdir "$group"
        [ ! -e "$at/cpuset.cpus" ] || for file in cpuset.cpus cpuset.mems; do cat "$at/$file" >"$group/$file"; done
      done
      echo 0 >"$at/$name/cgroup.procs"
    done
    exec unshare --cgroup sh "$0" namespaces "$name" "$@"
    ;;
  namespaces)
    for at in "$@"; do echo 0 >"$at/$name/engine/cgroup.procs"; done
    exec unshare --mount --net --uts --ipc --pid --fork --kill-child --propagation private sh "$0" system "$name"
    ;;
esac

mount -t proc proc /proc
lines=$(awk '$3 ~ /^cgroup/ { sub(/relatime,?/, "", $4); print $2, $3, $4 }' /proc/self/mounts)
# A fresh sysfs is the way to this network namespace's own /sys/class/net; the old one carries the cgroups away.
umount -R /sys
mount -t sysfs sysfs /sys
case $lines in "/sys/fs/cgroup "*) ;; *) mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup ;; esac
echo "$lines" | while read -r at kind options; do
  mkdir -p "$at"
  mount -t "$kind" -o "${options%,}" cgroup "$at"
done
# podman makes folders for controllers that the kernel lacks, if it can, and then takes them for groups.
case $lines in "/sys/fs/cgroup "*) ;; *) mount -o remount,ro /sys/fs/cgroup ;; esac
mount -t tmpfs -o mode=755 tmpfs /run
# podman makes this a mount point of its own only if a network comes first, and else can't let go of it.
mkdir -p /run/netns /run/lock
mount --bind /run/netns /run/netns
for place in /etc /var; do
  mkdir -p "/run/machine$place" "/run/machine$place.work"
  mount -t overlay -o "lowerdir=$place,upperdir=/run/machine$place,workdir=/run/machine$place.work" overlay "$place"
done
hostname "$name"
ip link set lo up
echo booted
# Ends when the test does, however that ends: nobody writes into this pipe, and the test holds it.
exec docker-init -s -- cat >/dev/null
