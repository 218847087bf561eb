#!/bin/sh
':' //; case "$1" in start|reset) while read -r k v; do case "$k$v" in SigIgn:*[13579bdf]) export _SINGLEPOLL_HUP_IGNORED=1;; SigIgn:*) export _SINGLEPOLL_HUP_IGNORED=0;; esac; done 2>/dev/null </proc/self/status;; esac; exec node -- "$0" "$@"
// A shell script to the shell, the program to node. The `--` keeps node's hands off our --env-file: without it node itself
// ends with code 9 when that file is missing (seen with 20.20 and 24.21), wherever in the line the option stands.
// Node also forgets that a hang-up was ignored when it began (nohup), so the shell has to say it (supervise/signals.ts).
const { readFileSync } = require('node:fs');
const path = require('node:path');
const { Script } = require('node:vm');
const Module = require('node:module');

// Like require, but with the code that the build has compiled already (Node 20 can't keep it by itself).
function load(name) {
  const filename = path.join(__dirname, '../dist', name);
  let cachedData;
  try {
    cachedData = readFileSync(`${filename}.cache`);
  } catch {
    return require(filename);
  }
  const script = new Script(Module.wrap(readFileSync(filename, 'utf8')), { filename, cachedData });
  const bundle = { exports: {} };
  const near = (id) => require(id.startsWith('./') ? path.join(__dirname, '../dist', id) : id);
  script.runInThisContext()(bundle.exports, near, bundle, filename, path.dirname(filename));
  return bundle.exports;
}

const [, , command, option, ...more] = process.argv;
if (command === 'status' && (option === undefined || option === '--json') && more.length === 0) {
  load('quick-status.cjs')
    .quickStatus(option === '--json')
    .then((code) => {
      if (code === null) load('cli.cjs');
      else process.exitCode = code;
    });
} else load('cli.cjs');
