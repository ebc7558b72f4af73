import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import test from "node:test";

const { GUIDES, addressOf, fileOf, pageAt, servedFrom } = await import("../../../web/reader/address.js");
const { anchorOf, parseMarkdown, plainText } = await import("../../../web/reader/markdown.js");

const WEB = new URL("../../../web/", import.meta.url);
const MODULE = "http://127.0.0.1:8188/extensions/lora-bootstrap/reader/render.js";

/** A tree as HTML without attributes, for reading in a test. */
const shown = (branches) => branches.map((branch) => (typeof branch === "string" ? branch
  : `<${branch.tag}>${shown(branch.children)}</${branch.tag}>`)).join("");

const all = (branches, tag) => branches.flatMap((branch) => (typeof branch === "string" ? []
  : [...(branch.tag === tag ? [branch] : []), ...all(branch.children, tag)]));

// -- Markdown -------------------------------------------------------------------------------------------------------

test("headings have the anchors that GitHub gives them", () => {
  const tree = parseMarkdown("# One image\n## Stop & keep, *Train on*\n### Why?\n## Why?\n");
  assert.equal(shown(tree), "<h1>One image</h1><h2>Stop & keep, <em>Train on</em></h2><h3>Why?</h3><h2>Why?</h2>");
  assert.deepEqual(tree.map(({ id }) => id), ["one-image", "stop--keep-train-on", "why", "why-1"]);
  assert.equal(anchorOf("[Edit models](a.md) at 0.9"), "edit-models-at-09");
});

test("lines of a paragraph are one text, and a blank line begins another", () => {
  assert.equal(shown(parseMarkdown("one\ntwo\n\nthree")), "<p>one two</p><p>three</p>");
  assert.equal(shown(parseMarkdown("one\r\ntwo\r\n")), "<p>one two</p>");
});

test("a list keeps the indented lines of an item, and a list in it", () => {
  const text = "1. first\n   goes on\n2. second:\n   - one\n   - two\n\nafter";
  assert.equal(shown(parseMarkdown(text)),
    "<ol><li>first goes on</li><li>second:<ul><li>one</li><li>two</li></ul></li></ol><p>after</p>");
  assert.equal(parseMarkdown("3. third").at(0).start, 3);
  assert.equal(shown(parseMarkdown("- a\n- b\n1. c")), "<ul><li>a</li><li>b</li></ul><ol><li>c</li></ol>");
});

test("a table has a head and rows, and a bar that is escaped is a bar", () => {
  const text = "| a | b |\n| --- | ---: |\n| *x* | 1 \\| 2 |\nafter";
  assert.equal(shown(parseMarkdown(text)), "<table><thead><tr><th>a</th><th>b</th></tr></thead>"
    + "<tbody><tr><td><em>x</em></td><td>1 | 2</td></tr></tbody></table><p>after</p>");
  assert.equal(shown(parseMarkdown("| no table")), "<p>| no table</p>");
});

test("emphasis, code and links may stand in one line", () => {
  const text = "**Press *Run*** and `a * b` at 2 * 3 * 4, see [*Train LoRA*](x.md#y) (or not)";
  assert.equal(shown(parseMarkdown(text)), "<p><strong>Press <em>Run</em></strong> and <code>a * b</code>"
    + " at 2 * 3 * 4, see <a><em>Train LoRA</em></a> (or not)</p>");
  assert.equal(all(parseMarkdown(text), "a")[0].href, "x.md#y");
  assert.equal(shown(parseMarkdown("a \\*star\\*")), "<p>a *star*</p>");
});

test("code is shown as it is written, also where its end is missing", () => {
  assert.equal(shown(parseMarkdown("```\n# not *a* heading\n\n  x\n```\nafter")),
    "<pre><code># not *a* heading\n\n  x</code></pre><p>after</p>");
  assert.equal(shown(parseMarkdown("```\nopen")), "<pre><code>open</code></pre>");
});

