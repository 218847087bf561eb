// What `import.meta.url` becomes in a bundle: packages that ask for their own place (ps-list) find the bundle's.
export const moduleUrl = /* @__PURE__ */ (() => require('node:url').pathToFileURL(__filename).href)();
