/** What an answer of the server can be besides an answer. Loaded alone, it does nothing. */

/** The server refused to save because someone else wrote in between. `fresh` is what the route tells now, or null. */
export class Conflict extends Error {
  constructor(message, fresh = null) {
    super(message);
    this.fresh = fresh;
  }
}

/** The server will never take this. `status` is 404 where what it is about is not there. */
export class Refused extends Error {
  constructor(message, status = 400) {
    super(message);
    this.status = status;
  }
}
