#!/usr/bin/env bash
# Real disk faults for one folder, on Linux as root.
#   disk.sh check               exit code 0 when this machine can do it, else 77 and the reason
#   disk.sh small DIR SIZE      tmpfs of SIZE (2m): a write gives ENOSPC; `disk.sh grow DIR SIZE` makes room again
#   disk.sh readonly DIR        remounts it read-only (EROFS); `disk.sh writable DIR` takes that back
#   disk.sh ext4 DIR SIZE       ext4 (32m) in a file on a loop device
#   disk.sh thin DIR SIZE       ext4 that promises 64m on SIZE (6m) of real room: write succeeds, fsync fails with ENOSPC, once
#   disk.sh cut DIR             power cut of an ext4 or thin: from now on every call gives EIO, what was not synced is lost
#   disk.sh repair DIR          mounts it again, as after a reboot
#   disk.sh freeze DIR          of an ext4: whoever writes or syncs hangs, until `disk.sh thaw DIR`
#   disk.sh throttle DIR IOPS   caps write operations a second (40) for the processes whose id is written to
#                               DIR.backing/throttle.procs; needs the blkio controller of cgroup v1
#   disk.sh counters DIR        writes, bytes and flushes that reached the device of the ext4 since the machine booted
#   disk.sh remove DIR          unmounts everything and removes DIR; no error when there is nothing
set -euo pipefail

die() { echo "disk.sh: $*" >&2; exit "${code:-1}"; }
cannot() { code=77 die "$@"; }

command=${1:?"a command: see the head of disk.sh"}
# Not `cd`: after a power cut the folder cannot be entered.
dir=$(realpath -sm -- "${2:-.}")
backing=$dir.backing

check() {
  [ "$(uname -s)" = Linux ] || cannot "needs Linux"
  [ "$(id -u)" = 0 ] || cannot "needs root"
  local tool
  for tool in mount umount mountpoint findmnt lsblk mkfs.ext4 fsfreeze truncate perl; do
    command -v "$tool" > /dev/null || cannot "needs $tool"
  done
  local probe
  probe=$(mktemp -d)
  if ! mount -t tmpfs -o size=64k tmpfs "$probe" 2> /dev/null; then rmdir "$probe"; cannot "may not mount here"; fi
  umount "$probe"
  rmdir "$probe"
  [ -e /dev/loop-control ] || cannot "needs loop devices"
}

ready() {
  [ "$(id -u)" = 0 ] || cannot "needs root"
  ! mountpoint -q "$dir" || die "$dir is mounted already"
  mkdir -p "$dir"
}

mounted() { mountpoint -q "$dir" || die "$dir is not mounted"; }

# image REAL_SIZE PROMISED_SIZE [more for mkfs]
image() {
  mkdir -p "$backing"
  trap remove ERR
  mount -t tmpfs -o "size=$1" tmpfs "$backing"
  truncate -s "$2" "$backing/image"
  mkfs.ext4 -q -F -N 1024 -m 0 -E nodiscard,lazy_itable_init=0,lazy_journal_init=0 "${@:3}" "$backing/image"
  mount -o loop "$backing/image" "$dir"
  # Every new ext4 has this folder; a test wants to start with an empty one.
  rmdir "$dir/lost+found"
  trap - ERR
}

device() { findmnt -no SOURCE -- "$dir"; }

unmount() {
  local place=$1 try
  mountpoint -q "$place" || return 0
  for try in 1 2 3 4 5; do
    umount "$place" 2> /dev/null && return 0
    sleep 0.2
  done
  # A process still has a file open: detach now, the kernel frees it with the last descriptor.
  umount -l "$place"
}

remove() {
  local group=""
  fsfreeze -u "$dir" 2> /dev/null || true # Refused where it is not frozen.
  if [ -L "$backing/throttle.procs" ]; then group=$(dirname "$(readlink "$backing/throttle.procs")"); fi
  unmount "$dir"
  unmount "$backing"
  if [ -n "$group" ]; then rmdir "$group" 2> /dev/null || true; fi # Refused while a throttled process lives.
  rm -rf -- "$dir" "$backing"
}

cut_power() {
  # EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH (linux/fs/ext4/ext4.h): the journal is not written either.
  perl -e 'open(my $f, "<", $ARGV[0]) or die "$!\n"; my $how = pack("I", 2); ioctl($f, 0x8004587D, $how) or die "$!\n"' "$dir"
}

throttle() {
  local root=/sys/fs/cgroup/blkio
  [ -d "$root" ] || cannot "needs the blkio controller of cgroup v1"
  local group=$root/resilient-$$ number
  mkdir -p "$group"
  number=$(lsblk -dno MAJ:MIN "$(device)" | tr -d ' ')
  echo "$number $1" > "$group/blkio.throttle.write_iops_device"
  ln -sfn "$group/cgroup.procs" "$backing/throttle.procs"
}

case $command in
  check) check ;;
  small) ready; mount -t tmpfs -o "size=${3:-2m}" tmpfs "$dir" ;;
  grow) mounted; mount -o "remount,rw,size=${3:-2m}" "$dir" ;;
  readonly) mounted; mount -o remount,ro "$dir" ;;
  writable) mounted; mount -o remount,rw "$dir" ;;
  ext4) ready; image 128m "${3:-32m}" ;;
  thin) ready; image "${3:-6m}" 64m -O ^has_journal ;;
  cut) mounted; cut_power ;;
  repair) unmount "$dir"; mount -o loop "$backing/image" "$dir" ;;
  freeze) mounted; fsfreeze -f "$dir" ;;
  thaw) mounted; fsfreeze -u "$dir" ;;
  throttle) mounted; throttle "${3:-40}" ;;
  counters) mounted
    awk '{printf "writes %d bytes %.0f flushes %d\n", $5, $7 * 512, $16}' "/sys/block/$(basename "$(device)")/stat" ;;
  remove) remove ;;
  *) code=2 die "unknown command: $command" ;;
esac
