// Figures and states as people read them.

// Made once: a thousand rows have thousands of them.
const numbers = new Intl.NumberFormat("en");
const moments = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

export const count = (value) => numbers.format(value);

/** 1200000 → 1.2 MB. */
export function bytes(value) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  for (; value >= 1000 && at < units.length - 1; at++) value /= 1000;
  return `${at && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[at]}`;
}

/** Seconds in one unit: 12 s, 4 min, 3 h, 2 d. */
export function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const steps = [[60, 1, "s"], [5400, 60, "min"], [129600, 3600, "h"], [Infinity, 86400, "d"]];
  const [, unit, word] = steps.find(([below]) => seconds < below);
  return `${Math.round(seconds / unit)} ${word}`;
}

export function ago(iso, now) {
  if (!iso) return "never";
  const seconds = (now - Date.parse(iso)) / 1000;
  return seconds < 1.5 ? "just now" : `${span(seconds)} ago`;
}

export function ahead(iso, now) {
  if (!iso) return "–";
  const seconds = (Date.parse(iso) - now) / 1000;
  return seconds <= 0 ? "now" : `in ${span(seconds)}`;
}

export const moment = (iso) => (iso ? moments.format(new Date(iso)) : "");

const TONES = { Collecting: "ok", Healthy: "ok", Error: "bad", Paused: "idle" };
export const tone = (state) => TONES[state] ?? "calm";

/** "1 error", "2 warnings", "Healthy", and its colour. */
export function health({ errors, warnings }) {
  const many = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;
  if (errors) return [many(errors, "error"), "bad"];
  if (warnings) return [many(warnings, "warning"), "warn"];
  return ["Healthy", "ok"];
}

/** A state object's trouble in one sentence; empty when there is none. */
export function trouble({ errorType, errorCode, errorInfo }) {
  if (!errorInfo) return "";
  const code = errorCode ? ` (${errorCode})` : "";
  const kinds = { "THIRD-PARTY-CONFIG": "Vendor refuses", "THIRD-PARTY-GENERIC": "Vendor trouble", "FIRST-PARTY-GENERIC": "Delivery or store" };
  return `${kinds[errorType] ?? errorType}${code}: ${errorInfo}`;
}
