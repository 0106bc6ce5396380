// Elements made and changed. Text is only ever set as text, so a name is never markup; nothing is touched that is equal.

import { count } from "./words.js";

export const $ = (id) => document.getElementById(id);

/** An element: `el("button", {class: "x", type: "button"}, "text", child)`. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const shown = new WeakMap();

/** Show a text, if it is another than before. */
export function text(node, value) {
  const wanted = String(value);
  if (shown.get(node) === wanted) return;
  shown.set(node, wanted);
  node.textContent = wanted;
}

/** Set an attribute, or take it away (null). */
export function attribute(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

export function hide(node, hidden) {
  if (node.hidden !== hidden) node.hidden = hidden;
}

const drawn = new WeakMap();

/** Bars, one a minute; each plot is as high as its own busiest minute. */
export function plot(node, minutes) {
  const key = minutes.join();
  if (drawn.get(node) === key) return;
  drawn.set(node, key);
  const total = minutes.reduce((sum, records) => sum + records, 0);
  const peak = Math.max(...minutes, 0);
  if (!node.hasChildNodes()) node.append($("bars").content.cloneNode(true));
  const svg = node.firstElementChild;
  svg.firstElementChild.setAttribute("d", minutes.map((records, at) => bar(at, records, peak)).join(""));
  const words = `${count(total)} records in the last hour, at most ${count(peak)} a minute`;
  svg.setAttribute("aria-label", total ? words : "No records in the last hour");
}

function bar(at, records, peak) {
  if (!records) return "";
  const height = Math.max(2, (records / peak) * 40).toFixed(1);
  return `M${at * 4 + 0.5} 40v-${height}h3v${height}z`;
}

/** What a button gets when it is pressed, and a dialog when it is shown: said to those who do not see it. */
export function say(words) {
  const region = [...document.querySelectorAll("dialog[open] [role=status]")].at(-1) ?? $("said");
  region.textContent = words;
}
