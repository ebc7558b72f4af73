/** The plane of a sweep: images in rows and columns, panned and zoomed, under headers that stay visible. Only what is
 * in view is in the document. The arrow keys move the focus from cell to cell. Loading this module has no effect. */

import { element } from "../common/dom.js";
import { t } from "../common/words.js";
import { Table } from "./axes.js";
import {
  GAP, WIDE, cellSize, cellsInSight, fitPlane, headerAt, headerStep, holdInSight, panView, revealCell, zoomView,
} from "./plane.js";
import { SweepTile } from "./tile.js";

/** Screen pixels that the pointer must move before it pans instead of clicking. */
const DRAG = 4;
/** Images are loaded this many milliseconds after the last movement. */
const SETTLED_MS = 80;
/** From this many screen pixels on, a thumbnail is too small; from this many per image pixel, single pixels are shown.
 * */
const THUMB = 256;
const PIXELATED = 3;
/** Below this zoom, captions are not legible. */
const READABLE = 0.7;
/** Smallest legible sizes of a row's and of a column's header, in pixels. */
const HEADER = { row: 15, column: 38 };
const WHEEL = 0.0016;
const LINE = 16;
const STEP = 1.3;
const PAN = 80;

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

export class SweepGrid {
  /**
   * @param {object} pane
   * @param {object} pane.store the sweep's store
   * @param {(address: string) => string} pane.picture
   * @param {(view: {x: number, y: number, z: number}) => void} pane.moved called when it was panned or zoomed here
   * @param {(cell: object) => void} pane.opened called when a cell should open in the close view
   * @param {(cell: object) => void} pane.pointed called when a cell gets the focus
   */
  constructor(pane) {
    Object.assign(this, { pane, table: null, at: null, view: null, place: null, drag: null });
    this.tiles = new Map(); // "row,column" → tile in the document
    this.pointers = new Map(); // the pressed pointers
    this.build();
  }

  build() {
    this.element = element("div", "lb-sweep-surface");
    this.corner = element("div", "lb-sweep-corner");
    this.columnHeads = element("div", "lb-sweep-heads lb-sweep-columns");
    this.rowHeads = element("div", "lb-sweep-heads lb-sweep-rows");
    this.port = element("div", "lb-sweep-port");
    this.plane = element("div", "lb-sweep-plane");
    this.port.setAttribute("role", "group");
    this.port.setAttribute("aria-label", t("Cells"));
    this.port.append(this.plane);
    this.element.append(this.corner, this.columnHeads, this.rowHeads, this.port);
    this.element.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.element.addEventListener("dblclick", (event) => this.isEmptyAt(event) && this.fit());
    this.port.addEventListener("keydown", (event) => this.key(event));
    for (const [name, act] of [["pointerdown", "startDrag"], ["pointermove", "continueDrag"], ["pointerup", "endDrag"],
      ["pointercancel", "endDrag"]]) this.port.addEventListener(name, (event) => this[act](event));
    this.port.addEventListener("click", (event) => this.stopClick(event), { capture: true });
    this.port.addEventListener("scroll", () => this.port.scrollTo(0, 0)); // browsers scroll to show the focus
    this.observer = new ResizeObserver(() => this.measure());
  }

  get store() {
    return this.pane.store;
  }

  picture(address) {
    return this.pane.picture(address);
  }

  open() {
    this.observer.observe(this.port);
  }

  close() {
    this.observer.disconnect();
    clearTimeout(this.settling);
    cancelAnimationFrame(this.frame);
    this.frame = null;
  }

  // -- what is shown ------------------------------------------------------------------------------------------------

  /**
   * Show a table of the store's sweep.
   * @param {object} view rows, columns and pages
   * @param {((cell: object) => boolean)|null} fits
   */
  show(view, fits) {
    const { sweep, places } = this.store;
    const cell = this.at && this.table?.cell(this.at.row, this.at.column);
    this.table = new Table(sweep, places, view, fits);
    const ratio = this.ratio();
    this.cellSize = cellSize(ratio);
    this.plane.style.setProperty("--lb-ratio", ratio);
    this.at = this.placeOf(cell) ?? this.firstPlace();
    const shape = [sweep.name, view.rows, view.columns, this.table.rows.length, this.table.columns.length].join();
    const other = shape !== this.shape;
    this.shape = shape;
    this.corner.textContent = [view.rows, view.columns].filter(Boolean).join(" × ");
    this.sight = null; // all tiles must be redrawn
    if (other && this.place) this.fit(true);
    else this.schedule();
  }

  /** The position of a cell now: the same as before if it is still there, since a cell may be shown more than once. */
  placeOf(cell) {
    if (!cell) return null;
    const same = this.table.cell(this.at.row, this.at.column);
    return same?.at.join() === cell.at.join() ? this.at : this.table.find(cell);
  }

