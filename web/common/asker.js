/** Questions to a route, not too often, however fast events call for them. No document and no host. Loaded alone, it
 * does nothing. */

/** The least time between two questions. */
const ASK_MS = 1000;

export class Asker {
  /**
   * @param {() => *} subject what would be asked about now, as one value
   * @param {(isLate: () => boolean) => Promise<void>} act asks and shows; never throws. `isLate` tells whether another
   *   question was asked since, whose answer counts
   * @param {number} patience so many times as long as an answer takes passes before the next question, where that is
   *   longer
   */
  constructor(subject, act, patience = 0) {
    Object.assign(this, { subject, act, patience, timer: null, at: 0, took: 0, turn: 0, asked: undefined });
  }

  /** Whether something else would be asked about now than was asked last: what is shown is of no use. */
  isOther() {
    return this.subject() !== this.asked;
  }

  /** Ask soon; at once where it is about something else. Later calls while one waits are the same one. */
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

  /** Ask nothing more; answers on their way are late. */
  stop() {
    clearTimeout(this.timer);
    Object.assign(this, { timer: null, turn: this.turn + 1, asked: undefined });
  }
}
