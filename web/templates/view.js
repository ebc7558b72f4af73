/** Where to look when a template is opened. Boxes are [left, top, width, height], in the graph's units or in pixels of
 * the page. It needs neither the host nor a document. Loading this module has no effect. */

const OURS = "LoraBootstrap_";
const NOTES = ["MarkdownNote", "Note"];
const NOTE = "Read me";
/** How far a node's title stands out above the node. */
const TITLE = 30;
/** The least zoom at which all text is 10 pixels high: notes, labels and text fields are so at full size. */
export const READABLE = 1;
/** Pixels between what is looked at and what lies over the canvas. */
const MARGIN = 12;
/** Share of a side of the canvas up to which what lies over it is taken for a bar along another side. */
const THIN = 0.4;

/** Whether a workflow, as it is saved, is a template of the pack, opened for the first time: the front end saves the
 * view with every workflow of the user, and a template has none. */
export function isTemplate(saved) {
  const nodes = saved?.nodes ?? [];
  return !saved?.extra?.ds && nodes.some(isNote) && nodes.some(({ type }) => String(type).startsWith(OURS));
}

export const isNote = ({ type, title }) => NOTES.includes(type) && title === NOTE;

/** The box of a node with its title. */
export const nodeBox = ({ pos, size }) => [pos[0], pos[1] - TITLE, size[0], size[1] + TITLE];

/** The smallest box around boxes. */
export function around(boxes) {
  const [left, top] = [0, 1].map((side) => Math.min(...boxes.map((box) => box[side])));
  const [right, bottom] = [0, 1].map((side) => Math.max(...boxes.map((box) => box[side] + box[side + 2])));
  return [left, top, right - left, bottom - top];
}

/** What is left of the canvas between the bars along its sides. */
export function clearArea(canvas, covers) {
  let [left, top, right, bottom] = [canvas[0], canvas[1], canvas[0] + canvas[2], canvas[1] + canvas[3]];
  const middle = [canvas[0] + canvas[2] / 2, canvas[1] + canvas[3] / 2];
  for (const [x, y, width, height] of covers.filter((box) => box[2] > 0 && box[3] > 0)) {
    if (width <= THIN * canvas[2] && height > THIN * canvas[3]) {
      if (x + width / 2 < middle[0]) left = Math.max(left, x + width);
      else right = Math.min(right, x);
    } else if (height <= THIN * canvas[3]) {
      if (y + height / 2 < middle[1]) top = Math.max(top, y + height);
      else bottom = Math.min(bottom, y);
    }
  }
  return [left + MARGIN, top + MARGIN, right - left - 2 * MARGIN, bottom - top - 2 * MARGIN];
}

/**
 * The view to open a template with: all of it if it can be read so, else the note and the group beside it, at a zoom at
 * which they can be read.
 * @param {object} graph
 * @param {number[]} graph.note
 * @param {number[][]} graph.groups
 * @param {number[][]} graph.nodes
 * @param {number[]} area the part of the canvas in which nothing lies over it, in pixels from the canvas's corner
 * @returns {{scale: number, offset: number[]}} as the canvas has it
 */
export function chooseView({ note, groups, nodes }, area) {
  const all = around([note, ...groups, ...nodes]);
  if (fits(all, area)) return viewAt(all, centred(all, area));
  const first = firstGroup(note, groups);
  const both = first ? around([note, first]) : note;
  const seen = [note[0] - both[0] + note[2], note[1] - both[1] + note[3]];
  return viewAt(fits([0, 0, ...seen], area) ? both : note, area);
}

const fits = (box, area) => box[2] * READABLE <= area[2] && box[3] * READABLE <= area[3];

const centred = (box, area) => [0, 1].map((side) => area[side] + (area[side + 2] - box[side + 2] * READABLE) / 2);

/** The view in which the upper left corner of a box is at a place of the canvas. */
const viewAt = (box, place) => ({
  scale: READABLE,
  offset: [0, 1].map((side) => Math.round(place[side] / READABLE - box[side])),
});

/** The group whose upper left corner is nearest to the note's upper right one. */
function firstGroup([x, y, width], groups) {
  const distance = ([left, top]) => Math.abs(left - x - width) + Math.abs(top - y);
  return [...groups].sort((one, other) => distance(one) - distance(other))[0];
}