  firstPlace() {
    for (const row of this.table.rows.keys()) {
      const next = this.table.next({ row, column: -1 }, 0, 1);
      if (next) return next;
    }
    return null;
  }

  /** Height divided by width of the images. */
  ratio() {
    const { sweep } = this.store;
    const { width, height } = { ...sweep.cells[0]?.more, ...sweep.shared };
    this.pixels = width > 0 ? width : null;
    return width > 0 && height > 0 ? height / width : 1;
  }

  get whole() {
    const { wide, tall } = this.cellSize;
    return { width: wide * this.table.columns.length, height: tall * this.table.rows.length };
  }

  measure() {
    const { clientWidth: width, clientHeight: height } = this.port;
    if (!width || !height) return; // not visible
    this.place = { width, height };
    if (!this.table) return;
    if (!this.view || this.isFitted) this.fit();
    else this.moveTo(this.view, true);
  }

  // -- moving -------------------------------------------------------------------------------------------------------

  /** @param {boolean} told whether the other plane, which moves along, already knows */
  moveTo(view, told = false) {
    this.isFitted = false;
    this.view = holdInSight(view, this.whole, this.place);
    this.schedule();
    if (!told) this.pane.moveOthers(this.view);
  }

  fit(told = false) {
    if (!this.place || !this.table) return;
    this.moveTo(fitPlane(this.whole, this.place), told);
    this.isFitted = true; // and stays fitted if the place changes its size
  }

  zoomBy(factor, point = { x: this.place.width / 2, y: this.place.height / 2 }) {
    this.moveTo(zoomView(this.view, factor, point));
  }

  wheel(event) {
    event.preventDefault();
    event.stopPropagation();
    if (!this.table || !this.view) return;
    const box = this.port.getBoundingClientRect();
    const by = event.deltaY * (event.deltaMode ? LINE : 1);
    this.zoomBy(Math.exp(-by * WHEEL), { x: event.clientX - box.left, y: event.clientY - box.top });
  }

  startDrag(event) {
    if (event.button !== 0 || !this.view) return;
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (this.pointers.size === 1) this.drag = { x: event.clientX, y: event.clientY, pans: false };
  }

  continueDrag(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    const other = [...this.pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.drag.pans ||= Boolean(other) || Math.hypot(now.x - this.drag.x, now.y - this.drag.y) >= DRAG;
    if (!this.drag.pans) return;
    if (!this.port.hasPointerCapture(event.pointerId)) this.port.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, now);
    const share = other ? 0.5 : 1; // with two fingers, each moves the centre by half
    const moved = panView(this.view, (now.x - before.x) * share, (now.y - before.y) * share);
    if (!other) return void this.moveTo(moved);
    const box = this.port.getBoundingClientRect();
    const apart = (one) => Math.max(1, Math.hypot(one.x - other.x, one.y - other.y));
    const middle = { x: (now.x + other.x) / 2 - box.left, y: (now.y + other.y) / 2 - box.top };
    this.moveTo(zoomView(moved, apart(now) / apart(before), middle));
  }

  endDrag(event) {
    this.pointers.delete(event.pointerId);
  }

  /** Ignore the click at the end of a drag. */
  stopClick(event) {
    if (this.drag?.pans && event.detail) event.stopPropagation();
    if (!this.pointers.size) this.drag = null;
  }

  isEmptyAt({ target }) {
    return !target.classList.contains("lb-sweep-face");
  }

  // -- drawing ------------------------------------------------------------------------------------------------------

  schedule() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  /** Position the plane, put what is in view into the document, and take the rest out. */
  draw() {
    const { table, view, place } = this;
    if (!table || !view || !place) return;
    const { z } = view;
    this.plane.style.transform = `translate(${view.x}px, ${view.y}px) scale(${z})`;
    if (z !== this.zoom) {
      this.zoom = z;
      this.plane.style.setProperty("--lb-z", z);
      this.plane.classList.toggle("lb-sweep-far", z < READABLE);
      this.plane.classList.toggle("lb-sweep-pixels", this.pixels !== null && WIDE * z >= PIXELATED * this.pixels);
    }
    const sight = cellsInSight(view, this.cellSize, place, { rows: table.rows.length, columns: table.columns.length });
    const anew = this.sight === null;
    if (anew || JSON.stringify(sight) !== JSON.stringify(this.sight)) this.drawTiles(sight, anew);
    this.drawHeads();
    clearTimeout(this.settling);
    if (anew) this.fill();
    else this.settling = setTimeout(() => this.fill(), SETTLED_MS);
  }

