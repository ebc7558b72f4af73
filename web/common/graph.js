/** What a workflow says about its bootstrap project before anything has run. It only reads nodes, and needs neither the
 * host nor a document. Loading this module has no effect. */

const PROJECT = "LoraBootstrap_Project";
const SOCKET = "BOOTSTRAP_PROJECT";
/** How the host runs a node: not at all, or as if its inputs were its outputs. */
const [MUTED, BYPASSED] = [2, 4];
/** Bypassed nodes to walk at most: links may form a loop. */
const FAR = 50;
/** What feeds an input if nothing does: its widget's own value counts. */
const NOTHING = Symbol("nothing");
/** The node id that marks links from a subgraph's own inputs. */
const SUBGRAPH_INPUT = -10;

const ofProject = ({ type }) => type === SOCKET;
const called = (wanted) => ({ name }) => name === wanted;
const text = (value) => (typeof value === "string" ? value.trim() : "");

/** The number of the first matching input that has a link; -1 if there is none. Newer front ends warn of `link` itself. */
function findLinkedSlot(node, fits) {
  return node.inputs?.findIndex((input, slot) =>
    fits(input) && (node.isInputConnected?.(slot) ?? input.link != null)) ?? -1;
}

/**
 * The link into an input. A subgraph's node answers `getInputLink`, and `getInputNode` by it, for its outputs: its graph
 * is asked.
 */
function linkInto(node, slot) {
  if (!node.isSubgraphNode?.()) return node.getInputLink?.(slot);
  return [...(node.graph?.links?.values() ?? [])].find((link) =>
    String(link.target_id) === String(node.id) && link.target_slot === slot);
}

/** Whether a link comes from a subgraph's own input. Newer front ends have ids as texts. */
const entersSubgraph = (link) => Number(link?.origin_id) === SUBGRAPH_INPUT;

/** Whether the value of an input comes over a link. */
export const isLinked = (node, name) => findLinkedSlot(node, called(name)) >= 0;

export const widgetValue = (node, name) => node.widgets?.find((widget) => widget.name === name)?.value;

/**
 * The widgets that hold the value of an input: its own and, before it, that of the enclosing subgraph's node on which it
 * is shown too. None if the value comes over a link that a run follows.
 */
export function valueWidgets(node, name) {
  const own = (node.widgets ?? []).filter((widget) => widget.name === name);
  const slot = findLinkedSlot(node, called(name));
  if (slot < 0 || !node.graph) return own;
  const link = linkInto(node, slot);
  if (!entersSubgraph(link)) return findFeed(node, called(name)) === NOTHING ? own : [];
  const outer = enclosing(node.graph);
  const input = outer?.inputs?.[link.origin_slot];
  return input ? [...valueWidgets(outer, input.name), ...own] : own;
}

/** All nodes of a workflow, those in its subgraphs included. */
export function allNodes(graph) {
  const root = graph?.rootGraph ?? graph;
  return root ? [root, ...(root.subgraphs?.values() ?? [])].flatMap(({ nodes }) => nodes ?? []) : [];
}

/** The node that contains a subgraph, through which the links into it come; or null. */
function enclosing(graph) {
  const root = graph?.rootGraph;
  const graphs = root && root !== graph ? [root, ...(root.subgraphs?.values() ?? [])] : [];
  return graphs.flatMap(({ nodes }) => nodes ?? []).find(({ subgraph }) => subgraph === graph) ?? null;
}

/** The names of a node's widgets that the enclosing subgraph's node shows without a link; front ends before 1.49 do. */
export function promotedNames(node) {
  const outer = node.graph ? enclosing(node.graph) : null;
  const shown = outer?.properties?.proxyWidgets;
  return (Array.isArray(shown) ? shown : []).filter(([id]) => String(id) === String(node.id)).map(([, name]) => name);
}

/**
 * The node that feeds the first matching linked input, followed into and out of subgraphs and through what is bypassed;
 * null if there is none, or if it is muted.
 * @param {object} node
 * @param {(input: {name: string, type: string}) => boolean} fits
 */
export function findFeeder(node, fits) {
  const feed = findFeed(node, fits);
  return feed === NOTHING ? null : feed;
}

