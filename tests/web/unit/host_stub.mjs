/** Lets Node.js import what imports the host's front end: `app` and `api` that know nothing. Import it first. */

import { register } from "node:module";

const STUBS = {
  "app.js": "export const app = globalThis.lbTestsApp ??= {};",
  "api.js": "export const api = globalThis.lbTestsApi ??= { addEventListener() {}, apiURL: (path) => path };",
};

register(`data:text/javascript,${encodeURIComponent(`
  const stubs = ${JSON.stringify(STUBS)};
  export async function resolve(specifier, context, next) {
    const name = /\\/scripts\\/(\\w+\\.js)$/.exec(specifier)?.[1];
    return stubs[name]
      ? { url: "data:text/javascript," + encodeURIComponent(stubs[name]), shortCircuit: true }
      : next(specifier, context);
  }
`)}`);
