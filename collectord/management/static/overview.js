// The head of the page: all sources in four figures, and the sinks.

import { $, attribute, el, hide, plot, text } from "./dom.js";
import { added, total } from "./sums.js";
import { bytes, count, span, tone } from "./words.js";

/** Show the figures. */
export function figures(sources) {
  const minutes = added(sources.map((source) => source.minutes));
  text($("total"), count(total(minutes)));
  plot($("total-plot"), minutes);
  text($("peak"), minutes.length ? `peak ${count(Math.max(...minutes))} a minute` : "");
  const states = new Map();
  for (const { state } of sources) states.set(state.state, (states.get(state.state) ?? 0) + 1);
  text($("collecting"), sources.length ? `${states.get("Collecting") ?? 0} of ${sources.length}` : "–");
  states.delete("Collecting");
  text($("collecting-note"), [...states].map(([state, number]) => `${number} ${state.toLowerCase()}`).join(", "));
  const streams = sources.flatMap((source) => source.streams.map((stream) => [source, stream]));
  const [source, last] = streams.reduce((a, b) => ((b[1].lag_seconds ?? -1) > (a[1]?.lag_seconds ?? -1) ? b : a), []);
  text($("lag"), last ? span(last.lag_seconds) : "–");
  text($("lag-note"), last ? `${source.name}, ${last.name}` : "");
  const waiting = sources.reduce((sum, each) => sum + each.waiting, 0);
  text($("waiting"), count(waiting));
  text($("waiting-note"), waiting ? bytes(sources.reduce((sum, each) => sum + each.waitingBytes, 0)) : "Everything is delivered");
}

const cards = new Map();

/** Show the sinks. */
export function sinks(wanted) {
  for (const [name, card] of cards) {
    if (wanted.some((sink) => sink.name === name)) continue;
    card.node.remove();
    cards.delete(name);
  }
  for (const sink of wanted) {
    if (!cards.has(sink.name)) {
      cards.set(sink.name, made());
      $("sinks").append(cards.get(sink.name).node);
    }
    fill(cards.get(sink.name), sink);
  }
}

function made() {
  const card = {
    name: el("h3"), state: el("span", { class: "state" }, el("span", { class: "dot", "aria-hidden": "true" })), word: el("span"),
    type: el("span"), waiting: el("span"), dead: el("span"), meter: el("meter", { min: 0, max: 1, low: 0.7, high: 0.9, optimum: 0 }),
    reason: el("p", { class: "reason" }),
  };
  card.state.append(card.word);
  card.node = el("li", { class: "sink" }, el("div", { class: "head" }, card.name, card.state),
    el("div", { class: "facts" }, card.type, card.waiting, card.dead), card.meter, card.reason);
  return card;
}

function fill(card, sink) {
  text(card.name, sink.name);
  text(card.word, sink.state);
  attribute(card.state, "data-tone", tone(sink.state));
  text(card.type, sink.type);
  text(card.waiting, `${count(sink.backlog_records)} waiting, ${bytes(sink.backlog_bytes)}`);
  text(card.dead, `${count(sink.dead_letters)} dead letters`);
  attribute(card.dead, "class", sink.dead_letters ? "reason" : "");
  const full = sink.buffer_bytes ? sink.backlog_bytes / sink.buffer_bytes : 0;
  card.meter.value = full;
  attribute(card.meter, "aria-label", `Buffer of ${sink.name}: ${Math.round(full * 100)} % full`);
  const { code, message, info } = sink.error ?? {};
  const reason = message ? `${code ? `${code}: ` : ""}${info ? `${message}: ${info}` : message}` : "";
  text(card.reason, reason);
  hide(card.reason, !reason);
}
