// The table of sources: a row a source, of which only the cells are touched that say something else than before.

import { $, attribute, hide, plot, text } from "./dom.js";
import { ago, ahead, count, health, moment, span, tone, trouble } from "./words.js";

const SEVERITY = { Error: 0, Pending: 2, Started: 2, Initialized: 2, Authenticated: 2, Collecting: 3, Stopping: 4, Paused: 5 };
const severity = (source) => (source.inTrouble ? Math.min(1, SEVERITY[source.state.state] ?? 1) : SEVERITY[source.state.state] ?? 2);
const names = new Intl.Collator("en", { numeric: true });
const byName = (a, b) => names.compare(a.name, b.name);
const ORDERS = {
  name: byName,
  state: (a, b) => severity(a) - severity(b),
  records: (a, b) => b.records - a.records,
  lag: (a, b) => (b.lag ?? -1) - (a.lag ?? -1),
  waiting: (a, b) => b.waiting - a.waiting,
};
const FALLS = new Set(["records", "lag", "waiting"]);

const rows = new Map();
let sources = [];
const view = { words: "", show: "all", sort: "state", turned: false };

/** Make the table's controls work; `open(id, place)` is called for what is clicked. */
export function prepare(open) {
  $("sources").addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row && !String(getSelection())) open(Number(row.dataset.id), event.target.closest(".health") ? "health" : null);
  });
  $("search").addEventListener("input", (event) => look({ words: event.target.value.trim().toLowerCase() }));
  $("filters").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) look({ show: button.dataset.show });
  });
  $("heads").addEventListener("click", (event) => {
    const sort = event.target.closest("button")?.dataset.sort;
    if (sort) look({ sort, turned: view.sort === sort && !view.turned });
  });
}

function look(change) {
  Object.assign(view, change);
  arrange();
}

/** Show these sources, as they are now. */
export function show(wanted, now) {
  sources = wanted;
  const ids = new Set(sources.map((source) => source.id));
  for (const [id, row] of rows) {
    if (ids.has(id)) continue;
    row.node.remove();
    rows.delete(id);
  }
  for (const source of sources) {
    if (!rows.has(source.id)) rows.set(source.id, made(source.id));
    fill(rows.get(source.id), source, now);
  }
  arrange();
}

function made(id) {
  const node = $("row").content.firstElementChild.cloneNode(true);
  node.dataset.id = id;
  const [what, is, well, hour, lag, success, next, waiting, trouble] = node.cells;
  const [drawing, number] = hour.firstElementChild.children;
  const state = is.firstElementChild;
  return {
    node, state, lag, success, next, waiting, trouble, plot: drawing, count: number, word: state.lastElementChild,
    name: what.firstElementChild, kind: what.lastElementChild, health: well.firstElementChild,
  };
}

function fill(row, source, now) {
  text(row.name, source.name);
  text(row.kind, [source.type, source.category].filter(Boolean).join(" · "));
  text(row.word, source.state.state);
  attribute(row.state, "data-tone", tone(source.state.state));
  const [word, colour] = health(source.health);
  text(row.health, word);
  attribute(row.health, "data-tone", colour);
  attribute(row.health, "aria-label", `${word}: health events of ${source.name}`);
  plot(row.plot, source.minutes);
  text(row.count, count(source.records));
  text(row.lag, span(source.lag));
  text(row.success, ago(source.lastSuccess, now));
  attribute(row.success, "data-tip", source.lastSuccess ? moment(source.lastSuccess) : null);
  text(row.next, ahead(source.nextPoll, now));
  attribute(row.next, "data-tip", source.nextPoll ? moment(source.nextPoll) : null);
  text(row.waiting, count(source.waiting));
  const reason = trouble(source.state);
  text(row.trouble, reason);
  hide(row.trouble, !reason);
  attribute(row.state, "data-tip", reason || null);
}

function arrange() {
  const order = ORDERS[view.sort];
  const turn = view.turned ? -1 : 1;
  const sorted = [...sources].sort((a, b) => turn * order(a, b) || byName(a, b));
  const focused = document.activeElement;
  let place = $("sources").firstElementChild;
  let visible = 0;
  for (const source of sorted) {
    const { node } = rows.get(source.id);
    const wanted = matches(source);
    visible += wanted;
    hide(node, !wanted);
    if (node === place) place = place.nextElementSibling;
    else $("sources").insertBefore(node, place);
  }
  if (focused !== document.activeElement) focused.focus({ preventScroll: true });
  controls(visible);
}

function matches(source) {
  if (view.show === "trouble" && !source.inTrouble) return false;
  if (view.show === "paused" && source.state.state !== "Paused") return false;
  const words = `${source.name} ${source.type} ${source.category ?? ""}`.toLowerCase();
  return view.words.split(/\s+/).every((word) => words.includes(word.replace(/\*$/, "")));
}

function controls(visible) {
  const counts = {
    all: sources.length,
    trouble: sources.filter((source) => source.inTrouble).length,
    paused: sources.filter((source) => source.state.state === "Paused").length,
  };
  for (const button of $("filters").children) {
    attribute(button, "aria-pressed", button.dataset.show === view.show);
    text(button.lastElementChild, counts[button.dataset.show]);
  }
  for (const button of $("heads").querySelectorAll("button")) {
    const falls = FALLS.has(button.dataset.sort) !== view.turned;
    attribute(button.parentElement, "aria-sort", button.dataset.sort === view.sort ? (falls ? "descending" : "ascending") : null);
  }
  hide($("sources"), visible === 0);
  hide($("none"), visible > 0);
  text($("none"), sources.length ? "No source matches. Clear the search, or show all." : "No sources yet. Put a source file into sources.d and reload: systemctl reload collectord");
}
