/** What is in Load Dataset's folder before a run: its count, three of its images, and ways to bring one's own in. It
 * knows folders, not the host's workflow; extension.js tells it which to show. Loading this module has no effect. */

import { ProgressBar } from "../common/bar.js";
import { button, element, field, showNote } from "../common/dom.js";
import { columnsOf } from "../common/format.js";
import { EVENTS, hostUrl, listen } from "../common/host.js";
import { Menu } from "../common/menu.js";
import { Panel } from "../common/panel.js";
import { t, word } from "../common/words.js";
import { asFiles, carriesFiles, convertToPng, readDropped } from "./dropped.js";
import { ACCEPTED, findFolders, folderText, planUpload, resultText, withoutRoot } from "./files.js";
import { fetchFolder, fetchFolders, sendFile } from "./routes.js";
import { Upload } from "./upload.js";

/** Pixels that the panel needs: its buttons and one line, then images, and each further line. */
const HEIGHT = { idle: 84, pictures: 84, line: 17 };
const MOST_LINES = 7;
/** Latin characters of a line of text, about. */
const LINE = 62;
const OFFERED = 200;
const HINT = word("Drop images or a folder of them here, paste them, or choose a folder.");
const LINKED = word("The folder comes over a link. What is in it is known when the workflow runs.");

/** Uploads that go on. They outlive the panel that began them: whenever the host opens a workflow again, as after a
 * change of tabs and for Undo, it makes new nodes. */
const uploads = new Set();
/** The panels of nodes that are placed. */
const panels = new Set();

export class FolderPanel extends Panel {
  /**
   * @param {object} host
   * @param {() => {folder: string, recursive: boolean}|null} host.folder what the node's widgets say; null if the
   *   folder comes over a link
   * @param {(folder: string) => void} host.choose puts a folder into the node's widget
   * @param {() => string} host.wanted a name for a new folder
   * @param {(place: string) => void} host.toGraph puts an image into the graph
   * @param {(result: {text: string, wrong: string}) => void} host.tell says what became of an upload that no panel shows
   * @param {() => void} host.resized called when the panel needs another height
   */
  constructor(host) {
    super({ ...host, where: () => JSON.stringify(host.folder()) });
    Object.assign(this, { view: null, folders: [], begun: null, result: null });
    this.build();
  }