  /** Tiles that leave the view are reused for those that enter it, because creating tiles is slow. */
  drawTiles(sight, anew) {
    this.sight = sight;
    const wanted = new Map();
    const want = (row, column) => {
      const cell = this.table.cell(row, column);
      if (cell) wanted.set(`${row},${column}`, { cell, row, column });
    };
    for (let row = sight.top; row < sight.bottom; row += 1) {
      for (let column = sight.left; column < sight.right; column += 1) want(row, column);
    }
    if (this.at) want(this.at.row, this.at.column); // the Tab key must reach it
    const spare = [...this.tiles].filter(([place]) => !wanted.has(place)).map(([, tile]) => tile);
    const before = this.tiles;
    this.tiles = new Map();
    for (const [place, { cell, row, column }] of wanted) {
      const known = before.get(place);
      const tile = known ?? spare.pop() ?? new SweepTile(this);
      this.tiles.set(place, tile);
      if (known && !anew) continue;
      tile.show(cell, row, column);
      this.stand(tile);
    }
    for (const tile of spare) tile.element.remove();
    this.reach();
  }

  stand(tile) {
    const { wide, tall } = this.cellSize;
    const where = `translate(${tile.column * wide + GAP / 2}px, ${tile.row * tall + GAP / 2}px)`;
    if (tile.where !== where) tile.element.style.transform = tile.where = where;
    if (!tile.element.isConnected) this.plane.append(tile.element);
  }

  /** Load the images in view. */
  fill() {
    const full = WIDE * this.view.z * window.devicePixelRatio > THUMB;
    for (const tile of this.tiles.values()) tile.fill(full);
  }

  /** Redraw the tiles whose marks have changed. */
  update() {
    for (const tile of this.tiles.values()) tile.update();
  }

  drawHeads() {
    const { table: { rows, columns }, view: { x, y, z }, place, cellSize: { wide, tall } } = this;
    this.heads(this.columnHeads, columns, (index) => headerAt(x, wide, z, index, place.width),
      headerStep(wide * z, HEADER.column), ["left", "width"]);
    this.heads(this.rowHeads, rows, (index) => headerAt(y, tall, z, index, place.height),
      headerStep(tall * z, HEADER.row), ["top", "height"]);
  }

  heads(strip, lines, whereOf, step, [from, size]) {
    const shown = lines.map((line, index) => ({ line, where: index % step ? null : whereOf(index) })).filter(
      ({ where }) => where);
    while (strip.children.length < shown.length) strip.append(element("div", "lb-sweep-head"));
    while (strip.children.length > shown.length) strip.lastChild.remove();
    shown.forEach(({ line: { label }, where }, at) => {
      const head = strip.children[at];
      if (head.textContent !== label) head.textContent = head.title = label;
      head.style[from] = `${where.start}px`;
      head.style[size] = `${where.size * step}px`;
    });
  }

  reach() {
    const here = `${this.at?.row},${this.at?.column}`;
    for (const [place, tile] of this.tiles) tile.face.tabIndex = place === here ? 0 : -1;
  }

  // -- focus and keys -----------------------------------------------------------------------------------------------

  get cellAt() {
    return this.at && this.table ? this.table.cell(this.at.row, this.at.column) : null;
  }

  openAt(row, column) {
    const cell = this.table.cell(row, column);
    if (cell) this.pane.openCell(cell);
  }

  pointTo(row, column) {
    this.at = { row, column };
    this.reach();
    const cell = this.cellAt;
    if (cell) this.pane.makeCurrent();
  }

  /** Put the focus on a position, and bring it into view. */
  focus(place = this.at) {
    if (!place || !this.place) return;
    this.point(place);
    this.tiles.get(`${place.row},${place.column}`)?.face.focus({ preventScroll: true });
  }

  /** Let the Tab key reach a position, and bring it into view. */
  point(place) {
    this.at = place;
    if (!this.view || !this.place) return;
    const view = holdInSight(revealCell(this.view, this.cellSize, place, this.place), this.whole, this.place);
    if (view.x !== this.view.x || view.y !== this.view.y) this.moveTo(view);
    this.draw(); // at once, so that there is a tile to focus
    if (!this.tiles.has(`${place.row},${place.column}`)) this.drawTiles(this.sight, false);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.at) return;
    const arrow = ARROWS[event.key];
    const used = arrow ? this.arrow(arrow, event.shiftKey) : this.otherKey(event.key);
    if (!used) return;
    event.preventDefault();
    event.stopPropagation();
  }

  arrow([down, across], pans) {
    if (pans) this.moveTo(panView(this.view, -across * PAN, -down * PAN));
    else this.focus(this.table.next(this.at, down, across) ?? this.at);
    return true;
  }

  otherKey(key) {
    if (key === "+" || key === "=") this.zoomBy(STEP);
    else if (key === "-") this.zoomBy(1 / STEP);
    else if (key === "0") this.fit();
    else if (key === "Home") this.focus(this.table.next({ ...this.at, column: -1 }, 0, 1));
    else if (key === "End") this.focus(this.table.next({ ...this.at, column: this.table.columns.length }, 0, -1));
    else return false;
    return true;
  }
}
