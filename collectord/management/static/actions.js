// Restart, pause, resume, poll: asked once more, done, and said.

import * as api from "./api.js";
import { $, hide, say, text } from "./dom.js";

export const ACTIONS = {
  poll: { label: "Poll now", title: "Poll now?", text: "All streams ask the vendor at once, and not at their next interval.", done: "polls now" },
  pause: { label: "Pause", title: "Pause collecting?", text: "Collecting stops until the source is resumed. It then goes on from its checkpoint: nothing is lost as long as the vendor keeps its records.", done: "is paused" },
  resume: { label: "Resume", title: "Resume collecting?", text: "The source starts and goes on from its checkpoint.", done: "is resumed" },
  restart: { label: "Restart", title: "Restart the source?", text: "It stops and starts anew from its checkpoint: nothing is lost. Sinks in trouble are tried again as well.", done: "is restarted" },
};

/** Ask, act, and call `after` when it is done. */
export function ask(source, name, after) {
  const { label, title, text: words, done } = ACTIONS[name];
  const [dialog, yes, error] = [$("ask"), $("ask-yes"), $("ask-error")];
  text($("ask-title"), `${title.replace(/\?$/, "")}: ${source.name}`);
  text($("ask-text"), words);
  text(yes, label);
  hide(error, true);
  yes.disabled = false;
  yes.onclick = async () => {
    yes.disabled = true;
    try {
      await api.act(source.id, name);
      dialog.close();
      say(`${source.name} ${done}`);
    } catch (refusal) {
      hide(error, false);
      error.textContent = `That was refused: ${refusal.message}`;
      yes.disabled = false;
    }
    after();
  };
  $("ask-no").onclick = () => dialog.close();
  dialog.showModal();
  yes.focus();
}
