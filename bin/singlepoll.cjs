#!/bin/sh
':' //; case "$1" in start|reset) while read -r k v; do case "$k$v" in SigIgn:*[13579bdf]) export _SINGLEPOLL_HUP_IGNORED=1;; esac; done 2>/dev/null </proc/self/status;; esac; exec node -- "$0" "$@"
// A shell script to the shell, the program to node. The `--` keeps node's hands off our --env-file: without it node itself
// ends with code 9 when that file is missing (seen with 20.20 and 24.21), wherever in the line the option stands.
// Node also forgets that a hang-up was ignored when it began (nohup), so the shell has to say it (supervise/signals.ts).
require('../dist/cli.cjs');
