/** What a panel says of a release. Pure functions; loading this module has no effect. */

/** The path at which the host serves a preview. Its hash is in it, because a later release has the same names. */
export function previewPath(folder, { place, hash }) {
  const parts = place.split("/");
  const filename = parts.pop();
  return `/view?${new URLSearchParams({ filename, subfolder: [folder, ...parts].join("/"), type: "output", hash })}`;
}

/** The parts of a card that have a heading, in their order; without those that are empty. */
export const listsOf = (card) =>
  [["Limits", card.limits], ["Notes", card.notes], ["Where it is", card.lines]].filter(([, lines]) => lines?.length);
