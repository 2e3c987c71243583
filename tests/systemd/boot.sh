#!/bin/sh
# A whole systemd in namespaces of its own, on an overlay of this machine: nothing of it outlives its first process.
# Arguments: an empty directory, then directories that a service user must be able to pass through to reach Python.
set -e
base=$1
shift
mount --make-rprivate /
mount -t tmpfs tmpfs "$base"
mkdir "$base/upper" "$base/work" "$base/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$base/root"
cd "$base/root"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys # settings of the kernel are this machine's, not ours
mount --rbind /sys sys
mount -o remount,bind,ro sys
umount -l sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount --rbind /dev dev
mount -t tmpfs -o mode=1777 tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir run/old
hostname idxdd-test
pivot_root . run/old
cd /
umount -l run/old
: >/etc/fstab
echo 0123456789abcdef0123456789abcdef >/etc/machine-id
for directory in "$@"; do chmod a+x "$directory"; done
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=idxdd-test /lib/systemd/systemd --system --unit=basic.target --log-target=journal
