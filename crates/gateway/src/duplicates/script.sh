set -u
umask 077
LC_ALL=C
export LC_ALL
run=no any_host=no
for word in "$@"; do
  case $word in
    --run) run=yes ;;
    --any-host) any_host=yes ;;
    *) echo "usage: sh $0 [--run] [--any-host]" >&2; exit 2 ;;
  esac
done
n_done=0 n_skipped=0 n_failed=0 freed=0 kept='' kept_shown='' aside='' tmp=''

say() { printf '%s\n' "$*"; }
skip() { n_skipped=$((n_skipped + 1)); say "skipped  $shown: $*"; }
fail() { n_failed=$((n_failed + 1)); say "FAILED   $shown: $*"; }
did() { n_done=$((n_done + 1)); freed=$((freed + bytes)); say "$1  $shown"; }
regular() { [ -f "$1" ] && [ ! -L "$1" ]; }
there() { [ -e "$1" ] || [ -L "$1" ]; }

finish() {
  if [ "$run" = yes ]; then
    say "$n_done done, $n_skipped skipped, $n_failed failed; about $((freed / 1048576)) MiB ($freed bytes) freed."
  else
    say "$n_done would be done, $n_skipped skipped, $n_failed failed; about $((freed / 1048576)) MiB ($freed bytes) would be freed."
    say "Nothing was changed: call it with --run to do it."
  fi
  [ "$n_failed" -eq 0 ] || exit 1
  exit 0
}

# What was moved aside comes back when the script is stopped.
put_back() {
  if [ -n "$aside" ] && there "$tmp" && ! there "$aside"; then mv -f "$tmp" "$aside"; fi
  if [ -z "$aside" ] && [ -n "$tmp" ]; then rm -f "$tmp"; fi
  aside='' tmp=''
}
trap 'put_back; exit 130' HUP INT TERM

# Names a file beside $name that is not there yet.
beside() {
  tmp=${name%/*}/.hostler-dups.$$
  if there "$tmp"; then
    fail "$tmp is in the way"
    tmp=''
    return 1
  fi
}

# keep NAME [SHOWN]: the copy that stays, for the lines below it.
keep() {
  kept=$1 kept_shown=${2-$1}
}

# The name is moved aside first: should the kept copy vanish with it, both were one file under two mounts, and it comes back.
act_remove() {
  beside || return
  aside=$name
  if ! mv -f "$name" "$tmp"; then
    aside='' tmp=''
    fail 'could not be moved'
    return
  fi
  if ! regular "$kept"; then
    put_back
    skip "is the same file as $kept_shown"
    return
  fi
  if rm -f "$tmp"; then
    aside='' tmp=''
    did removed
  else
    put_back
    fail 'could not be removed'
  fi
}

act_hardlink() {
  beside || return
  if ln -P "$kept" "$tmp" && mv -f "$tmp" "$name"; then
    tmp=''
    did linked
  else
    put_back
    fail "could not be linked to $kept_shown"
  fi
}

# Content of the kept copy; owner, mode, times and attributes of the name.
act_reflink() {
  beside || return
  if cp -P --reflink=always "$kept" "$tmp" && cp --attributes-only --preserve=all "$name" "$tmp" && mv -f "$tmp" "$name"; then
    tmp=''
    did shared
  else
    put_back
    fail "could not share the blocks of $kept_shown"
  fi
}

# dup NAME BYTES [SHOWN]: a copy of what keep named; BYTES are free when it is gone.
dup() {
  name=$1 bytes=$2 shown=${3-$1}
  if ! there "$name"; then skip 'is gone already'; return; fi
  if ! regular "$name"; then skip 'is no regular file any more'; return; fi
  if ! regular "$kept"; then skip "the copy to keep is no regular file any more: $kept_shown"; return; fi
  if [ "$name" -ef "$kept" ]; then skip "is one file with $kept_shown already"; return; fi
  if ! cmp -s "$kept" "$name"; then skip "is not equal to $kept_shown any more, or cannot be read"; return; fi
  if [ "$run" = yes ]; then "act_$action"; else did "would be ${action_done}, as a copy of $kept_shown:"; fi
}

# far NAME BYTES SIZE MTIME KEPT [SHOWN]: a copy of a file on another host. That one cannot be looked at from here; this one
# must have the size and the modification time (in seconds) that it had when it was indexed.
far() {
  name=$1 bytes=$2 size=$3 mtime=$4 kept_shown=$5 shown=${6-$1}
  if ! there "$name"; then skip 'is gone already'; return; fi
  if ! regular "$name"; then skip 'is no regular file any more'; return; fi
  if ! found=$(stat -c '%s %Y' "$name"); then fail 'could not be looked at'; return; fi
  if [ "$found" != "$size $mtime" ]; then skip 'changed since it was indexed'; return; fi
  if [ "$run" = no ]; then did "would be removed, as a copy of $kept_shown:"; return; fi
  if rm -f "$name"; then did removed; else fail 'could not be removed'; fi
}

