#!/usr/bin/env node
// The program as node is to run it: `node -- bin/singlepoll.js`. The command `singlepoll` is entry.sh, which says why.
require('../dist/cli.js');
