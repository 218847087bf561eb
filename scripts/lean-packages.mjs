// What the bundles leave out of packages: parts that are never reached here, and cost an idle supervisor memory or a start time.
/** commander would use it for subcommands that are programs of their own, which we have none of; `--help` need not load it. */
const noChildProcessInCommander = {
  name: 'no-child-process-in-commander',
  setup(builder) {
    builder.onResolve({ filter: /^node:child_process$/ }, ({ importer }) =>
      importer.includes('/node_modules/commander/')
        ? { path: 'child_process', namespace: 'nothing' }
        : undefined,
    );
    builder.onLoad({ filter: /.*/, namespace: 'nothing' }, () => ({ contents: 'module.exports = {};' }));
  },
};

/** undici reads constants of HTTP/2, which is switched off; loading it costs an idle supervisor 1.5 MB. */
const noHttp2InUndici = {
  name: 'no-http2-in-undici',
  setup(builder) {
    builder.onResolve({ filter: /^node:http2$/ }, ({ importer }) =>
      importer.includes('/node_modules/undici/') ? { path: 'http2', namespace: 'constants' } : undefined,
    );
    builder.onLoad({ filter: /.*/, namespace: 'constants' }, () => ({
      contents: 'module.exports = { constants: {} };',
    }));
  },
};

export const leanPackages = [noChildProcessInCommander, noHttp2InUndici];
