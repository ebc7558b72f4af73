/** Stylesheets, for pages with and without the host's front end. Loading this module has no effect. */

/**
 * Load stylesheets, each only once.
 * @param {string} module `import.meta.url` of the module that they are for
 * @param {...string} files relative to that module; later ones override earlier ones
 */
export function linkStyles(module, ...files) {
  for (const file of files) {
    const { href } = new URL(file, module);
    if ([...document.head.querySelectorAll("link")].some((link) => link.href === href)) continue;
    document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href }));
  }
}
