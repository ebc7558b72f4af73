/** Why nodes of the pack refused their values, from what the host says of them. Pure functions. */

export const isOurs = (kind) => kind?.startsWith("LoraBootstrap_") ?? false;

/** As the host writes the words of a node's own check: "folder - there is no folder ...". */
const OWN_CHECK = "custom_validation_failed";
const WORDS = /^[^ ]+ - (.*)$/s;

/**
 * @param {Object<string, {class_type: string, errors: {type: string, details: string}[]}>|null} refused node → its errors.
 *   The host repeats a sentence for each input that the node's check looks at.
 * @returns {{kind: string, text: string}[]} each sentence of each node once
 */
export function reasonsOf(refused) {
  const ours = Object.values(refused ?? {}).filter(({ class_type: kind }) => isOurs(kind));
  return ours.flatMap(({ class_type: kind, errors }) => {
    const said = errors.filter(({ type }) => type === OWN_CHECK).map(({ details }) => details.match(WORDS)?.[1]);
    return [...new Set(said)].filter(Boolean).map((text) => ({ kind, text }));
  });
}
