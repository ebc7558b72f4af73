/** Reads a round's candidates as host/routes/views/packed.py packs them. Pure functions. */

/** Stands between the phrases of a prompt. */
const BETWEEN = ", ";

/** Field → its value, from the places of its words. */
const READ = {
  prompt: (places, words) => places.map((place) => words[place]).join(BETWEEN),
  tags: (places, words) => places.map((place) => words[place]),
  reason: (place, words) => words[place],
  view: (places, words) => Object.fromEntries(Object.entries(places).map(([axis, place]) => [axis, words[place]])),
};

/**
 * The answer of `GET /lora_bootstrap/candidates`, with each candidate as a whole.
 * @param {object|null} answer the packed answer; null if there is no such project or round
 */
export function unpackRound(answer) {
  if (!answer) return answer;
  const { packed: { usual, words, rows }, ...rest } = answer;
  const common = readFields(usual, words);
  const start = `/lora_bootstrap/candidate?${new URLSearchParams({ project: answer.project, round: answer.round })}`;
  const candidates = rows.map((row) => {
    const { version, ...candidate } = { ...common, ...readFields(row, words) };
    const address = `${start}&name=${encodeURIComponent(candidate.name)}`;
    return { ...candidate, thumb: `${address}&size=thumb&v=${version}`, full: `${address}&v=${version}` };
  });
  return { ...rest, candidates };
}

function readFields(row, words) {
  const read = { ...row };
  for (const [name, from] of Object.entries(READ)) {
    if (name in row) read[name] = from(row[name], words);
  }
  return read;
}
