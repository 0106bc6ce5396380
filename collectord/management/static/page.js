// The Collection page: asks for the status again and again, and hands each answer to the parts that show it.

import * as api from "./api.js";
import { $, attribute, hide, say, text } from "./dom.js";
import * as overview from "./overview.js";
import * as panel from "./panel.js";
import { summed } from "./sums.js";
import * as table from "./table.js";
import { prepare as prepareTips } from "./tips.js";
import { span } from "./words.js";

const SOON = 2000;
const MANY = { sources: 200, pause: 5000 };
const HIDDEN = 30000;

let sources = [];
let answered = null;
let now = Date.now();
let timer = 0;
let asking = false;
let troubled = null;

async function poll() {
  if (asking) return;
  asking = true;
  clearTimeout(timer);
  try {
    const answer = await api.status();
    now = answer.now;
    show(answer.body);
    await panel.events();
  } catch (error) {
    lost(error);
  }
  asking = false;
  timer = setTimeout(poll, document.hidden ? HIDDEN : sources.length > MANY.sources ? MANY.pause : SOON);
}

function show(status) {
  const first = answered === null;
  answered = new Date();
  sources = status.sources.map(summed);
  text($("collector"), status.collector.name);
  text($("about"), `collectord ${status.collector.version}, up ${span((now - Date.parse(status.collector.started_at)) / 1000)}`);
  overview.figures(sources);
  overview.sinks(status.sinks);
  table.show(sources, now);
  panel.show(sources, now);
  const troubledSinks = status.sinks.filter((sink) => sink.error).map((sink) => `sink ${sink.name}`);
  announce([...troubledSinks, ...sources.filter((source) => source.inTrouble).map((source) => source.name)], status.collector.name);
  hide($("away"), true);
  attribute($("live"), "class", "live");
  text($("live-text"), "Live");
  if (first) openLinked();
}

function announce(inTrouble, collector) {
  const names = inTrouble.join(", ");
  const title = `${inTrouble.length ? `(${inTrouble.length}) ` : ""}${collector} · Collection`;
  if (document.title !== title) document.title = title;
  if (troubled !== null && names !== troubled) say(names ? `In trouble: ${names}` : "All is well again");
  troubled = names;
}

function lost(error) {
  attribute($("live"), "class", "live lost");
  text($("live-text"), "Not live");
  const reasons = { 401: "The access key is not accepted any more: reload this page and sign in.", 403: error.message };
  const since = answered ? ` What you see is from ${answered.toLocaleTimeString()}.` : "";
  text($("away"), (reasons[error.status] ?? "collectord does not answer; it is asked again every few seconds.") + since);
  hide($("away"), false);
}

function openLinked() {
  const name = decodeURIComponent(location.hash.slice(1));
  const source = sources.find((each) => each.name === name);
  if (source) panel.open(source, now, null);
}

function switchTheme() {
  const chosen = document.documentElement.dataset.theme;
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", document.documentElement.dataset.theme);
}

function shortcut(event) {
  const typing = event.target.closest("input, dialog");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  $("search").focus();
}

table.prepare((id, place) => panel.open(sources.find((each) => each.id === id), now, place));
panel.prepare(poll);
prepareTips();
$("theme").addEventListener("click", switchTheme);
document.addEventListener("keydown", shortcut);
document.addEventListener("visibilitychange", () => document.hidden || poll());
poll();