/** The same, but NOTHING if the input has no link or only one from a bypassed node that has nothing to pass on. */
function findFeed(node, fits, far = FAR) {
  const slot = findLinkedSlot(node, fits);
  if (slot < 0) return NOTHING;
  const link = linkInto(node, slot);
  if (entersSubgraph(link)) {
    const outer = enclosing(node.graph);
    const input = outer?.inputs?.[link.origin_slot];
    const feed = input ? findFeed(outer, (other) => other === input, far) : NOTHING;
    return feed === NOTHING ? null : feed; // the outer node may have a widget for it
  }
  const from = node.isSubgraphNode?.() ? node.graph.getNodeById(link?.origin_id) : node.getInputNode(slot);
  return runningAt(from, link?.origin_slot, far);
}

/** The node that in a run gives what an output of this one gives; null if none does, and NOTHING as above. */
function runningAt(node, slot, far) {
  if (!node || node.mode === MUTED || far <= 0) return null;
  if (node.mode === BYPASSED) {
    const input = bypassInput(node, slot);
    return input ? findFeed(node, (other) => other === input, far - 1) : NOTHING;
  }
  if (!node.isSubgraphNode?.()) return node;
  const { outputNode, link } = node.resolveSubgraphOutputLink(slot) ?? {};
  return runningAt(outputNode, link?.origin_slot, far - 1);
}

/** The input that a bypassed node passes on to an output: that at the same place, or else the first of the type. */
function bypassInput({ inputs = [], outputs = [] }, slot) {
  const type = outputs[slot]?.type;
  if (inputs[slot] && canMeet(inputs[slot].type, type)) return inputs[slot];
  return inputs.find((input) => input.type === type) ?? inputs.find((input) => canMeet(input.type, type));
}

/** Whether a link may join the types. "*" is any, and commas separate several. */
function canMeet(one, other) {
  const [ones, others] = [one, other].map((type) => String(type).split(","));
  return [one, other].includes("*") || ones.some((type) => others.includes(type));
}

/** The value of a widget; if it is linked, that of the first widget of the node it comes from. */
export function inputValue(node, name) {
  const feed = findFeed(node, called(name));
  return feed === NOTHING ? widgetValue(node, name) : feed?.widgets?.[0]?.value;
}

/** The Bootstrap Project node at the end of the links that carry a project, or null. */
function projectNode(node) {
  const seen = new Set();
  for (let at = node; at && !seen.has(at); at = findFeeder(at, ofProject) ?? findRerouted(at)) {
    if (at.comfyClass === PROJECT) return at;
    seen.add(at);
  }
  return null;
}

/** What feeds a node that only passes a link on, and whose input has no type. */
const findRerouted = (node) =>
  (node.inputs?.length === 1 && node.inputs[0].type === "*" ? findFeeder(node, () => true) : null);

/** The name of the project that a node belongs to, or null if it is known only after a run. */
export function projectName(node) {
  const project = projectNode(node);
  if (!project) return null;
  return text(inputValue(project, "name")) || text(inputValue(project, "trigger")).replaceAll(" ", "-") || null;
}

/** Purpose of a training set → name of the run on it, after a round. */
const RUN_NAMES = {
  style: (project, round) => `${project}-style-${round + 1}`,
  character: (project) => project,
};

/** Node that gives a training set → the set's purpose. After the last round, Curate Images gives the character's. */
const PURPOSES = {
  LoraBootstrap_RoundDataset: (node) => inputValue(node, "purpose"),
  LoraBootstrap_CurateImages: (node, round) => {
    const targets = text(inputValue(projectNode(node), "targets")).split(/[\s,;]+/).filter(Boolean);
    return round >= targets.length - 1 ? "character" : "style";
  },
};

function roundRunName(node) {
  const [project, round] = [projectName(node), Number(inputValue(node, "round"))];
  if (!project || !(round >= 0)) return null;
  return RUN_NAMES[PURPOSES[node.comfyClass](node, round)]?.(project, round) ?? null;
}

/** The name of a run, from a node's widget or from what is linked to it; null if it is known only after a run. */
export function runName(node, widget) {
  const from = findFeeder(node, called(widget));
  if (from?.comfyClass in PURPOSES) return roundRunName(from);
  return text(inputValue(node, widget)) || null;
}

/** Node that gives a run → the widget that names it. */
const GIVES_RUN = { LoraBootstrap_TrainLora: "name", LoraBootstrap_FineTune: "name", LoraBootstrap_LoadRun: "run" };

/** The name of the run that comes over a link to an input; null if it is known only after a run. */
export function linkedRunName(node, input) {
  const feeder = findFeeder(node, called(input));
  const widget = GIVES_RUN[feeder?.comfyClass];
  return widget ? runName(feeder, widget) : null;
}
