// One tooltip for the whole page: what stands in `data-tip` of what is pointed at.

import { $ } from "./dom.js";

export function prepare() {
  document.addEventListener("pointerover", (event) => show(event.target.closest("[data-tip]")));
  document.addEventListener("focusin", (event) => show(event.target.closest("[data-tip]")));
  document.addEventListener("scroll", () => show(null), { capture: true, passive: true });
  document.addEventListener("keydown", (event) => event.key === "Escape" && show(null));
}

function show(target) {
  const tip = $("tip");
  if (tip.matches(":popover-open")) tip.hidePopover();
  if (!target) return;
  tip.textContent = target.dataset.tip;
  tip.showPopover();
  const at = target.getBoundingClientRect();
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(at.left, innerWidth - width - 8))}px`;
  tip.style.top = `${at.bottom + height + 14 > innerHeight ? at.top - height - 6 : at.bottom + 6}px`;
}
