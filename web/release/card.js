/** What a panel says of a release. Pure functions; loading this module has no effect. */

import { t, word } from "../common/words.js";

/** Heading of a list → the part of a card that it shows. */
const LISTS = [[word("Limits"), "limits"], [word("Notes"), "notes"], [word("Where it is"), "lines"]];

/** The path at which the host serves a preview. Its hash is in it, because a later release has the same names. */
export function previewPath(folder, { place, hash }) {
  const parts = place.split("/");
  const filename = parts.pop();
  return `/view?${new URLSearchParams({ filename, subfolder: [folder, ...parts].join("/"), type: "output", hash })}`;
}

/** The parts of a card that have a heading, in their order; without those that are empty. */
export const listsOf = (card) =>
  LISTS.map(([heading, part]) => [t(heading), card[part]]).filter(([, lines]) => lines?.length);