test("markup in a page is text", () => {
  const tree = parseMarkdown('<img src=x onerror="alert(1)"> <script>alert(1)</script>\n\n| <b> |\n| --- |\n| <i> |');
  assert.equal(plainText(tree).includes('<img src=x onerror="alert(1)">'), true);
  assert.deepEqual([...all(tree, "img"), ...all(tree, "script"), ...all(tree, "b")], []);
});

test("every guide and help page is read whole: no mark is left in its text", () => {
  for (const folder of ["guides/", "docs/"]) {
    for (const name of readdirSync(new URL(folder, WEB)).filter((file) => file.endsWith(".md"))) {
      const tree = parseMarkdown(readFileSync(new URL(folder + name, WEB), "utf8"));
      const prose = (branches) => branches.map((branch) => (typeof branch === "string" ? branch
        : branch.tag === "code" ? "" : prose(branch.children))).join("");
      assert.doesNotMatch(prose(tree), /\*\*|\]\(|`|^#|\| ?---/m, name);
      assert.equal(all(tree, "h1").length, 1, name);
    }
  }
});

test("every link between the pages opens in the reader", () => {
  for (const folder of ["guides/", "docs/"]) {
    for (const name of readdirSync(new URL(folder, WEB)).filter((file) => file.endsWith(".md"))) {
      const links = all(parseMarkdown(readFileSync(new URL(folder + name, WEB), "utf8")), "a").map(({ href }) => href);
      const dead = links.filter((href) => !/^(https:|#)/.test(href) && !pageAt(href, undefined, true));
      assert.deepEqual(dead, [], name);
    }
  }
});

// -- addresses ------------------------------------------------------------------------------------------------------

test("a page is found however the front end has resolved the link to it", () => {
  const burnt = { page: "troubleshooting", anchor: "burnt" };
  for (const address of [
    "/extensions/lora-bootstrap/guides/index.html?page=troubleshooting#burnt", // in a note
    "/extensions/lora-bootstrap/docs/../guides/troubleshooting.md#burnt", // the same, in 1.58
    "/extensions/my-clone/guides/troubleshooting.md#burnt",
  ]) assert.deepEqual(pageAt(address, "my-clone"), burnt, address);
  assert.deepEqual(pageAt("troubleshooting.md#burnt", undefined, true), burnt); // in another guide
  assert.deepEqual(pageAt("../guides/troubleshooting.md#burnt", undefined, true), burnt); // in a help page, until 1.49
  assert.deepEqual(pageAt("../guides/own_images.md"), { page: "own_images", anchor: "" }); // no other pack's name
  assert.deepEqual(pageAt("../docs/LoraBootstrap_TrainLora.md"), { page: "LoraBootstrap_TrainLora", anchor: "" });
  assert.deepEqual(pageAt("/extensions/lora-bootstrap/guides/index.html"), { page: "README", anchor: "" });
});

test("no other link is taken for a page of the pack", () => {
  for (const address of [
    "/extensions/other-pack/guides/troubleshooting.md", "/guides/troubleshooting.md", "https://x.org/guides/words.md",
    "https://x.org/extensions/lora-bootstrap/guides/words.md", "/extensions/lora-bootstrap/guides/index.html?page=../../x",
    "/extensions/lora-bootstrap/guides/secret.md", "../manual/README.md", "javascript:words.md", "//x.org/guides/words.md",
    "../guides/README.md", "../guides/troubleshooting.md#burnt", "guides/words.md",
    "README.md", "../README.md", "words.md", "words", "#words", "", "LoraBootstrap_../x.md", "index.html?page=words",
  ]) assert.equal(pageAt(address), null, address);
});

test("where a page is follows the folder from which the pack is served", () => {
  const module = MODULE.replace("lora-bootstrap", "my-clone");
  assert.equal(servedFrom(module), "my-clone");
  assert.equal(fileOf("words", module), "http://127.0.0.1:8188/extensions/my-clone/guides/words.md");
  assert.equal(fileOf("LoraBootstrap_TrainLora", module),
    "http://127.0.0.1:8188/extensions/my-clone/docs/LoraBootstrap_TrainLora.md");
  const where = { page: "troubleshooting", anchor: "stop--keep" };
  const { pathname, search, hash } = new URL(addressOf(where, module));
  assert.deepEqual(pageAt(pathname + search + hash, "my-clone"), where);
});

test("every guide is listed, and every one that is listed is there", () => {
  const files = readdirSync(new URL("guides/", WEB)).filter((name) => name.endsWith(".md"));
  assert.deepEqual(files.map((name) => name.slice(0, -3)).sort(), [...GUIDES].sort());
  const linked = all(parseMarkdown(readFileSync(new URL("guides/README.md", WEB), "utf8")), "a").map(({ href }) => href);
  assert.deepEqual([...new Set(linked.filter((href) => !href.includes("/")).map((href) => href.replace(/#.*/, "")))],
    GUIDES.slice(1).map((page) => `${page}.md`));
});

test("the words of the panels explain every figure by the name that the panels give it", async () => {
  const { FIGURES, SWEEP_FIGURES } = await import("../../../web/common/figures.js");
  const rows = all(parseMarkdown(readFileSync(new URL("guides/words.md", WEB), "utf8")), "tr");
  const words = new Set(rows.flatMap(({ children: [first] }) => plainText(first).split(", ")));
  const names = [...Object.values(FIGURES), ...Object.values(SWEEP_FIGURES)].map(([name]) => name);
  assert.deepEqual(names.filter((name) => !words.has(name)), []);
});

// -- elements -------------------------------------------------------------------------------------------------------

/** As much of a document as the reader needs: elements that keep what they are given. */
class Made {
  constructor(tag) {
    Object.assign(this, { tag, dataset: {}, children: [] });
  }

  append(...children) {
    this.children.push(...children);
  }
}

/** Read a page whose file holds this text. */
async function read(page, text, status = 200) {
  const asked = [];
  globalThis.document = { createElement: (tag) => new Made(tag) };
  globalThis.fetch = async (address) => {
    asked.push(address);
    return { ok: status === 200, status, text: async () => text };
  };
  const { loadPage } = await import("../../../web/reader/render.js");
  return { ...await loadPage(page), asked };
}

test("a page links other pages, sites and pictures, and nothing else", async () => {
  const text = "# The *words*\n[a](troubleshooting.md#x) [b](#y) [c](https://x.org) [d](javascript:alert(1)) "
    + "[e](../../etc/passwd) ![f](shots/a.png) ![g](https://x.org/a.png)";
  const { title, body, asked } = await read("words", text);
  assert.equal(title, "The words");
  assert.deepEqual(asked, [new URL("guides/words.md", WEB).href]);
  const [heading, paragraph] = body.children;
  assert.equal(heading.dataset.anchor, "the-words");
  const index = new URL("guides/index.html", WEB).href;
  const links = paragraph.children.filter(({ tag }) => tag === "a");
  assert.deepEqual(links.map(({ href, target }) => [href, target]), [
    [`${index}?page=troubleshooting#x`, undefined], [`${index}?page=words#y`, undefined], ["https://x.org", "_blank"]]);
  const pictures = paragraph.children.filter(({ tag }) => tag === "img");
  assert.deepEqual(pictures.map(({ src }) => src), [new URL("guides/shots/a.png", WEB).href]);
});

test("a guide in a tab of its own needs nothing of the host, which is not there", async () => {
  assert.ok((await import("../../../web/reader/page.js")).showPage);
});

test("a page that cannot be read says so", async () => {
  const { title, body } = await read("words", "", 404);
  assert.equal(title, "Page not found");
  assert.match(body.textContent, /'words' cannot be read \(404\)/);
});
