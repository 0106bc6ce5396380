// One source in full, over the page: what is the matter, its streams, its events, its budgets, its JSON.

import { ACTIONS, ask } from "./actions.js";
import * as api from "./api.js";
import { $, attribute, el, hide, say, text } from "./dom.js";
import { stream } from "./stream.js";
import { moment, span, tone, trouble } from "./words.js";

let current = null;
let parts = null;
let refresh = () => {};

export function prepare(pollSoon) {
  refresh = pollSoon;
  $("panel").addEventListener("close", () => {
    current = null;
    history.replaceState(null, "", location.pathname);
  });
  $("panel").addEventListener("click", (event) => {
    if (event.target === $("panel")) $("panel").close();
  });
}

/** Open the panel of a source, at its health events if `place` says so. */
export async function open(source, now, place) {
  current = source;
  build(source);
  show([source], now);
  history.replaceState(null, "", `#${encodeURIComponent(source.name)}`);
  if (!$("panel").open) cover();
  $("panel").scrollTop = 0;
  await events();
  if (place === "health") parts.health.scrollIntoView();
}

function cover() {
  // The scrollbar goes while the panel is open; its width stays, so that nothing behind moves.
  const page = document.documentElement;
  page.style.setProperty("--scrollbar", `${innerWidth - page.clientWidth}px`);
  $("panel").showModal();
}

function build(source) {
  const button = (name) => {
    const node = el("button", { type: "button", "data-action": name }, ACTIONS[name].label);
    node.addEventListener("click", () => ask(current, name, () => refresh()));
    return node;
  };
  const close = el("button", { type: "button", class: "round", "aria-label": "Close" }, "✕");
  close.addEventListener("click", () => $("panel").close());
  parts = {
    kind: el("p", { class: "kind" }), state: el("span", { class: "state" }, el("span", { class: "dot", "aria-hidden": "true" })),
    word: el("span"), poll: button("poll"), pause: button("pause"), resume: button("resume"), restart: button("restart"),
    trouble: el("div", { class: "callout" }), reason: el("strong"), streams: el("div"), streamOf: new Map(),
    events: el("ul", { class: "events" }), budgets: el("ul", { class: "budgets" }), shownEvents: "",
  };
  parts.state.append(parts.word);
  parts.trouble.append(parts.reason);
  parts.health = section("Health", parts.events);
  parts.rates = section("Rate budgets", parts.budgets);
  $("panel").replaceChildren(
    el("header", {},
      el("div", { class: "head" }, el("div", {}, el("h2", { id: "panel-name" }, source.name), parts.kind), close),
      el("div", { class: "row" }, parts.state, parts.poll, parts.pause, parts.resume, parts.restart)),
    el("div", { class: "body" }, el("p", { class: "sr-only", role: "status" }), parts.trouble,
      section("Streams", parts.streams), parts.health, parts.rates, section("Configuration", source_json(source))));
}

function section(title, ...inside) {
  return el("section", {}, el("h3", {}, title), ...inside);
}

/** Show the open source as it is now; called with all sources at every answer. */
export function show(sources, now) {
  if (!current) return;
  const source = sources.find((each) => each.id === current.id);
  if (!source) {
    text(parts.reason, "This source is gone.");
    return hide(parts.trouble, false);
  }
  current = source;
  const { state } = source.state;
  text(parts.kind, [source.type, source.category].filter(Boolean).join(" · "));
  text(parts.word, state);
  attribute(parts.state, "data-tone", tone(state));
  hide(parts.pause, state === "Paused");
  hide(parts.resume, state !== "Paused");
  parts.poll.disabled = state === "Paused" || !source.nextPoll; // or it has stopped until it is restarted
  text(parts.reason, trouble(source.state));
  hide(parts.trouble, !trouble(source.state));
  streams(source.streams, now, trouble(source.state));
  budgets(source.rate_budgets);
}

function streams(wanted, now, said) {
  const names = wanted.map((each) => each.name);
  if (names.join() !== [...parts.streamOf.keys()].join()) {
    parts.streamOf = new Map(names.map((name) => [name, stream(name)]));
    parts.streams.replaceChildren(...[...parts.streamOf.values()].map((each) => each.node));
  }
  for (const each of wanted) parts.streamOf.get(each.name).fill(each, now, said);
  if (!names.length && !parts.streams.hasChildNodes()) parts.streams.append(el("p", { class: "quiet" }, "No stream runs."));
}

function budgets(wanted) {
  hide(parts.rates, !wanted.length);
  wanted.forEach((budget, at) => {
    const line = parts.budgets.children[at] ?? parts.budgets.appendChild(el("li", {}, el("code"), el("span", { class: "quiet" })));
    text(line.firstChild, budget.bucket);
    const pace = budget.per_second ? `at most ${budget.per_second} a second` : "as the vendor's answers allow";
    text(line.lastChild, budget.resting_seconds ? `rests for ${span(budget.resting_seconds)}, as the vendor asks` : pace);
  });
  while (parts.budgets.children.length > wanted.length) parts.budgets.lastChild.remove();
}

/** Ask for the open source's health events, and show them if they are others than before. */
export async function events() {
  if (!current) return;
  const asked = current.id;
  const answer = await api.health(current.name).catch(() => null);
  if (!answer || current?.id !== asked) return;
  const key = JSON.stringify(answer.body);
  if (key === parts.shownEvents) return;
  parts.shownEvents = key;
  const all = [...answer.body.open, ...answer.body.recent];
  const nothing = el("li", { class: "quiet" }, "Nothing was the matter.");
  parts.events.replaceChildren(...(all.length ? all.map(event) : [nothing]));
}

function event(each) {
  const { details } = each;
  const closed = each.closedTime;
  const lasted = closed ? `over after ${span((Date.parse(closed) - Date.parse(each.eventTime)) / 1000)}` : "open";
  const times = each.count > 1 ? `, ${each.count} times` : "";
  const where = [details.stream, details.errorCode].filter(Boolean).join(" · ");
  const word = el("span", { class: "state", "data-tone": closed ? "calm" : each.severityLevel === "Error" ? "bad" : "warn" },
    el("span", { class: "dot", "aria-hidden": "true" }), each.eventName);
  return el("li", { class: closed ? "over" : "" },
    el("div", { class: "title" }, word, el("time", { datetime: each.eventTime }, moment(each.eventTime))),
    el("p", {}, details.description), ...(details.errorInfo ? [el("p", { class: "quiet" }, details.errorInfo)] : []),
    el("p", { class: "quiet" }, [where, lasted + times].filter(Boolean).join(" · ")));
}

function source_json(source) {
  const code = el("pre", { tabindex: "0", "aria-label": "Source JSON" });
  const copy = el("button", { type: "button", class: "copy", hidden: "" }, "Copy");
  const details = el("details", { class: "json" }, el("summary", {}, "Source JSON, secrets masked"), code, copy);
  details.addEventListener("toggle", async () => {
    if (!details.open) return;
    const answer = await api.json(source.id).catch((refusal) => ({ refusal }));
    code.textContent = answer.refusal ? answer.refusal.message : JSON.stringify(answer.body, null, 2);
    copy.hidden = Boolean(answer.refusal) || !navigator.clipboard;
  });
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(code.textContent);
    say("Copied");
    copy.textContent = "Copied";
  });
  return details;
}
