/** Asks a route, but not too often, however fast events arrive. It needs neither a document nor the host. Loading this
 * module has no effect. */

/** The shortest time between two questions. */
const ASK_MS = 1000;

export class Asker {
  /**
   * @param {() => *} subject what a question would be about now, as one value
   * @param {(isLate: () => boolean) => Promise<void>} act asks and shows; never throws. `isLate` is true if a newer
   *   question was asked, whose answer counts instead
   * @param {number} patience wait this many times as long as the last answer took, if that is longer
   */
  constructor(subject, act, patience = 0) {
    Object.assign(this, { subject, act, patience, timer: null, at: 0, took: 0, turn: 0, asked: undefined });
  }

  /** Whether the subject has changed since the last question, so that what is shown is outdated. */
  isOther() {
    return this.subject() !== this.asked;
  }

  /** Ask soon, or at once if the subject has changed. Further calls while one is waiting are merged with it. */
  ask() {
    const other = this.isOther();
    if (this.timer && !other) return;
    clearTimeout(this.timer);
    const wait = Math.max(0, this.at + Math.max(ASK_MS, this.patience * this.took) - Date.now());
    this.timer = setTimeout(() => this.askNow(), other ? 0 : wait);
  }

  async askNow() {
    const [at, turn] = [Date.now(), this.turn + 1];
    Object.assign(this, { timer: null, asked: this.subject(), at, turn });
    await this.act(() => turn !== this.turn);
    this.took = Date.now() - at;
  }

  /** Stop asking. Answers still on their way count as late. */
  stop() {
    clearTimeout(this.timer);
    Object.assign(this, { timer: null, turn: this.turn + 1, asked: undefined });
  }
}
