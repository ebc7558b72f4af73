/** Sends files to the server, a few at a time, so that a thousand images do not stop the page. It needs neither a
 * document nor the host. Loading this module has no effect. */

import { withStemOf } from "./files.js";

const AT_ONCE = 4;

export class Upload {
  /**
   * @param {object} plan as planUpload makes it
   * @param {{folder: string, wanted: string}} place the folder to add to; "" for a new one, and its name
   * @param {object} means
   * @param {Function} means.sendFile sends one file: see sendFile
   * @param {(file: Blob) => Promise<Blob>} means.convert makes a PNG of an image
   * @param {(upload: Upload) => void} means.moved called whenever a file is done
   */
  constructor(plan, { folder, wanted }, means) {
    Object.assign(this, { plan, folder, wanted, means });
    Object.assign(this, { done: 0, added: 0, captions: 0, known: 0 });
    this.total = plan.images.length + plan.captions.length;
    this.refused = plan.refused.map((path) => `${path} is neither an image nor a caption.`);
    this.life = new AbortController();
  }

  /** Send everything. Never throws: `refused` says what was not taken. */
  async run() {
    const images = this.plan.images.map((image) => () => this.sendImage(image));
    const captions = this.plan.captions.map((caption) => () => this.sendCaption(caption, caption.path));
    // the first that is taken makes the folder
    while (images.length && !this.folder && !this.stopped) await this.step(images.shift());
    await this.stepAll(images);
    await this.stepAll(captions);
    return this;
  }

  stop() {
    this.life.abort();
  }

  get stopped() {
    return this.life.signal.aborted;
  }

  async stepAll(tasks) {
    const work = async () => {
      while (tasks.length && !this.stopped) await this.step(tasks.shift());
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  }

  async step(task) {
    await task();
    this.done += 1;
    this.means.moved(this);
  }

  async sendImage({ path, file, convert, captions }) {
    const saved = await this.attempt(path, async () => {
      const image = convert ? await this.means.convert(file) : file;
      return this.sendFile(convert ? withStemOf("a.png", path) : path, image);
    });
    if (!saved) return;
    this.folder = saved.folder;
    this.count("added", saved);
    for (const caption of captions) await this.sendCaption(caption, withStemOf(caption.path, saved.name));
  }

  async sendCaption({ path, file }, target) {
    if (!this.folder) return void this.refused.push(`${path} is a caption without an image. Add its image too.`);
    const saved = await this.attempt(path, () => this.sendFile(target, file));
    if (saved) this.count("captions", saved);
  }

  count(what, { known }) {
    this[known ? "known" : what] += 1;
  }

  sendFile(path, file) {
    const { folder, wanted } = this;
    return this.means.sendFile({ folder, wanted, path, file }, this.life.signal);
  }

  /** The result of an attempt, or null if it failed. A server that does not answer ends the upload. */
  async attempt(path, act) {
    if (this.stopped) return null;
    try {
      return await act();
    } catch (error) {
      if (this.stopped) return null;
      if (error instanceof TypeError) this.lose(); // what fetch throws if it gets no answer
      else this.refused.push(error.message);
      return null;
    }
  }

  lose() {
    this.stop();
    const left = this.total - this.done;
    this.refused = [`The server does not answer, so ${left} of ${this.total} files were not sent. Add them again: files `
      + "that are there already are skipped."];
  }
}