  build() {
    this.buildBody("lb-ui lb-dataset", t("Images of the folder"));
    this.find = field("text", "lb-dataset-find", t("Find a folder"), t("find a folder …"));
    this.menu = new Menu(this.find, (typed) => findFolders(this.folders, typed, OFFERED), (name) => this.choose(name),
      () => this.readFolders());
    this.find.addEventListener("focus", () => this.menu.all());
    this.find.addEventListener("click", () => this.menu.list || this.menu.all());
    this.find.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (this.menu.key(event)) event.preventDefault();
    });
    this.files = element("input", "", { type: "file", multiple: true, accept: ACCEPTED, hidden: true });
    this.files.addEventListener("change", () => this.takeChosen());
    this.add = button(t("Add images …"),
      t("Choose images, and captions if there are any. They are copied into ComfyUI's input folder."),
      () => this.files.click());
    this.stop = button(t("Stop"), t("Stop adding images. What was added stays."), () => this.upload?.stop());
    const head = element("div", "lb-ui-head");
    head.append(this.find, this.add, this.stop, this.files);
    this.bar = new ProgressBar(t("Images sent"));
    this.text = element("p", "lb-dataset-text");
    this.text.setAttribute("aria-live", "polite");
    this.pictures = element("ul", "lb-dataset-pictures");
    this.pictures.setAttribute("aria-label", t("Some of the images"));
    this.body.append(head, this.bar.element, this.text, this.note, this.pictures);
    this.takeDrops();
    this.draw();
  }

  // -- life ---------------------------------------------------------------------------------------------------------

  begin(signal) {
    panels.add(this);
    listen({
      [EVENTS.executed]: () => this.ask(),
      [EVENTS.success]: () => this.ask(),
      [EVENTS.back]: () => this.ask(),
      [EVENTS.graph]: () => this.lookSoon(),
    }, signal);
    this.watchPage(signal, () => this.ask(), () => {});
  }

  /** The page is left: nothing is to be saved. */
  leave() {}

  close() {
    super.close();
    panels.delete(this);
  }

  /** The upload that this panel began, or one into the folder that it shows. */
  get upload() {
    return this.begun ?? [...uploads].find((upload) => this.shows(upload)) ?? null;
  }

  shows({ folder }) {
    return Boolean(folder) && this.host.folder()?.folder === folder;
  }

  async askRoute(isLate) {
    const told = this.host.folder();
    try {
      const view = told?.folder.trim() ? await fetchFolder(told.folder, told.recursive) : null;
      if (isLate()) return;
      if (view?.name !== this.view?.name && !this.upload && view?.name !== this.result?.folder) this.result = null;
      Object.assign(this, view?.problem ? { view: null, problem: view.problem } : { view, problem: null });
    } catch (error) {
      if (isLate()) return;
      Object.assign(this, { view: null, problem: error.message });
    }
    this.schedule();
  }

  async readFolders() {
    this.folders = await fetchFolders().catch(() => this.folders);
  }

  choose(name) {
    this.find.value = "";
    this.result = null;
    this.host.choose(name);
    this.lookSoon();
  }

  // -- images of one's own ------------------------------------------------------------------------------------------

  takeDrops() {
    const over = (is) => this.body.classList.toggle("lb-dataset-over", is);
    this.body.addEventListener("dragover", (event) => {
      if (!this.accepts(event)) return;
      event.preventDefault();
      over(true);
    });
    this.body.addEventListener("dragleave", () => over(false));
    this.body.addEventListener("drop", (event) => {
      over(false);
      if (!this.drop(event)) return;
      event.preventDefault();
      // Vue nodes end their highlight when the drop reaches them; the classic canvas would open the file
      if (!this.element.closest("[data-node-id]")) event.stopPropagation();
    });
  }

  /** Whether what is dragged over the node can be dropped. */
  accepts(event) {
    return carriesFiles(event);
  }

  /** Take dropped files. The same event may come from the panel and from the node. @returns {boolean} */
  drop(event) {
    if (!this.accepts(event)) return false;
    if (event === this.dropped) return true;
    this.dropped = event;
    readDropped(event.dataTransfer).then((files) => this.take(files), (error) => this.fail(error));
    return true;
  }

  takeChosen() {
    this.take(asFiles(this.files.files));
    this.files.value = ""; // so that the same files can be chosen again
  }

  fail(error) {
    this.result = { text: "", wrong: t("What was dropped cannot be read: {problem}", { problem: error.message }) };
    this.schedule();
  }

  /**
   * Send files to the server, into the folder that is shown if it was made so, else into a new one.
   * @param {{path: string, file: File}[]} given
   */
  async take(given) {
    if (this.upload) return this.refuse(t("Images are still being added. Wait until they are, or press Stop."));
    if (!this.host.folder()) return this.refuse(t("The folder comes over a link. Remove the link to add images here."));
    const { root, files } = withoutRoot(given);
    const plan = planUpload(files);
    const { folder } = this.host.folder();
    const isOwn = this.view?.own && this.view.name === folder; // not what was shown before
    const place = { folder: isOwn ? folder : "", wanted: root || this.host.wanted() };
    const upload = new Upload(plan, place, { sendFile, convert: convertToPng, moved: () => this.spread(upload) });
    uploads.add(upload);
    Object.assign(this, { begun: upload, result: null });
    this.show(upload);
    await upload.run();
    const shown = this.thatShow(upload);
    await Promise.all(shown.map((panel) => panel.finish(upload)));
    uploads.delete(upload);
    this.begun = null;
    for (const panel of shown) panel.schedule();
    if (!shown.length) this.host.tell(resultText(upload));
  }

  /** The placed panels of an upload. */
  thatShow(upload) {
    return [...panels].filter((panel) => panel.begun === upload || panel.shows(upload));
  }

  spread(upload) {
    for (const panel of this.thatShow(upload)) panel.show(upload);
  }

  async finish(upload) {
    if (upload.folder) this.showFolder(upload.folder);
    await this.askRoute(() => !this.life); // so that the count and what was added agree
    this.result = { folder: upload.folder, ...resultText(upload) };
    this.say(this.result.wrong || this.result.text);
  }

  refuse(wrong) {
    this.result = { ...this.result, text: this.result?.text ?? "", wrong };
    this.schedule();
  }

  /** Show how far the upload is, and the folder as soon as there is one. */
  show({ folder }) {
    if (folder) this.showFolder(folder);
    this.schedule();
  }

  showFolder(folder) {
    if (this.host.folder() && this.host.folder().folder !== folder) this.host.choose(folder);
    this.ask();
  }

  // -- drawing ------------------------------------------------------------------------------------------------------

  /** What the panel says, and what is wrong. */
  words() {
    const told = this.host.folder();
    const { upload, result, view } = this;
    const wrong = result?.wrong || this.problem || this.wrong;
    if (upload) return { text: t("Adding images: {done} of {total}", upload), wrong };
    if (!told) return { text: t(LINKED), wrong: result?.wrong };
    if (!told.folder.trim()) return { text: t(HINT), wrong: result?.wrong };
    const lines = view ? [folderText(view), result?.text, ...view.notes,
      view.more_notes && t("… and {count} more notes. Preview Dataset shows them.", { count: view.more_notes })] : [result?.text];
    return { text: lines.filter(Boolean).join("\n"), wrong };
  }

  minHeight() {
    const { text, wrong } = this.words();
    const lines = [text, wrong].filter(Boolean).join("\n").split("\n")
      .reduce((sum, line) => sum + Math.ceil(columnsOf(line) / LINE), 0);
    const pictures = this.view?.pictures.length ? HEIGHT.pictures : 0;
    return HEIGHT.idle + pictures + HEIGHT.line * Math.min(MOST_LINES, Math.max(0, lines - 1));
  }

  draw() {
    const { upload } = this;
    const { text, wrong } = this.words();
    if (this.text.textContent !== text) this.text.textContent = text;
    this.text.hidden = !text;
    showNote(this.note, wrong, Boolean(wrong));
    this.add.hidden = Boolean(upload);
    this.stop.hidden = this.bar.element.hidden = !upload;
    if (upload) this.bar.show(upload.done, upload.total, text);
    this.drawPictures(this.view?.pictures ?? []);
    this.showHeight();
  }

  drawPictures(pictures) {
    const shown = JSON.stringify(pictures);
    if (shown === this.shownPictures) return;
    this.shownPictures = shown;
    this.pictures.hidden = !pictures.length;
    this.pictures.replaceChildren(...pictures.map((picture) => this.makePicture(picture)));
  }

  makePicture({ file, thumb, place }) {
    const item = element("li", "lb-dataset-picture");
    item.append(element("img", "", {
      src: hostUrl(thumb), alt: file, title: file, loading: "lazy", decoding: "async", draggable: false,
    }));
    if (place) {
      const send = button("+", t("Put {file} into the workflow as Load Image", { file }), () => this.host.toGraph(place));
      send.classList.add("lb-dataset-send");
      send.setAttribute("aria-label", send.title);
      item.append(send);
    }
    return item;
  }
}
