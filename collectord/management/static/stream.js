// One stream in the panel.

import { attribute, el, hide, plot, text } from "./dom.js";
import { ago, ahead, bytes, count, moment, span, tone, trouble } from "./words.js";

const FACTS = {
  Lag: (stream) => span(stream.lag_seconds),
  "Last success": (stream, now) => ago(stream.last_success_at, now),
  "Next poll": (stream, now) => ahead(stream.next_poll_at, now),
  Waiting: (stream) => `${count(stream.backlog_records)}${stream.backlog_bytes ? `, ${bytes(stream.backlog_bytes)}` : ""}`,
  Received: (stream) => count(stream.records_received),
  Delivered: (stream) => count(stream.records_delivered),
  "Dropped by rules": (stream) => count(stream.records_dropped),
  Duplicates: (stream) => count(stream.duplicates_suppressed),
};
const TIPS = { "Last success": "last_success_at", "Next poll": "next_poll_at" };

/** The elements of a stream, and `fill(stream, now)` that shows it. */
export function stream(name) {
  const word = el("span");
  const state = el("span", { class: "state" }, el("span", { class: "dot", "aria-hidden": "true" }), word);
  const reason = el("p", { class: "reason" });
  const pace = el("span", { class: "pace" });
  const minutes = el("div", { class: "plot" });
  const values = Object.fromEntries(Object.keys(FACTS).map((label) => [label, el("dd")]));
  const facts = Object.entries(values).map(([label, value]) => el("div", {}, el("dt", {}, label), value));
  const place = el("pre", { tabindex: "0", "aria-label": `Checkpoint of ${name}` });
  const node = el("article", { class: "stream", "aria-label": `Stream ${name}` },
    el("div", { class: "head" }, el("h4", {}, name, " ", pace), state), reason, minutes,
    el("dl", { class: "facts-grid" }, ...facts),
    el("details", { class: "place" }, el("summary", {}, "Checkpoint"), place));

  /** `said`: the source's own trouble, which stands above already. */
  function fill(shown, now, said) {
    text(pace, `every ${span(shown.interval_seconds)}`);
    text(word, shown.state);
    attribute(state, "data-tone", tone(shown.state));
    const matter = trouble(shown.error ?? {});
    text(reason, matter);
    hide(reason, !matter || matter === said);
    plot(minutes, shown.last_hour);
    for (const [label, value] of Object.entries(values)) text(value, FACTS[label](shown, now));
    for (const [label, key] of Object.entries(TIPS)) attribute(values[label], "data-tip", shown[key] ? moment(shown[key]) : null);
    text(place, Object.keys(shown.checkpoint).length ? JSON.stringify(shown.checkpoint, null, 2) : "none yet");
  }
  return { node, fill };
}
