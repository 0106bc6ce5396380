// The JSON API; the vendor of everything that the page shows.

/** An answer that was no success, in the API's own words. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  // From the origin, not relative: a page opened as http://id:key@host/ could not fetch otherwise.
  const answer = await fetch(location.origin + path, { cache: "no-store", signal: AbortSignal.timeout(15000), ...options });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, body.message ?? `answer ${answer.status}`);
  // The daemon's clock tells how long ago something was, not the one of this machine.
  return { body, now: Date.parse(answer.headers.get("Date")) || Date.now() };
}

const source = (id) => `/api/v1/collectors/1/sources/${encodeURIComponent(id)}`;

export const status = () => ask("/api/v1/status");
export const health = (name) => ask(`/api/v1/health?source=${encodeURIComponent(name)}`);
export const json = (id) => ask(source(id));
export const act = (id, action) => ask(`${source(id)}/action/${action}`, { method: "POST" });
