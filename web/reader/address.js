/** Which of the pack's pages an address means, and where a page is. Loading this module has no effect.
 *
 * A page has a bare name: a node's id for its help page in web/docs, anything else for a guide in web/guides. The same
 * links work on GitHub (`../guides/troubleshooting.md#burnt`), in a note (`/extensions/lora-bootstrap/guides/…`) and in
 * the host's help, wherever the front end resolves them to. */

/** The guides, in the order in which they are read; `README` is the list of them. */
export const GUIDES = ["README", "one_image", "own_images", "your_model", "troubleshooting", "which_guide", "words",
  "kinds_of_training"];

/** Names that a guide of any pack may have. */
const COMMON = ["README", "troubleshooting", "words"];

const HELP = /^LoraBootstrap_\w+$/;
const FILE = /(?:^|\/)([\w-]+)\.md$/;
const INDEX = /(?:^|\/)guides\/index\.html$/;
/** Folders that hold pages. A path with another one in front of its file is somebody else's. */
const FOLDERS = /^(?:\.\.?|docs|guides)$/;
const SERVED = /^\/?extensions\/([^/]+)\//;

/**
 * @param {string} address as it is written in a link, relative or not
 * @param {string} pack the folder that the pack is served from
 * @param {boolean} isOurs whether the link is in a page of the pack; elsewhere `../guides/README.md` is anybody's
 * @returns {?{page: string, anchor: string}} null if it is no page of the pack
 */
export function pageAt(address, pack = "lora-bootstrap", isOurs = false) {
  const { pathname, searchParams, hash } = parts(address);
  const [, served] = pathname.match(SERVED) ?? [];
  if (served !== undefined && served !== "lora-bootstrap" && served !== pack) return null;
  const anchor = decode(hash.slice(1));
  if (served !== undefined && INDEX.test(pathname)) return isPage(searchParams.get("page") ?? "README", anchor);
  const folders = pathname.replace(SERVED, "").split("/").slice(0, -1);
  if (pathname.startsWith("/") && served === undefined) return null;
  const page = pathname.match(FILE)?.[1];
  const isNamed = folders.includes("guides") && (served !== undefined || !COMMON.includes(page));
  const isKnown = isOurs || HELP.test(page ?? "") || isNamed;
  return isKnown && folders.every((name) => FOLDERS.test(name)) ? isPage(page, anchor) : null;
}

/** @returns {?{page: string, anchor: string}} */
const isPage = (page, anchor) => (GUIDES.includes(page) || HELP.test(page ?? "") ? { page, anchor } : null);

/** Where a page's Markdown is, from the address of a module of this folder. */
export const fileOf = (page, module) => new URL(`../${HELP.test(page) ? "docs" : "guides"}/${page}.md`, module).href;

/** Where a browser shows a page by itself. */
export const addressOf = ({ page, anchor }, module) =>
  `${new URL("../guides/index.html", module).href}?page=${page}${anchor ? `#${encodeURIComponent(anchor)}` : ""}`;

/** The folder that the pack is served from. */
export const servedFrom = (module) => new URL("..", module).pathname.split("/").at(-2);

/** The parts of an address. A relative one is left as it is: nobody knows which page it was written for. */
function parts(address) {
  const [, rest, hash] = address.match(/^([^#]*)(.*)$/s);
  const [path, query = ""] = rest.split("?");
  const pathname = /^[a-z][a-z0-9+.-]*:/i.test(path) ? sameOrigin(path) : path;
  return { pathname, searchParams: new URLSearchParams(query), hash };
}

/** The path of an absolute address of this server, or one that is nobody's. */
function sameOrigin(path) {
  const origin = globalThis.location?.origin;
  return origin && path.startsWith(`${origin}/`) ? path.slice(origin.length) : "/elsewhere/";
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}
