/** Sends files to the server, a few at a time, so that a thousand images do not stop the page. It needs neither a
 * document nor the host. Loading this module has no effect. */

import { t } from "../common/words.js";
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
    Object.assign(this, { done: 0, added: 0, captions: 0, known: 0, frames: 0, lost: false });
    this.total = plan.images.length + plan.captions.length;
    this.refused = [...plan.refused.map((path) => t("{path} is neither an image nor a caption.", { path })),
      ...plan.unread.map(unreadText)];
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

  /** @param {() => Promise<boolean>} task whether it came to its end */
  async step(task) {
    if (await task()) this.done += 1;
    this.means.moved(this);
  }

  async sendImage({ path, file, convert, captions }) {
    const saved = await this.attempt(path, file, async () => {
      const image = convert ? await this.means.convert(file) : file;
      return this.sendFile(convert ? withStemOf("a.png", path) : path, image);
    });
    if (!saved) return saved === null;
    this.folder = saved.folder;
    this.count("added", saved);
    if (convert) this.frames += 1;
    for (const caption of captions) {
      if (!await this.sendCaption(caption, withStemOf(caption.path, saved.name))) return false;
    }
    return true;
  }

  async sendCaption({ path, file }, target) {
    if (!this.folder) {
      this.refused.push(t("{path} is a caption without an image. Add its image too.", { path }));
      return true;
    }
    const saved = await this.attempt(path, file, () => this.sendFile(target, file));
    if (saved) this.count("captions", saved);
    return saved !== undefined;
  }

  count(what, { known }) {
    this[known ? "known" : what] += 1;
  }

  sendFile(path, file) {
    const { folder, wanted } = this;
    return this.means.sendFile({ folder, wanted, path, file }, this.life.signal);
  }

  /** The result of an attempt; null if the file was refused, undefined if the upload ended before. A server that does
   * not answer ends it. */
  async attempt(path, file, act) {
    if (this.stopped) return undefined;
    try {
      return await act();
    } catch (error) {
      if (this.stopped) return undefined;
      const noAnswer = error instanceof TypeError; // what fetch throws, also if it cannot read the file
      if (noAnswer && await isReadable(file)) return this.lose();
      this.refused.push(noAnswer ? unreadText(path) : error.message);
      return null;
    }
  }

  lose() {
    this.lost ||= !this.stopped;
    this.stop();
  }
}

const unreadText = (path) => t("{path} cannot be read.", { path });

/** Whether a file on the user's disk can still be read: it may be moved, or not be on this computer. */
async function isReadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer?.();
    return true;
  } catch {
    return false;
  }
}
