/** Geometry of a plane that is panned and zoomed. A view {x, y, z} puts the plane's point p at x + p·z on the screen.
 * Pure functions. Loading this module has no effect. */

/** Units of the plane: an image's width, and the gap between images. */
export const WIDE = 128;
export const GAP = 8;
export const CAPTION = 16;
/** The smallest and the largest width of an image on the screen, in pixels. Any smaller, too many would have to be
 * drawn. */
const LEAST = 26;
const MOST = 2048;

/** The size of a cell, including the gap. @param {number} ratio height divided by width of an image */
export const cellSize = (ratio) => ({ wide: WIDE + GAP, tall: WIDE * ratio + CAPTION + GAP });

const between = (value, least, most) => Math.min(most, Math.max(least, value));
const zoomOf = (z) => between(z, LEAST / WIDE, MOST / WIDE);

/** Keep the plane in view: no edge moves inward past its side, and a plane smaller than the place is centred. */
export function holdInSight(view, whole, place) {
  const along = (start, long, room) => {
    const free = room - long * view.z;
    return free >= 0 ? free / 2 : between(start, free, 0);
  };
  return { z: view.z, x: along(view.x, whole.width, place.width), y: along(view.y, whole.height, place.height) };
}

/** The view that shows the whole plane as large as possible. */
export function fitPlane(whole, place) {
  const z = zoomOf(Math.min(place.width / whole.width, place.height / whole.height));
  return holdInSight({ x: 0, y: 0, z }, whole, place);
}

export const panView = (view, dx, dy) => ({ ...view, x: view.x + dx, y: view.y + dy });

/** Zoom by a factor; the given point of the screen stays in place. */
export function zoomView(view, factor, { x, y }) {
  const z = zoomOf(view.z * factor);
  return { z, x: x - (x - view.x) * (z / view.z), y: y - (y - view.y) * (z / view.z) };
}

/** The cells in view, and that many more on each side: {left, right, top, bottom}; right and bottom are exclusive. */
export function cellsInSight(view, cell, place, { rows, columns }, ahead = 1) {
  const from = (start, size, count) => between(Math.floor(-start / (size * view.z)) - ahead, 0, count);
  const to = (start, size, room, count) => between(Math.ceil((room - start) / (size * view.z)) + ahead, 0, count);
  return {
    left: from(view.x, cell.wide, columns), right: to(view.x, cell.wide, place.width, columns),
    top: from(view.y, cell.tall, rows), bottom: to(view.y, cell.tall, place.height, rows),
  };
}

/** The view moved just enough to show a whole cell. */
export function revealCell(view, cell, { row, column }, place) {
  const along = (start, at, size, room) => {
    const [from, to] = [start + at * size * view.z, start + (at + 1) * size * view.z];
    if (from < 0 || to - from > room) return start - from;
    return to > room ? start - (to - room) : start;
  };
  const { z } = view;
  return { z, x: along(view.x, column, cell.wide, place.width), y: along(view.y, row, cell.tall, place.height) };
}

/** The place of a line's header: the visible part of the line, {start, size} in pixels; null if none is visible. */
export function headerAt(start, size, z, index, room) {
  const from = Math.max(0, start + index * size * z);
  const to = Math.min(room, start + (index + 1) * size * z);
  return to - from > 1 ? { start: from, size: to - from } : null;
}

/** Every how many lines there is room for a header, if lines are this many pixels apart. */
export const headerStep = (pixels, least) => Math.max(1, Math.ceil(least / pixels));
