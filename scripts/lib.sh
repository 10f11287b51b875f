# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the scripts of scripts/, tests/ and qemu/ share: messages, progress, and products, the slow results that live in the cache.
# A script sources this file first.

# A command in $() that fails ends the script, too.
shopt -s inherit_errexit

# The checkout that the calling script belongs to.
# shellcheck disable=SC2034 # used by the scripts that source this
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# Where slow results are kept, outside every checkout.
cache=${PINFS_CACHE:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/pinfs}
mkdir -p -- "$cache"
cache=$(cd "$cache" && pwd -P)
export PINFS_CACHE=$cache

# What build/ and results/ have in their names where a series of kernels was asked for, and not taken for being the newest.
# shellcheck disable=SC2034 # as above
series_suffix=${PINFS_KERNEL:+-$PINFS_KERNEL}

say() {
	printf 'pinfs: %s\n' "$*" >&2
}

die() {
	say "$*"
	exit 1
}

# Everything that makes something needs mounts, which only root may do: say so instead of failing somewhere inside.
need_root() {
	[[ $(id -u) == 0 ]] || die "this needs root (it makes and enters chroots)"
}

# One hash of everything given: the part of a product's name that says what it was made from.
key() {
	printf '%s\n' "$@" | sha256sum | cut -c1-16
}

# Where a table of results is kept: results_file NAME
results_file() {
	printf '%s\n' "$top/Documentation/results/$1.md"
}

# Prints the page of a table of results with what is read from stdin between its marks, as `update_results NAME` writes it.
results_with() {
	awk -v begin="<!-- $1: " -v end="<!-- end of $1 -->" '
		index($0, begin) == 1 {
			print $0 "\n"
			while ((getline line <"-") > 0)
				print line
			print ""
			inside = 1
		}
		$0 == end { inside = 0; ended = 1 }
		!inside
		END { exit !ended }' "$(results_file "$1")" || die "Documentation/results/$1.md has no marks for '$1'"
}

# Replaces the table of a page of results by what is read from stdin.
update_results() {
	local new
	new=$(mktemp)
	results_with "$1" >"$new"
	cat -- "$new" >"$(results_file "$1")"
	rm -- "$new"
}

# Says what the first run on a machine is going to do, before it does.
first_run_mib=8000
announce_first_run() {
	[[ ! ${PINFS_ANNOUNCED:-} ]] || return 0
	export PINFS_ANNOUNCED=1
	[[ ! $(find "$cache" -mindepth 1 -maxdepth 1 -name 'toolroot-*') ]] || return 0
	say "the first run here: it takes about 7 minutes on two idle cores, and $((first_run_mib / 1000)) GB of disk in $cache (PINFS_CACHE= says otherwise)"
	need_space "$first_run_mib" "the first run"
}

# Ends with a message where the cache has no room for what is to be made: need_space MIB WHAT
need_space() {
	local free
	free=$(($(df --output=avail -B1M -- "$cache" | tail -n 1)))
	((free >= $1)) || die "$2 needs $1 MB of disk in $cache, and $free MB are free there: make room, or set PINFS_CACHE= to another place"
}

# Runs a slow command with its output in a log file, and shows the end of that when it fails: step WHAT SECONDS LOG COMMAND...
# SECONDS is what it takes on two idle cores. On a terminal, one line tells how far it is; elsewhere, there is a line when it
# begins and one when it ends. The command has a process namespace of its own that ends with this script, however that dies:
# without it, the children of a killed run would go on writing for minutes.
step() {
	local what=$1 about=$2 log=$3 start=$SECONDS pid status=0 line=''
	shift 3
	[[ -t 2 ]] && line=$'\r\e[K'
	[[ $line ]] || say "$what (about $about s)"
	setpriv --pdeathsig KILL -- unshare --pid --fork --kill-child --mount-proc -- "$@" >"$log" 2>&1 </dev/null &
	pid=$!
	while kill -0 "$pid" 2>/dev/null; do
		[[ ! $line ]] || printf '%spinfs: %s: %d s of about %d s' "$line" "$what" $((SECONDS - start)) "$about" >&2
		sleep 0.2
	done
	wait "$pid" || status=$?
	printf '%s' "$line" >&2
	if ((status)); then
		say "failed with status $status after $((SECONDS - start)) s: $what. The end of $log:"
		tail -n 25 -- "$log" >&2
		return "$status"
	fi
	say "$what: done in $((SECONDS - start)) s"
}

# Makes the directory NAME of the cache unless it is there, and prints its path: product NAME MIB COMMAND... MIB is the room
# that it takes; the command gets a fresh temporary directory as its last argument. The directory gets its name only when it is
# complete, so a run that is killed leaves nothing that looks usable, and of two runs at once the second waits for the first.
product() {
	local name=$1 room=$2 dest=$cache/$1 tmp lock old
	shift 2
	if [[ ! -d $dest ]]; then
		mkdir -p -- "$cache/lock" "$cache/tmp"
		# Directories that no living run holds the lock of are left over from dead ones.
		for tmp in "$cache"/tmp/*; do
			[[ -d $tmp ]] || continue
			old=${tmp##*/}
			flock -n "$cache/lock/${old%.*}" rm -rf --one-file-system -- "$tmp" || true
		done
		exec {lock}>"$cache/lock/$name"
		if ! flock -n "$lock"; then
			say "waiting for another run that makes $name"
			flock "$lock"
		fi
		if [[ ! -d $dest ]]; then
			need_space "$room" "${name%-*}"
			tmp=$cache/tmp/$name.$$
			mkdir -- "$tmp"
			# Said out loud, as a caller that tests for failure switches off the shell's own check.
			"$@" "$tmp" >&2 && mv -T -- "$tmp" "$dest" || return 1
			# Earlier versions of the same product that nobody has used for two weeks only take room.
			while read -r old; do
				rm -rf --one-file-system -- "$old"
			done < <(find "$cache" -mindepth 1 -maxdepth 1 -name "${name%-*}-*" -mtime +14)
		fi
		exec {lock}>&-
	fi
	touch -- "$dest"
	printf '%s\n' "$dest"
}
