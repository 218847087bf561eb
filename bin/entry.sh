#!/bin/sh
# `singlepoll`: starts singlepoll.js with node, and does before it what node can't.
# Node sets every signal to its default when it begins, so it is told whether a hang-up was ignored (nohup).
while read -r name value; do
  case "$name$value" in
    SigIgn:*[13579bdf]) export _SINGLEPOLL_HUP_IGNORED=1; break ;;
    SigIgn:*) export _SINGLEPOLL_HUP_IGNORED=0; break ;;
  esac
done 2>/dev/null </proc/self/status
here=$0
# A link on the PATH, as npm makes it, or no folder at all (`sh entry.sh`).
if [ -L "$here" ] || [ "$here" = "${here%/*}" ]; then here=$(readlink -f -- "$here"); fi
# Without the `--` node reads an --env-file of ours, too, and ends with code 9 where that is missing (seen with 20, 22, 24 and 26).
exec node -- "${here%/*}/singlepoll.js" "$@"
