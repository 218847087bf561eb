#!/bin/sh
':' //; exec node -- "$0" "$@"
// A shell script to the shell, the program to node. The `--` keeps node's hands off our --env-file: without it node itself
// ends with code 9 when that file is missing (seen with 20.20 and 24.21), wherever in the line the option stands.
require('../dist/cli.cjs');
