/** Texts in PNG files. Older front ends read iTXt chunks as if they were tEXt, and find no workflow in them. Loading
 * this module has no effect. */

const SIGNATURE = 8;
/** Bytes of a chunk's length and type before its data, and of its checksum after it. */
const HEAD = 8;
const TAIL = 4;

/** @returns {{type: string, data: Uint8Array, whole: Uint8Array}[]} until the bytes end or are not chunks */
function chunks(bytes) {
  const found = [];
  const numbers = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = SIGNATURE; at + HEAD <= bytes.length;) {
    const start = at + HEAD;
    const end = start + numbers.getUint32(at);
    if (end > bytes.length) break;
    const type = String.fromCharCode(...bytes.subarray(at + 4, start));
    found.push({ type, data: bytes.subarray(start, end), whole: bytes.subarray(at, end + TAIL) });
    at = end + TAIL;
  }
  return found;
}

/** keyword, 0, compressed, method, language, 0, translated keyword, 0, text. Null if the text is compressed. */
function plainText(data) {
  const keyword = data.indexOf(0);
  const language = data.indexOf(0, keyword + 3);
  const translated = data.indexOf(0, language + 1);
  if (keyword < 0 || language < 0 || translated < 0 || data[keyword + 1] !== 0) return null;
  return [data.subarray(0, keyword + 1), data.subarray(translated + 1)];
}

function textChunk([keyword, text]) {
  const size = keyword.length + text.length;
  const chunk = new Uint8Array(HEAD + size + TAIL); // no front end checks a text's checksum
  new DataView(chunk.buffer).setUint32(0, size);
  chunk.set([..."tEXt"].map((letter) => letter.charCodeAt(0)), 4);
  chunk.set(keyword, HEAD);
  chunk.set(text, HEAD + keyword.length);
  return chunk;
}

/** A PNG's bytes with each plain iTXt chunk as a tEXt chunk of the same UTF-8. @param {Uint8Array} bytes */
export function withPlainTexts(bytes) {
  const parts = chunks(bytes).map(({ type, data, whole }) => {
    const text = type === "iTXt" && plainText(data);
    return text ? textChunk(text) : whole;
  });
  return new Blob([bytes.subarray(0, SIGNATURE), ...parts], { type: "image/png" });
}
