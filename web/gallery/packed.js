/** Reads a round's candidates from the columns of host/routes/views/packed.py. Pure functions. */

/** Stands between the phrases of a prompt. */
const BETWEEN = ", ";

/** Field → its value, from places in the list of all texts. */
const FROM_WORDS = {
  prompt: (places, words) => wordsAt(places, words).join(BETWEEN),
  tags: (places, words) => wordsAt(places, words),
  reason: (place, words) => words[place],
  view(places, words) {
    const view = {};
    for (const axis in places) view[axis] = words[places[axis]];
    return view;
  },
};

const wordsAt = (places, words) => places.map((place) => words[place]);

/**
 * The answer of `GET /lora_bootstrap/candidates`, with each candidate by itself.
 * @param {object|null} answer the answer with columns; null if there is no such project or round
 */
export function unpackRound(answer) {
  if (!answer) return answer;
  const { packed: { count, words, columns }, ...rest } = answer;
  const read = Object.entries(columns).map(([name, column]) => [name, readColumn(name, column, words)]);
  const usual = { ...Object.fromEntries(read.map(([name, column]) => [name, column.usual])), thumb: "", full: "" };
  const several = read.filter(([, column]) => column.each);
  const candidates = Array.from({ length: count }, (_, row) => {
    const candidate = { ...usual }; // ten times as fast as adding fields one by one
    for (const [name, { each }] of several) candidate[name] = each[row];
    return candidate;
  });
  for (const [name, { rows = {} }] of read) for (const row in rows) candidates[row][name] = rows[row];
  const start = `/lora_bootstrap/candidate?${new URLSearchParams({ project: answer.project, round: answer.round })}`;
  for (const candidate of candidates) {
    const address = `${start}&name=${encodeURIComponent(candidate.name)}`;
    candidate.thumb = `${address}&size=thumb&v=${candidate.version}`;
    candidate.full = `${address}&v=${candidate.version}`;
  }
  return { ...rest, candidates };
}

/** The column with its values in place of places. */
function readColumn(name, { each, usual, rows }, words) {
  const from = FROM_WORDS[name];
  if (!from) return { each, usual, rows };
  if (each) return { each: each.map((value) => from(value, words)) };
  return {
    usual: from(usual, words),
    rows: Object.fromEntries(Object.entries(rows).map(([row, value]) => [row, from(value, words)])),
  };
}
