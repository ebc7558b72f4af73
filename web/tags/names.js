/** The names under which the changes by hand are saved, one for each Edit Tags node. They are saved with the node, in its
 * widget `edits`: a node's number is another in another workflow, in a subgraph and after a paste. Pure functions but
 * for the random numbers; loading this module has no effect. */

/** As host/editors.py has it. What follows `from` is the node's number that an older version used as the name. */
const AUTOMATIC = /^tags-[0-9a-f]{10}(?<older>-from-node-[0-9A-Za-z-]+)?$/;
const OLDER_DATASET = /^node-[0-9A-Za-z-]+(?=~)/;

/** The id of a dataset in the editor is the name and, after this, a hash of its folder. */
const HASH = "~";
/** The id of graphs that have none yet. */
const NOBODY = "00000000-0000-0000-0000-000000000000";

export const isAutomatic = (name) => AUTOMATIC.test(name);

/**
 * A name that nobody has.
 * @param {string|null} dataset the id of the dataset that the node was last run with, which an older version may have
 *   named by the node's number
 */
export function makeName(dataset = null) {
  const bytes = crypto.getRandomValues(new Uint8Array(5));
  const older = dataset?.match(OLDER_DATASET)?.[0];
  const random = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return `tags-${random}${older ? `-from-${older}` : ""}`;
}

/** A name for a copy of a node. What it has of an older version stays. */
export const nameCopy = (name) => makeName() + (name.match(AUTOMATIC)?.groups.older ?? "");

/** The id of a node's dataset, after the node got another name. */
export const renamedDataset = (id, name) => name + id.slice(id.lastIndexOf(HASH));

/** Whether a dataset is the one of the node with that name. */
export const isNamed = (id, name) => id.slice(0, id.lastIndexOf(HASH)) === name;

/** Whether a node was run in another workflow, whose copy this one is. */
export const isElsewhere = (before, now) => [before, now].every((id) => id && id !== NOBODY) && before !== now;
