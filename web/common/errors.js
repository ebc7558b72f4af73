/** Errors that the server may answer with. Loading this module has no effect. */

/** The server refused to save because someone else saved first. `fresh` is the route's present answer, or null. */
export class Conflict extends Error {
  constructor(message, fresh = null) {
    super(message);
    this.fresh = fresh;
  }
}

/** The server will never accept this. `status` is 404 if the subject does not exist. */
export class Refused extends Error {
  constructor(message, status = 400) {
    super(message);
    this.status = status;
  }
}
